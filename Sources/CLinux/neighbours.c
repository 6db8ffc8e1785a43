#define _GNU_SOURCE
/* Packet sockets for answering neighbours; see include/CLinuxSockets.h. */
#include "include/CLinux.h"
#include "include/CLinuxSockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/if_packet.h>

int weft_neighbour_socket(int is_v6) {
  /* Offsets count from the Ethernet header. A frame of another kind ends here, in the kernel: nobody is woken for it. */
  struct sock_filter requests[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20), /* operation of ARP */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 256),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_filter solicitations[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20), /* next header */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 58, 0, 4),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 54), /* type of ICMPv6: a question or an announcement */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 135, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 136, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 256),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog program = {.len = sizeof requests / sizeof *requests, .filter = requests};
  if (is_v6) {
    program.len = sizeof solicitations / sizeof *solicitations;
    program.filter = solicitations;
  }
  /* Protocol 0 receives nothing: the filter must be there before the first frame. */
  int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -errno;
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = htons(is_v6 ? ETHERTYPE_IPV6 : ETHERTYPE_ARP)};
  if (setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0 ||
      bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
    int code = errno;
    close(descriptor);
    return -code;
  }
  return descriptor;
}

ssize_t weft_receive_frame(int descriptor, void *frame, size_t room, int *index) {
  struct sockaddr_ll from = {0};
  socklen_t size = sizeof from;
  ssize_t length;
  do { length = recvfrom(descriptor, frame, room, MSG_DONTWAIT, (struct sockaddr *)&from, &size); }
  while (length < 0 && errno == EINTR);
  if (length < 0) return -errno;
  *index = from.sll_ifindex;
  return length;
}

int weft_send_frame(int descriptor, int index, const void *frame, size_t length) {
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = index, .sll_halen = 6};
  if (length < 14) return -EINVAL;
  memcpy(&to.sll_addr, frame, 6);
  memcpy(&to.sll_protocol, (const char *)frame + 12, 2);
  ssize_t sent = sendto(descriptor, frame, length, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
  return sent < 0 ? -errno : 0;
}

int weft_multicast_group(int descriptor, int index, const uint8_t group[16], int joins) {
  struct ipv6_mreq request = {.ipv6mr_interface = (unsigned)index};
  memcpy(&request.ipv6mr_multiaddr, group, 16);
  int option = joins ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
  return setsockopt(descriptor, IPPROTO_IPV6, option, &request, sizeof request) == 0 ? 0 : -errno;
}
