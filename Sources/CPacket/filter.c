#define _GNU_SOURCE
/* libpcap's compiler of filters, loaded when it is asked for; see include/CPacket.h. */
#include "include/CPacket.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* pcap/bpf.h and pcap.h: what of them is stable since libpcap 0.8. */
struct program {
  unsigned length;
  struct weft_instruction *instructions;
};
enum { link_ethernet = 1 };
typedef struct pcap pcap;

struct library {
  pcap *(*open_dead)(int, int);
  int (*compile)(pcap *, struct program *, const char *, int, uint32_t);
  char *(*error)(pcap *);
  void (*free_code)(struct program *);
  void (*close)(pcap *);
};

static int load(struct library *library) {
  void *handle = dlopen("libpcap.so.0.8", RTLD_NOW | RTLD_LOCAL);
  if (!handle) handle = dlopen("libpcap.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!handle) return 0;
  *(void **)&library->open_dead = dlsym(handle, "pcap_open_dead");
  *(void **)&library->compile = dlsym(handle, "pcap_compile");
  *(void **)&library->error = dlsym(handle, "pcap_geterr");
  *(void **)&library->free_code = dlsym(handle, "pcap_freecode");
  *(void **)&library->close = dlsym(handle, "pcap_close");
  return library->open_dead && library->compile && library->error && library->free_code && library->close;
}

int weft_filter_compile(const char *text, int snap_length, struct weft_instruction *program, unsigned room, char *message,
                        size_t message_room) {
  struct library library;
  if (message_room) message[0] = 0;
  if (!load(&library)) return weft_filter_no_library;
  pcap *compiler = library.open_dead(link_ethernet, snap_length);
  if (!compiler) return weft_filter_no_library;
  struct program compiled = {0};
  int result;
  /* The netmask is only of use for `ip broadcast`, which pods have no use for: unknown. */
  if (library.compile(compiler, &compiled, text, 1, 0xffffffff) != 0) {
    if (message_room) {
      strncpy(message, library.error(compiler), message_room - 1);
      message[message_room - 1] = 0;
    }
    result = weft_filter_refused;
  } else {
    if (compiled.length > room) {
      result = weft_filter_too_long;
    } else {
      memcpy(program, compiled.instructions, compiled.length * sizeof *program);
      result = (int)compiled.length;
    }
    library.free_code(&compiled);
  }
  library.close(compiler);
  return result;
}
