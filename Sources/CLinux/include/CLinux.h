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
/** Index of the link of that name in the network namespace of a socket, or -errno. */
int weft_link_index(int socket, const char *name);
/** What ioctl says of a link: no dump of all that the kernel knows, and for most of it no lock of the kernel's. */
struct weft_link {
  int index;
  int mtu;
  /** The lower 16 bits of its flags; IFF_RUNNING is RFC 2863's `up`. */
  int flags;
  int has_mac;
  unsigned char mac[6];
  /** Whether its driver calls itself a bridge. */
  int is_bridge;
};
/** Asks of the link of that name in the network namespace of a socket; its driver only when that is wanted. Returns 0 or -errno. */
int weft_link_facts(int socket, const char *name, int wants_driver, struct weft_link *facts);
/** Has the kernel take note of a change of the link's carrier now (since Linux 6.8; earlier it takes a moment). */
void weft_link_settle(int socket, const char *name);
/** unshare(2) for the calling thread. Returns 0 or -errno. */
int weft_unshare(int flags);
/** Whether a descriptor is of a namespace of any kind. */
int weft_is_namespace(int descriptor);
/** Starts a process that holds this one's descriptors, standard ones excepted, and ends at once: closing them, however long it
    takes, is then nobody's wait. For the last moment of a program of one thread. Returns 0 or -errno. */
int weft_leave_closing(void);
/** As many links may be deleted by `weft_link_remove` in a process's life: each by a process with a place of its own. */
#define WEFT_REMOVALS_MAX 4
/** Has a process of its own delete a link: `request` is the netlink message for it, without acknowledgement, and `socket` the one
    that it goes through. Returns 0 when the link is gone from its network namespace, was not there, or the other process has ended
    without it: who wants to know deletes it again. Or -errno; -ETIMEDOUT after `milliseconds`. The link is gone 0.3 ms after the
    request, the kernel's lock is free after 0.7 ms; then the kernel makes whoever asked for it wait for 12 to 24 ms until its memory
    is freed. For a program of one thread that ends soon. */
int weft_link_remove(int socket, const char *name, const void *request, size_t length, int milliseconds);

#include "CLinuxSockets.h"

/** Has the C library's heap stay small at the price of some speed: one arena for all threads, free memory given back early. Before
    the first thread begins. */
void weft_heap_keep_small(void);
/** Gives the kernel back what the heap has free. Costs milliseconds. */
void weft_heap_trim(void);
/** Takes the program's code out of this process's page tables; what still runs comes back from the page cache as it is called, 64 KiB
    at a time. For after a start that called much of a large program once. */
void weft_text_release(void);

/** From now on SIGINT and SIGTERM are written, one byte each, to a pipe whose reading end is returned; or -errno. The
    handlers are not inherited by programs that this process starts. */
int weft_watch_signals(void);

/** Writes a byte of one's own to that pipe, as if it were a signal's number. */
void weft_tell_signals(unsigned char byte);
/** What stat(2) says of a file, in a structure of our own: with Foundation in the program, Swift takes glibc's for
    CoreFoundation's. */
struct weft_file_info {
  unsigned int mode;
  unsigned long long device;
  unsigned long long inode;
  long long size;
  /** What it takes on the disk, in bytes: less than its size for a file with holes. */
  long long allocated;
};
/** stat(2), or lstat(2) unless `follow`. Returns 0 or -errno. */
int weft_stat(const char *path, int follow, struct weft_file_info *info);

/** Starts a program in a session of its own: signals at their defaults, input from /dev/null, both outputs written anew
    to `output`, no other descriptor inherited. Returns the process id or -errno. */
int weft_spawn(const char *path, char *const arguments[], char *const environment[], const char *output);

/** Starts a program in a session of its own with `count` descriptors as its 3, 4, … and nothing else inherited but standard
    output and error. Without an environment it gets this process's. Returns the process id or -errno. */
int weft_spawn_child(const char *path, char *const arguments[], char *const environment[], const int *descriptors,
                     int count);

/** Makes this process another program: the same process id and environment, standard streams, and `descriptors` open under their
    numbers, nothing else. SIGUSR1 and SIGUSR2 are ignored until it asks for them. Returns -errno when that fails; descriptors are
    closed on exec then, all but those. */
int weft_exec(const char *path, char *const arguments[], const int *descriptors, int count);

/** Starts a program in a session of its own with `streams` as its standard input, output and error, and nothing else
    inherited. Returns the process id or -errno. */
int weft_spawn_streams(const char *path, char *const arguments[], char *const environment[], const int streams[3]);

/** Has the processor fetch the line at an address that will be read soon. Any address may be given. */
static inline void weft_prefetch(const void *address) { __builtin_prefetch(address); }

/** A file in memory alone, close-on-exec. Returns its descriptor or -errno. */
int weft_memory_file(const char *name);
