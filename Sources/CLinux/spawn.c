#define _GNU_SOURCE
#include "include/CLinux.h"

#include <signal.h>
#include <spawn.h>

/* The child has `descriptors` as `first`, `first` + 1, … and none above them. */
static int spawn_with(const char *path, char *const arguments[], char *const environment[], const int *descriptors,
                      int count, int first) {
  /* First out of the way of each other, then into place: a source may itself be 3 or 4. */
  const int base = 512;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  if (first > 0) posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  for (int i = 0; i < count; i++) posix_spawn_file_actions_adddup2(&actions, descriptors[i], base + i);
  for (int i = 0; i < count; i++) posix_spawn_file_actions_adddup2(&actions, base + i, first + i);
  posix_spawn_file_actions_addclosefrom_np(&actions, first + count);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  int status = posix_spawn(&pid, path, &actions, &attributes, arguments, environment ? environment : environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return status == 0 ? pid : -status;
}

int weft_spawn_child(const char *path, char *const arguments[], char *const environment[], const int *descriptors,
                     int count) {
  return spawn_with(path, arguments, environment, descriptors, count, 3);
}

int weft_spawn_streams(const char *path, char *const arguments[], char *const environment[], const int streams[3]) {
  return spawn_with(path, arguments, environment, streams, 3, 0);
}

int weft_exec(const char *path, char *const arguments[], const int *descriptors, int count) {
  if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return -errno;
  for (int i = 0; i < count; i++)
    if (fcntl(descriptors[i], F_SETFD, 0) != 0) return -errno;
  /* Until the program watches for them again they must not end it. */
  signal(SIGUSR1, SIG_IGN);
  signal(SIGUSR2, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
  execv(path, arguments);
  return -errno;
}
