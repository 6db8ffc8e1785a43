/* System calls and structures that Swift cannot spell. glibc headers come before kernel headers: the two families
   define in_addr and friends each for itself, and clang modules that reach both do not merge. _GNU_SOURCE is defined in
   our .c files alone: here it would give fd_set another layout than Swift's own Glibc module has. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/sched.h>

/** setns(2) for the calling thread. Returns 0 or -errno. */
int weft_setns(int descriptor, int kind);
/** unshare(2) for the calling thread. Returns 0 or -errno. */
int weft_unshare(int flags);

#include "CLinuxSockets.h"
