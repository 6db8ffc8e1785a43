#define _GNU_SOURCE
/* Helpers of the data path; see include/CLinuxSockets.h. */
#include "include/CLinux.h"
#include "include/CLinuxSockets.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include <linux/capability.h>

union control {
  char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
  struct cmsghdr alignment;
};

static void read_local_address(struct msghdr *message, struct weft_datagram *datagram) {
  memset(&datagram->local, 0, sizeof datagram->local);
  datagram->interface = 0;
  for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item; item = CMSG_NXTHDR(message, item)) {
    if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(item), sizeof info);
      struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = info.ipi_addr};
      memcpy(&datagram->local, &local, sizeof local);
      datagram->interface = (uint32_t)info.ipi_ifindex;
    } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(item), sizeof info);
      datagram->local.sin6_family = AF_INET6;
      datagram->local.sin6_addr = info.ipi6_addr;
      datagram->interface = info.ipi6_ifindex;
    }
  }
}

int weft_receive_datagrams(int descriptor, struct weft_datagram *datagrams, int count) {
  struct mmsghdr messages[weft_datagram_batch_max];
  struct iovec vectors[weft_datagram_batch_max];
  union control controls[weft_datagram_batch_max];
  if (count > weft_datagram_batch_max) count = weft_datagram_batch_max;
  for (int i = 0; i < count; i++) {
    vectors[i] = (struct iovec){datagrams[i].payload, datagrams[i].capacity};
    memset(&messages[i], 0, sizeof messages[i]);
    messages[i].msg_hdr.msg_name = &datagrams[i].peer;
    messages[i].msg_hdr.msg_namelen = sizeof datagrams[i].peer;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    messages[i].msg_hdr.msg_control = &controls[i];
    messages[i].msg_hdr.msg_controllen = sizeof controls[i];
  }
  int received;
  do { received = recvmmsg(descriptor, messages, (unsigned)count, MSG_DONTWAIT, NULL); }
  while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  for (int i = 0; i < received; i++) {
    datagrams[i].length = messages[i].msg_len;
    datagrams[i].peer_length = messages[i].msg_hdr.msg_namelen;
    datagrams[i].truncated = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    read_local_address(&messages[i].msg_hdr, &datagrams[i]);
  }
  return received;
}

int weft_send_datagrams(int descriptor, struct weft_datagram *datagrams, int count) {
  struct mmsghdr messages[weft_datagram_batch_max];
  struct iovec vectors[weft_datagram_batch_max];
  union control controls[weft_datagram_batch_max];
  if (count > weft_datagram_batch_max) count = weft_datagram_batch_max;
  for (int i = 0; i < count; i++) {
    vectors[i] = (struct iovec){datagrams[i].payload, datagrams[i].length};
    memset(&messages[i], 0, sizeof messages[i]);
    struct msghdr *message = &messages[i].msg_hdr;
    message->msg_name = datagrams[i].peer_length ? &datagrams[i].peer : NULL;
    message->msg_namelen = datagrams[i].peer_length;
    message->msg_iov = &vectors[i];
    message->msg_iovlen = 1;
    if (datagrams[i].local.sin6_family == AF_INET) {
      struct sockaddr_in local;
      memcpy(&local, &datagrams[i].local, sizeof local);
      struct in_pktinfo info = {.ipi_spec_dst = local.sin_addr};
      memset(&controls[i], 0, sizeof controls[i]);
      message->msg_control = &controls[i];
      message->msg_controllen = CMSG_SPACE(sizeof info);
      struct cmsghdr *item = CMSG_FIRSTHDR(message);
      item->cmsg_level = IPPROTO_IP;
      item->cmsg_type = IP_PKTINFO;
      item->cmsg_len = CMSG_LEN(sizeof info);
      memcpy(CMSG_DATA(item), &info, sizeof info);
    } else if (datagrams[i].local.sin6_family == AF_INET6) {
      struct in6_pktinfo info = {.ipi6_addr = datagrams[i].local.sin6_addr};
      /* A link-local source needs its interface; any other is routed. */
      if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = datagrams[i].interface;
      memset(&controls[i], 0, sizeof controls[i]);
      message->msg_control = &controls[i];
      message->msg_controllen = CMSG_SPACE(sizeof info);
      struct cmsghdr *item = CMSG_FIRSTHDR(message);
      item->cmsg_level = IPPROTO_IPV6;
      item->cmsg_type = IPV6_PKTINFO;
      item->cmsg_len = CMSG_LEN(sizeof info);
      memcpy(CMSG_DATA(item), &info, sizeof info);
    }
  }
  int sent;
  do { sent = sendmmsg(descriptor, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL); }
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

int weft_pin_thread(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void weft_prepare_thread(const char *name) {
  char title[16] = {0};
  strncpy(title, name, sizeof title - 1);
  pthread_setname_np(pthread_self(), title);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}

int weft_drop_privileges(void) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
  for (int capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) != 1) continue;
    /* Without CAP_SETPCAP there is nothing to drop from: the bounding set cannot be used again either way. */
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM) return -errno;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct none[2];
  memset(none, 0, sizeof none);
  if (syscall(SYS_capset, &header, none) != 0) return -errno;
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return -errno;
  return 0;
}

int weft_accept(int descriptor, struct sockaddr *peer, socklen_t *length, int flags) {
  return accept4(descriptor, peer, length, flags);
}

int weft_pipe(int descriptors[2], int bytes) {
  if (pipe2(descriptors, O_NONBLOCK | O_CLOEXEC) != 0) return -errno;
  /* Refused past the user's soft limit of pipe pages: the default room is enough then. */
  int room = fcntl(descriptors[1], F_SETPIPE_SZ, bytes);
  if (room < 0) room = fcntl(descriptors[1], F_GETPIPE_SZ);
  return room > 0 ? room : 4096;
}

ssize_t weft_splice(int from, int to, size_t count) {
  ssize_t moved;
  do { moved = splice(from, NULL, to, NULL, count, SPLICE_F_NONBLOCK | SPLICE_F_MOVE); }
  while (moved < 0 && errno == EINTR);
  return moved < 0 ? -errno : moved;
}

ssize_t weft_send_beside(int socket, const void *bytes, size_t count, int descriptor) {
  struct iovec vector = {(void *)bytes, count};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr alignment;
  } control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptor >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t sent;
  do { sent = sendmsg(socket, &message, MSG_NOSIGNAL); }
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

ssize_t weft_receive_beside(int socket, void *bytes, size_t count, int *descriptor) {
  enum { most = 8 };
  struct iovec vector = {bytes, count};
  union {
    char bytes[CMSG_SPACE(most * sizeof(int))];
    struct cmsghdr alignment;
  } control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  *descriptor = -1;
  ssize_t got;
  do { got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC); }
  while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t found = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < found; i++) {
      int one;
      memcpy(&one, CMSG_DATA(header) + i * sizeof one, sizeof one);
      if (*descriptor < 0) *descriptor = one;
      else close(one);
    }
  }
  return got;
}

int weft_set_transparent(int descriptor, int is_v6) {
  int one = 1;
  int result = is_v6 ? setsockopt(descriptor, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof one)
                     : setsockopt(descriptor, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof one);
  return result == 0 ? 0 : -errno;
}
