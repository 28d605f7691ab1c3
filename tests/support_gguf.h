/* support_gguf.h: makes GGUF files in memory, good ones and bad. */
#ifndef IL_SUPPORT_GGUF_H
#define IL_SUPPORT_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/gguf.h"

typedef struct support_bytes {
    unsigned char *data;
    size_t bytes, capacity;
} support_bytes;

void support_bytes_add(support_bytes *bytes, const void *data, size_t n);

/* Zeroed at first. What the counts say may be changed before it is made. */
typedef struct support_gguf {
    support_bytes values, infos, data;
    uint64_t n_values, n_tensors;
    uint32_t version; /* 0: 3 */
} support_gguf;

/* A key and its type; its value is the caller's to add to values. */
void support_gguf_key(support_gguf *g, const char *key, uint32_t type);
void support_gguf_u32(support_gguf *g, const char *key, uint32_t x);
void support_gguf_f32(support_gguf *g, const char *key, float x);
void support_gguf_flag(support_gguf *g, const char *key, int x);
void support_gguf_text(support_gguf *g, const char *key, const char *text);
/* An array's key, type and count; its elements are the caller's to add to values. */
void support_gguf_array(support_gguf *g, const char *key, uint32_t type, uint64_t n);
void support_gguf_add_text(support_gguf *g, const char *text, size_t bytes);
/* A tensor's description, at any place of the data. shape as everywhere here, the last one's entries together. */
void support_gguf_info(support_gguf *g, const char *name, uint32_t type, int rank, const uint64_t *shape,
                       uint64_t place);
/* A tensor and its data, behind those before it. */
void support_gguf_tensor(support_gguf *g, const char *name, uint32_t type, int rank, const uint64_t *shape,
                         const void *data, size_t bytes);
/* The file, released by free; to the byte, so that a sanitizer sees a read past the end. Empties g. */
unsigned char *support_gguf_make(support_gguf *g, size_t *bytes);

#endif
