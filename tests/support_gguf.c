/* support_gguf.c: see support_gguf.h. */
#include "support_gguf.h"

#include <stdlib.h>
#include <string.h>

void support_bytes_add(support_bytes *bytes, const void *data, size_t n) {
    if (bytes->bytes + n > bytes->capacity) {
        bytes->capacity = 2 * (bytes->bytes + n);
        bytes->data = realloc(bytes->data, bytes->capacity);
        if (!bytes->data) abort();
    }
    if (n) memcpy(bytes->data + bytes->bytes, data, n);
    bytes->bytes += n;
}

static void add_u32(support_bytes *bytes, uint32_t x) { support_bytes_add(bytes, &x, sizeof x); }
static void add_u64(support_bytes *bytes, uint64_t x) { support_bytes_add(bytes, &x, sizeof x); }

static void add_text(support_bytes *bytes, const char *text, size_t n) {
    add_u64(bytes, n);
    support_bytes_add(bytes, text, n);
}

static void pad(support_bytes *bytes) {
    static const unsigned char zeros[32];
    support_bytes_add(bytes, zeros, (32 - bytes->bytes % 32) % 32);
}

void support_gguf_key(support_gguf *g, const char *key, uint32_t type) {
    add_text(&g->values, key, strlen(key));
    add_u32(&g->values, type);
    g->n_values++;
}

void support_gguf_u32(support_gguf *g, const char *key, uint32_t x) {
    support_gguf_key(g, key, IL_GGUF_U32);
    add_u32(&g->values, x);
}

void support_gguf_f32(support_gguf *g, const char *key, float x) {
    support_gguf_key(g, key, IL_GGUF_F32);
    support_bytes_add(&g->values, &x, sizeof x);
}

void support_gguf_flag(support_gguf *g, const char *key, int x) {
    unsigned char byte = (unsigned char)x;
    support_gguf_key(g, key, IL_GGUF_BOOL);
    support_bytes_add(&g->values, &byte, 1);
}

void support_gguf_text(support_gguf *g, const char *key, const char *text) {
    support_gguf_key(g, key, IL_GGUF_STRING);
    add_text(&g->values, text, strlen(text));
}

void support_gguf_array(support_gguf *g, const char *key, uint32_t type, uint64_t n) {
    support_gguf_key(g, key, IL_GGUF_ARRAY);
    add_u32(&g->values, type);
    add_u64(&g->values, n);
}

void support_gguf_add_text(support_gguf *g, const char *text, size_t bytes) { add_text(&g->values, text, bytes); }

void support_gguf_info(support_gguf *g, const char *name, uint32_t type, int rank, const uint64_t *shape,
                       uint64_t place) {
    add_text(&g->infos, name, strlen(name));
    add_u32(&g->infos, (uint32_t)rank);
    for (int i = rank; i-- > 0;) add_u64(&g->infos, shape[i]);
    add_u32(&g->infos, type);
    add_u64(&g->infos, place);
    g->n_tensors++;
}

void support_gguf_tensor(support_gguf *g, const char *name, uint32_t type, int rank, const uint64_t *shape,
                         const void *data, size_t bytes) {
    pad(&g->data);
    support_gguf_info(g, name, type, rank, shape, g->data.bytes);
    support_bytes_add(&g->data, data, bytes);
}

unsigned char *support_gguf_make(support_gguf *g, size_t *bytes) {
    support_bytes file = {0};
    support_bytes_add(&file, "GGUF", 4);
    add_u32(&file, g->version ? g->version : 3);
    add_u64(&file, g->n_tensors);
    add_u64(&file, g->n_values);
    support_bytes_add(&file, g->values.data, g->values.bytes);
    support_bytes_add(&file, g->infos.data, g->infos.bytes);
    if (g->data.bytes) pad(&file);
    support_bytes_add(&file, g->data.data, g->data.bytes);
    free(g->values.data);
    free(g->infos.data);
    free(g->data.data);
    *g = (support_gguf){.version = 0};
    unsigned char *exact = malloc(file.bytes);
    if (!exact) abort();
    memcpy(exact, file.data, file.bytes);
    free(file.data);
    *bytes = file.bytes;
    return exact;
}
