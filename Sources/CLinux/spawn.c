#define _GNU_SOURCE
#include "include/CLinux.h"

#include <signal.h>
#include <spawn.h>

int weft_spawn_child(const char *path, char *const arguments[], char *const environment[], const int *descriptors,
                     int count) {
  /* First out of the way of each other, then into place: a source may itself be 3 or 4. */
  const int base = 512;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  for (int i = 0; i < count; i++) posix_spawn_file_actions_adddup2(&actions, descriptors[i], base + i);
  for (int i = 0; i < count; i++) posix_spawn_file_actions_adddup2(&actions, base + i, 3 + i);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3 + count);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  int status = posix_spawn(&pid, path, &actions, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return status == 0 ? pid : -status;
}
