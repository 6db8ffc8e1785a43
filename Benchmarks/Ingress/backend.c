/* The endpoint behind the proxies: one thread, epoll, 1 KiB answered to every request head. Usage: backend PORT */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char answer[1200];
static unsigned char seen[1 << 16]; /* bytes of CR LF CR LF matched so far, by descriptor */

static void serve(int connection, int answer_length) {
  char space[16384];
  ssize_t count = recv(connection, space, sizeof space, MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) { close(connection); return; }
  static const char end[4] = "\r\n\r\n";
  for (ssize_t i = 0; i < count; i++) {
    unsigned char matched = seen[connection];
    seen[connection] = space[i] == end[matched] ? matched + 1 : space[i] == '\r';
    if (seen[connection] < 4) continue;
    seen[connection] = 0;
    if (send(connection, answer, answer_length, MSG_NOSIGNAL) != answer_length) { close(connection); return; }
  }
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  char body[1025];
  memset(body, 'b', 1024);
  body[1024] = 0;
  int length = snprintf(answer, sizeof answer,
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n%s", body);
  int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1024)) { perror("bind"); return 1; }
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listening}, events[128];
  epoll_ctl(poll, EPOLL_CTL_ADD, listening, &event);
  for (;;) {
    int count = epoll_wait(poll, events, 128, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.fd != listening) { serve(events[i].data.fd, length); continue; }
      int connection;
      while ((connection = accept4(listening, NULL, NULL, 0)) >= 0) {
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        seen[connection & 0xffff] = 0;
        struct epoll_event added = {.events = EPOLLIN, .data.fd = connection};
        epoll_ctl(poll, EPOLL_CTL_ADD, connection, &added);
      }
    }
  }
}
