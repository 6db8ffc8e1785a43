#define _GNU_SOURCE
#include "include/CLinux.h"

#include <signal.h>

static int signal_pipe[2] = {-1, -1};

/* Only what signal-safety(7) allows. */
static void on_signal(int number) {
  int saved = errno;
  unsigned char byte = (unsigned char)number;
  ssize_t ignored = write(signal_pipe[1], &byte, 1);
  (void)ignored;
  errno = saved;
}

int weft_watch_signals(void) {
  if (pipe2(signal_pipe, O_CLOEXEC) != 0) return -errno;
  fcntl(signal_pipe[1], F_SETFL, O_NONBLOCK);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &action, NULL) != 0) return -errno;
  return signal_pipe[0];
}

void weft_tell_signals(unsigned char byte) {
  ssize_t ignored = write(signal_pipe[1], &byte, 1);
  (void)ignored;
}
