#define _GNU_SOURCE
#include "include/CLinux.h"

int weft_setns(int descriptor, int kind) { return setns(descriptor, kind) == 0 ? 0 : -errno; }
int weft_unshare(int flags) { return unshare(flags) == 0 ? 0 : -errno; }
