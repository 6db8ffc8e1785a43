#define _GNU_SOURCE
#include "include/CLinux.h"

#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/sockios.h>

int weft_setns(int descriptor, int kind) { return setns(descriptor, kind) == 0 ? 0 : -errno; }
int weft_unshare(int flags) { return unshare(flags) == 0 ? 0 : -errno; }

static struct ifreq link_request(const char *name, void *data) {
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  request.ifr_data = data;
  return request;
}

int weft_link_index(int socket, const char *name) {
  struct ifreq request = link_request(name, NULL);
  return ioctl(socket, SIOCGIFINDEX, &request) == 0 ? request.ifr_ifindex : -errno;
}

int weft_link_facts(int socket, const char *name, int wants_driver, struct weft_link *facts) {
  struct ifreq request = link_request(name, NULL);
  if (ioctl(socket, SIOCGIFINDEX, &request) != 0) return -errno;
  facts->index = request.ifr_ifindex;
  if (ioctl(socket, SIOCGIFFLAGS, &request) != 0) return -errno;
  facts->flags = (unsigned short)request.ifr_flags;
  if (ioctl(socket, SIOCGIFMTU, &request) != 0) return -errno;
  facts->mtu = request.ifr_mtu;
  if (ioctl(socket, SIOCGIFHWADDR, &request) != 0) return -errno;
  facts->has_mac = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
  memcpy(facts->mac, request.ifr_hwaddr.sa_data, sizeof facts->mac);
  facts->is_bridge = 0;
  if (!wants_driver) return 0;
  struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
  request = link_request(name, &driver);
  facts->is_bridge = ioctl(socket, SIOCETHTOOL, &request) == 0 && strcmp(driver.driver, "bridge") == 0;
  return 0;
}

void weft_link_settle(int socket, const char *name) {
  struct ethtool_value carrier = {.cmd = ETHTOOL_GLINK};
  struct ifreq request = link_request(name, &carrier);
  (void)ioctl(socket, SIOCETHTOOL, &request);
}

int weft_is_namespace(int descriptor) {
  struct statfs system;
  // NSFS_MAGIC of linux/magic.h.
  return fstatfs(descriptor, &system) == 0 && system.f_type == 0x6e736673;
}

static int close_and_end(void *unused) {
  (void)unused;
  for (int descriptor = 0; descriptor < 3; descriptor++) close(descriptor);
  _exit(0);
}

int weft_leave_closing(void) {
  // Shares our memory instead of copying it, and needs next to no stack; has its own copies of our descriptors.
  static _Alignas(16) char stack[16384];
  return clone(close_and_end, stack + sizeof stack, CLONE_VM, NULL) < 0 ? -errno : 0;
}

/* Links that processes of their own delete. Those share our memory, so each has a place in it of its own. */
static struct removal {
  _Alignas(16) char stack[8192];
  char request[128];
  size_t length;
  int socket;
  int has_ended;
} removals[WEFT_REMOVALS_MAX];
static unsigned removals_begun;

static int remove_and_end(void *given) {
  struct removal *removal = given;
  // Whoever reads what this program writes waits for the last process that could write.
  for (int descriptor = 0; descriptor < 3; descriptor++) close(descriptor);
  (void)send(removal->socket, removal->request, removal->length, 0);
  __atomic_store_n(&removal->has_ended, 1, __ATOMIC_RELEASE);
  _exit(0);
}

int weft_link_remove(int socket, const char *name, const void *request, size_t length, int milliseconds) {
  if (removals_begun == WEFT_REMOVALS_MAX || length > sizeof removals[0].request) return -ENOBUFS;
  if (weft_link_index(socket, name) < 0) return 0;
  struct removal *removal = &removals[removals_begun++];
  memcpy(removal->request, request, length);
  removal->length = length;
  removal->socket = socket;
  if (clone(remove_and_end, removal->stack + sizeof removal->stack, CLONE_VM, removal) < 0) return -errno;
  // The first pause is as long as the kernel holds its lock for it: who asks for that lock before spins.
  long pause = 500;
  for (long waited = 0; waited < milliseconds * 1000L; waited += pause) {
    usleep((useconds_t)pause);
    // The other process has our errno too: what is no clear answer is asked again.
    if (weft_link_index(socket, name) == -ENODEV) return 0;
    if (__atomic_load_n(&removal->has_ended, __ATOMIC_ACQUIRE)) return 0;
    pause = waited == 0 ? 100 : pause < 1000 ? pause * 2 : pause;
  }
  return -ETIMEDOUT;
}

int weft_stat(const char *path, int follow, struct weft_file_info *info) {
  struct stat found;
  if ((follow ? stat(path, &found) : lstat(path, &found)) != 0) return -errno;
  info->mode = found.st_mode;
  info->device = found.st_dev;
  info->inode = found.st_ino;
  info->size = found.st_size;
  info->allocated = (long long)found.st_blocks * 512;
  return 0;
}

int weft_spawn(const char *path, char *const arguments[], char *const environment[], const char *output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  int failure = posix_spawnp(&pid, path, &actions, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return failure ? -failure : pid;
}

int weft_memory_file(const char *name) {
  int descriptor = memfd_create(name, MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}
