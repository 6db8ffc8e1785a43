/* Requests at a fixed pace, whatever the answers take: a slow answer makes the next ones wait, and their waiting counts.
   Usage: paced PORT HOST PATH PER_SECOND SECONDS CONNECTIONS
   Prints: requests, failed ones, then p50, p99 and the longest in microseconds. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX 1024
static struct link {
  int descriptor;
  uint64_t due;   /* when its request should have gone; 0: it waits for one */
  int length, have; /* of the answer: all of it, and what has come; 0: the head is not whole */
  char head[4096];
} links[LINKS_MAX];
static int count, poll_set;
static char request[1024];
static int request_length;
static struct sockaddr_in address;
static uint32_t *times;
static uint64_t done, failed, planned;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void open_link(struct link *l) {
  int one = 1;
  l->descriptor = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(l->descriptor, (struct sockaddr *)&address, sizeof address)) { perror("connect"); exit(1); }
  setsockopt(l->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
  epoll_ctl(poll_set, EPOLL_CTL_ADD, l->descriptor, &event);
  l->due = 0;
  l->have = l->length = 0;
}

static void again(struct link *l) {
  close(l->descriptor);
  open_link(l);
}

static void finish(struct link *l, int good) {
  if (!good) failed++;
  if (done < planned) times[done++] = (now() - l->due) / 1000;
  l->due = 0;
}

static void read_link(struct link *l) {
  char space[65536];
  ssize_t n = recv(l->descriptor, space, sizeof space, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    if (l->due) finish(l, 0);
    return again(l);
  }
  if (l->length == 0) {
    if (l->have + n >= (ssize_t)sizeof l->head) { finish(l, 0); return again(l); }
    memcpy(l->head + l->have, space, n);
    l->have += n;
    l->head[l->have] = 0;
    char *end = strstr(l->head, "\r\n\r\n"), *field = strcasestr(l->head, "content-length: ");
    if (!end || !field) return;
    l->length = end - l->head + 4 + atoi(field + 16);
  } else l->have += n;
  if (l->have < l->length) return;
  int is_last = strcasestr(l->head, "connection: close") != NULL;
  finish(l, l->have == l->length && !strncmp(l->head, "HTTP/1.1 200", 12));
  l->have = l->length = 0;
  if (is_last) again(l);
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc < 7) return 2;
  address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  request_length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3], argv[2]);
  uint64_t pace = 1000000000ull / atoi(argv[4]);
  planned = (uint64_t)atoi(argv[4]) * atoi(argv[5]);
  count = atoi(argv[6]) < LINKS_MAX ? atoi(argv[6]) : LINKS_MAX;
  times = calloc(planned, sizeof *times);
  poll_set = epoll_create1(0);
  for (int i = 0; i < count; i++) open_link(&links[i]);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct itimerspec every = {.it_interval.tv_nsec = 250000, .it_value.tv_nsec = 250000};
  timerfd_settime(timer, 0, &every, NULL);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
  epoll_ctl(poll_set, EPOLL_CTL_ADD, timer, &event);
  uint64_t start = now(), sent = 0, last = start + (uint64_t)atoi(argv[5]) * 1000000000ull + 30000000000ull;
  int next = 0;
  while (done < planned && now() < last) {
    int n = epoll_wait(poll_set, events, 256, 100);
    for (int i = 0; i < n; i++) {
      if (events[i].data.ptr) { read_link(events[i].data.ptr); continue; }
      uint64_t ticks;
      if (read(timer, &ticks, 8) < 0) continue;
    }
    /* Those whose time has come, each on a connection that waits. */
    for (int tried = 0; sent < planned && start + sent * pace <= now() && tried < count;) {
      struct link *l = &links[next];
      next = (next + 1) % count;
      if (l->due) { tried++; continue; }
      tried = 0;
      l->due = start + sent * pace;
      sent++;
      if (send(l->descriptor, request, request_length, MSG_NOSIGNAL) != request_length) { finish(l, 0); again(l); }
    }
  }
  failed += planned - done;
  qsort(times, done, sizeof *times, by_size);
  printf("%lu %lu %u %u %u\n", planned, failed, times[done / 2], times[done * 99 / 100], done ? times[done - 1] : 0);
  return 0;
}
