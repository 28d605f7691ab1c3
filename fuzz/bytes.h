/* bytes.h: bytes in memory as what an il_read gives, so many at a time; for fuzzers and tests. */
#ifndef IL_FUZZ_BYTES_H
#define IL_FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct fuzz_bytes {
    const void *data;
    size_t bytes, step; /* step 0: all at once */
} fuzz_bytes;

static inline int64_t fuzz_bytes_read(void *user, void *data, size_t bytes) {
    fuzz_bytes *b = (fuzz_bytes *)user;
    size_t n = b->bytes < bytes ? b->bytes : bytes;
    if (b->step && n > b->step) n = b->step;
    if (n) memcpy(data, b->data, n);
    b->data = (const char *)b->data + n;
    b->bytes -= n;
    return (int64_t)n;
}

#endif
