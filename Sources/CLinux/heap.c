/* The C library's heap and the program's own pages, for programs that shall stay small. */
#define _GNU_SOURCE
#include "include/CLinux.h"
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>

void weft_heap_keep_small(void) {
  /* Each thread with a heap of its own keeps what it once needed. */
  mallopt(M_ARENA_MAX, 1);
  /* Setting these keeps the library from raising them by itself. */
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
  mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

void weft_heap_trim(void) { malloc_trim(0); }

static int release_text(struct dl_phdr_info *object, size_t size, void *data) {
  (void)size;
  (void)data;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    /* What was relocated is writable or read-only data; code that nobody may write is as it is in its file. */
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || (part->p_flags & PF_W)) continue;
    uintptr_t start = (object->dlpi_addr + part->p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (object->dlpi_addr + part->p_vaddr + part->p_filesz) & ~(page - 1);
    if (end > start) madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 0;
}

void weft_text_release(void) { dl_iterate_phdr(release_text, NULL); }
