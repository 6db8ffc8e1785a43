/* Packet sockets with a ring of TPACKET_V3, and libpcap's filter language when that library is on the machine. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/** One instruction of a classic BPF program (linux/filter.h, struct sock_filter). */
struct weft_instruction {
  uint16_t code;
  uint8_t when_true;
  uint8_t when_false;
  uint32_t operand;
};

/** One packet in a block of a ring. `bytes` points into the ring and is valid until the block is given back. */
struct weft_packet {
  const uint8_t *bytes;
  /** Nanoseconds since 1970. */
  uint64_t nanoseconds;
  uint32_t captured;
  /** On the wire. */
  uint32_t length;
  int32_t interface;
  /** PACKET_HOST, PACKET_OUTGOING, … of linux/if_packet.h. */
  uint8_t type;
};

/** Opens a packet socket that receives frames of the link `index` (0: of all links of this network namespace) that the program
    takes, into `blocks` blocks of `block_bytes`; a block is handed out when it is full or after `milliseconds`. Needs CAP_NET_RAW.
    Returns the descriptor, or -errno; `*map` is where the blocks are. */
int weft_packet_open(int index, const struct weft_instruction *program, unsigned length, unsigned block_bytes, unsigned blocks,
                     unsigned milliseconds, void **map);
/** Unmaps the blocks and closes the socket. */
void weft_packet_close(int descriptor, void *map, size_t bytes);
/** Whether the block is ours to read; `newest` is then the time of its last packet. */
int weft_packet_is_ready(const void *block, uint64_t *newest);
/** Reads up to `room` packets of a block that is ours. Returns how many. */
unsigned weft_packet_read(const void *block, unsigned block_bytes, struct weft_packet *packets, unsigned room);
/** Gives a block back to the kernel. */
void weft_packet_release(void *block);
/** Adds to both what came and what found no room since the last call. Returns 0 or -errno. */
int weft_packet_statistics(int descriptor, uint64_t *received, uint64_t *dropped);
/** Whether frames of the link begin with an Ethernet header: 1 or 0, or -errno. */
int weft_packet_is_ethernet(int descriptor, const char *name);
/** Who is at the other end of a Unix socket: the user, or -errno. */
int64_t weft_peer_user(int descriptor);

/** What `weft_filter_compile` returns when it gives no program. */
enum { weft_filter_no_library = -1, weft_filter_refused = -2, weft_filter_too_long = -3 };
/** Compiles a filter for Ethernet frames by libpcap, which is loaded at the first call. Names of hosts are looked up, which waits.
    Returns the number of instructions, or one of the above with libpcap's words in `message`. */
int weft_filter_compile(const char *text, int snap_length, struct weft_instruction *program, unsigned room, char *message,
                        size_t message_room);
