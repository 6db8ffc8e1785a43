#define _GNU_SOURCE
/* Rings of packets; see include/CPacket.h. */
#include "include/CPacket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/if_packet.h>

_Static_assert(sizeof(struct weft_instruction) == sizeof(struct sock_filter), "one instruction");

int weft_packet_open(int index, const struct weft_instruction *program, unsigned length, unsigned block_bytes, unsigned blocks,
                     unsigned milliseconds, void **map) {
  if (length > BPF_MAXINSNS) return -EINVAL;
  /* Protocol 0 receives nothing: filter and ring must be there before the first frame. */
  int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -errno;
  struct sock_fprog filter = {.len = (unsigned short)length, .filter = (struct sock_filter *)program};
  struct tpacket_req3 ring = {
      .tp_block_size = block_bytes,
      .tp_block_nr = blocks,
      .tp_frame_size = 2048,
      .tp_frame_nr = block_bytes / 2048 * blocks,
      .tp_retire_blk_tov = milliseconds,
  };
  int version = TPACKET_V3;
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
  size_t bytes = (size_t)block_bytes * blocks;
  *map = MAP_FAILED;
  if ((length == 0 || setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0) &&
      setsockopt(descriptor, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0 &&
      setsockopt(descriptor, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) == 0 &&
      (*map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)) != MAP_FAILED &&
      bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0)
    return descriptor;
  int code = errno;
  if (*map != MAP_FAILED) munmap(*map, bytes);
  close(descriptor);
  return -code;
}

void weft_packet_close(int descriptor, void *map, size_t bytes) {
  munmap(map, bytes);
  close(descriptor);
}

int weft_packet_is_ready(const void *block, uint64_t *newest) {
  const struct tpacket_block_desc *head = block;
  if (!(__atomic_load_n(&head->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return 0;
  const struct tpacket_bd_ts *last = &head->hdr.bh1.ts_last_pkt;
  *newest = (uint64_t)last->ts_sec * 1000000000u + last->ts_nsec;
  return 1;
}

unsigned weft_packet_read(const void *block, unsigned block_bytes, struct weft_packet *packets, unsigned room) {
  const struct tpacket_block_desc *head = block;
  unsigned count = head->hdr.bh1.num_pkts;
  unsigned at = head->hdr.bh1.offset_to_first_pkt;
  unsigned filled = 0;
  while (filled < count && filled < room && at + TPACKET3_HDRLEN <= block_bytes) {
    const struct tpacket3_hdr *packet = (const void *)((const char *)block + at);
    const struct sockaddr_ll *link = (const void *)((const char *)packet + TPACKET_ALIGN(sizeof *packet));
    if ((uint64_t)at + packet->tp_mac + packet->tp_snaplen > block_bytes) break;
    packets[filled++] = (struct weft_packet){
        .bytes = (const uint8_t *)packet + packet->tp_mac,
        .nanoseconds = (uint64_t)packet->tp_sec * 1000000000u + packet->tp_nsec,
        .captured = packet->tp_snaplen,
        .length = packet->tp_len,
        .interface = link->sll_ifindex,
        .type = link->sll_pkttype,
    };
    if (packet->tp_next_offset == 0) break;
    at += packet->tp_next_offset;
  }
  return filled;
}

void weft_packet_release(void *block) {
  struct tpacket_block_desc *head = block;
  __atomic_store_n(&head->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
}

int weft_packet_statistics(int descriptor, uint64_t *received, uint64_t *dropped) {
  struct tpacket_stats_v3 counts;
  socklen_t size = sizeof counts;
  if (getsockopt(descriptor, SOL_PACKET, PACKET_STATISTICS, &counts, &size) != 0) return -errno;
  *received += counts.tp_packets;
  *dropped += counts.tp_drops;
  return 0;
}

int weft_packet_is_ethernet(int descriptor, const char *name) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  if (ioctl(descriptor, SIOCGIFHWADDR, &request) != 0) return -errno;
  unsigned kind = request.ifr_hwaddr.sa_family;
  return kind == ARPHRD_ETHER || kind == ARPHRD_LOOPBACK;
}

int64_t weft_peer_user(int descriptor) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -errno;
  return peer.uid;
}
