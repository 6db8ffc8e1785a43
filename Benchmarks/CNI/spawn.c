/* Runs one plugin for each line of standard input and says what it cost. Small, so that the peak memory it reports is the
   plugin's own: a child's record begins with what its parent had. Wall time ends with the plugin; processes that it leaves behind
   are waited for after that, and their time on the processor is the plugin's.

     in:   PROGRAM \t ARGV0 \t VERB \t CONTAINERID \t NETNS \t INPUTFILE \t OUTPUTFILE
     out:  wall-µs cpu-µs peak-KiB exit-code */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double micros(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static double cpu_micros(const struct rusage *used) {
  return (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1e6 + used->ru_utime.tv_usec + used->ru_stime.tv_usec;
}

int main(void) {
  static char line[8192];
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  while (fgets(line, sizeof line, stdin)) {
    char *field[7], *rest = line;
    line[strcspn(line, "\n")] = 0;
    for (int i = 0; i < 7; i++) field[i] = strsep(&rest, "\t");
    if (!field[6]) return 2;
    char verb[64], id[256], netns[512], path[512];
    snprintf(verb, sizeof verb, "CNI_COMMAND=%s", field[2]);
    snprintf(id, sizeof id, "CNI_CONTAINERID=%s", field[3]);
    snprintf(netns, sizeof netns, "CNI_NETNS=%s", field[4]);
    snprintf(path, sizeof path, "CNI_PATH=%s", getenv("CNI_PATH") ?: "/usr/lib/cni");
    char *environment[] = {verb, id, netns, "CNI_IFNAME=eth0", path, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    char *arguments[] = {field[1], NULL};
    double start = micros();
    pid_t child = vfork();
    if (child == 0) {
      int in = open(field[5], O_RDONLY), out = open(field[6], O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (in < 0 || out < 0) _exit(126);
      dup2(in, 0), dup2(out, 1);
      execve(field[0], arguments, environment);
      _exit(127);
    }
    int status;
    struct rusage used;
    if (wait4(child, &status, 0, &used) < 0) return 1;
    double wall = micros() - start, cpu = cpu_micros(&used);
    struct rusage left;
    while (wait4(-1, NULL, __WALL, &left) > 0) cpu += cpu_micros(&left);
    printf("%.0f %.0f %ld %d\n", wall, cpu, used.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128);
    fflush(stdout);
  }
  return 0;
}
