/* Socket helpers of the data path: batches of datagrams with their local address, thread pinning, privilege drop. */
#pragma once
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

/** One datagram of a batch. `local` is the address it was sent to (receive) or must leave from (send); a
    `local.sin6_family` of 0 means unknown. IPv4 addresses travel in the first 16 bytes as `struct sockaddr_in`. */
struct weft_datagram {
  void *payload;
  uint32_t length;
  uint32_t capacity;
  struct sockaddr_in6 peer;
  uint32_t peer_length;
  struct sockaddr_in6 local;
  uint32_t interface;
  uint32_t truncated;
};

enum { weft_datagram_batch_max = 64 };

/** recvmmsg(2) without waiting: fills up to `count` datagrams. Returns how many, or -errno. */
int weft_receive_datagrams(int descriptor, struct weft_datagram *datagrams, int count);
/** sendmmsg(2) without waiting. Returns how many left, or -errno when the first could not. */
int weft_send_datagrams(int descriptor, struct weft_datagram *datagrams, int count);

/** Keeps the calling thread on one processor. Returns 0 or -errno. */
int weft_pin_thread(int processor);
/** Names the calling thread (15 bytes at most) and blocks all signals in it, so that the main thread gets them. */
void weft_prepare_thread(const char *name);
/** Gives up every capability for good: bounding set, ambient set, capset(2) to nothing, no_new_privs, not dumpable.
    Call before other threads exist: capabilities belong to threads. Returns 0 or -errno. */
int weft_drop_privileges(void);
/** accept4(2), whose address argument Swift sees as a transparent union. */
int weft_accept(int descriptor, struct sockaddr *peer, socklen_t *length, int flags);

/** pipe2(2), non-blocking and closed on exec, with room for `bytes` where the limits allow. Returns the room it has, or
    -errno. */
int weft_pipe(int descriptors[2], int bytes);
/** splice(2) between a pipe and a socket, without waiting. Returns the bytes moved, 0 at the end, or -errno. */
ssize_t weft_splice(int from, int to, size_t count);
/** Lets a socket be bound to an address that is not the machine's (IP_TRANSPARENT). Returns 0 or -errno. */
int weft_set_transparent(int descriptor, int is_v6);

/** sendmsg(2) on a stream socket without SIGPIPE, with a descriptor beside the bytes (SCM_RIGHTS); < 0: none. Returns the bytes
    that left, or -errno. The descriptor arrives with the first of them. */
ssize_t weft_send_beside(int socket, const void *bytes, size_t count, int descriptor);
/** recvmsg(2) of bytes; the descriptor beside them, closed on exec, in `descriptor`, which is else -1. Further ones are closed.
    Returns the bytes, 0 at the end, or -errno. */
ssize_t weft_receive_beside(int socket, void *bytes, size_t count, int *descriptor);

/** A packet socket that receives nothing but ARP requests, or with `is_v6` neighbour solicitations and advertisements,
    of any link. Does not wait. Needs CAP_NET_RAW. Returns the descriptor or -errno. */
int weft_neighbour_socket(int is_v6);
/** Receives a frame with its Ethernet header. Returns its length or -errno; `index` is the link it came in by. */
ssize_t weft_receive_frame(int descriptor, void *frame, size_t room, int *index);
/** Sends a frame with its Ethernet header out of a link. Returns 0 or -errno. */
int weft_send_frame(int descriptor, int index, const void *frame, size_t length);
/** Joins or leaves an IPv6 multicast group on a link (MLD tells switches). Returns 0 or -errno. */
int weft_multicast_group(int descriptor, int index, const uint8_t group[16], int joins);
