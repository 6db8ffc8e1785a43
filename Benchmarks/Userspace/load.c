// Both ends of the measurement: a server that echoes a byte or takes a stream in, and clients that ask for either.
//   load serve ADDRESS PORT
//   load bulk ADDRESS PORT STREAMS MEBIBYTES      prints seconds
//   load connects ADDRESS PORT CLIENTS SECONDS    prints connections: each connects, sends a byte, reads it back and closes
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in address;
static long amount;
static volatile int over;
enum { piece = 256 << 10 };

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *serve(void *argument) {
  int socket = (int)(long)argument;
  char first;
  if (read(socket, &first, 1) == 1) {
    if (first == 'b') {
      char *space = malloc(piece);
      while (read(socket, space, piece) > 0) {}
      free(space);
    }
    if (write(socket, &first, 1) != 1) {}
  }
  close(socket);
  return NULL;
}

static int dial(void) {
  int one = 1, made = socket(AF_INET, SOCK_STREAM, 0);
  if (made < 0 || connect(made, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
  setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return made;
}

static void *bulk(void *argument) {
  int stream = dial();
  char *space = calloc(1, piece), answer;
  memset(space, 'b', piece);
  for (long sent = 0; sent < amount << 20;) {
    ssize_t count = write(stream, space, piece);
    if (count <= 0) fail("write");
    sent += count;
  }
  shutdown(stream, SHUT_WR);
  if (read(stream, &answer, 1) != 1) fail("the stream was not taken in whole");
  close(stream);
  free(space);
  return argument;
}

static void *connects(void *argument) {
  long count = 0;
  char byte = 'e';
  while (!over) {
    int made = dial();
    if (write(made, &byte, 1) != 1 || read(made, &byte, 1) != 1) fail("echo");
    close(made);
    count++;
  }
  *(long *)argument = count;
  return NULL;
}

int main(int count, char **words) {
  if (count < 4) return 2;
  address.sin_family = AF_INET;
  inet_pton(AF_INET, words[2], &address.sin_addr);
  address.sin_port = htons(atoi(words[3]));
  pthread_t threads[64];
  if (!strcmp(words[1], "serve")) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) fail("listen");
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (;;) {
      int made = accept(listener, NULL, NULL);
      if (made >= 0) pthread_create(&threads[0], &small, serve, (void *)(long)made);
    }
  }
  int clients = atoi(words[4]);
  if (clients > 64) clients = 64;
  long totals[64] = {0}, total = 0;
  double start = now();
  int isBulk = !strcmp(words[1], "bulk");
  amount = isBulk ? atol(words[5]) : 0;
  for (int each = 0; each < clients; each++)
    pthread_create(&threads[each], NULL, isBulk ? bulk : connects, &totals[each]);
  if (!isBulk) {
    usleep((useconds_t)(atof(words[5]) * 1e6));
    over = 1;
  }
  for (int each = 0; each < clients; each++) pthread_join(threads[each], NULL);
  for (int each = 0; each < clients; each++) total += totals[each];
  if (isBulk) printf("%.4f\n", now() - start); else printf("%ld %.4f\n", total, now() - start);
  return 0;
}
