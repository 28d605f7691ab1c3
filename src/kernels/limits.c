/* limits.c: what this machine can do at most, measured when asked: the products and the DRAM reads that every
 * speed is compared with. Owns no numbers; keeps nothing. */
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "kernels/gemm.h"
#include "kernels/onednn.h"

enum { SIDE = 1024, READ_CHUNK = 1 << 18 /* floats: 1 MiB */ };
#define SECONDS_EACH 0.5

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct bench {
    il_engine *engine;
    float *a, *b, *packed, *c; /* [SIDE, SIDE] */
    float *buffer;             /* [chunks, READ_CHUNK] */
    int chunks;
    il_onednn *peer;
} bench;

/* The shortest of several runs within about SECONDS_EACH; the first one only warms up, if there is a second. */
static double seconds_min(void (*work)(bench *), bench *p) {
    double end = now_s() + SECONDS_EACH, best = 0;
    do {
        double start = now_s();
        work(p);
        double took = now_s() - start;
        if (best == 0 || took < best) best = took;
    } while (now_s() < end);
    return best;
}

static void product(bench *p) {
    il_gemm_packed(p->engine, SIDE, SIDE, SIDE, (il_matrix){p->a, SIDE, 1}, p->packed, NULL, p->c, SIDE, 0);
}

#ifdef IL_WITH_ONEDNN
static void product_peer(bench *p) { il_onednn_run(p->peer); }
#endif

static void fill_chunk(void *context, int item, int worker) {
    bench *p = context;
    float *x = p->buffer + (ptrdiff_t)item * READ_CHUNK;
    (void)worker;
    for (int i = 0; i < READ_CHUNK; i++) x[i] = 1.0f;
}

static void read_chunk(void *context, int item, int worker) {
    bench *p = context;
    volatile float seen = p->engine->kernels->sum(READ_CHUNK, p->buffer + (ptrdiff_t)item * READ_CHUNK);
    (void)seen;
    (void)worker;
}

static void read_all(bench *p) { il_pool_run(p->engine->pool, p->chunks, read_chunk, p); }

/* Chunks of a buffer four times the last-level cache, 256 MiB to 1 GiB. */
static int read_chunks(void) {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    long mib = cache > 0 ? cache / (1 << 20) * 4 : 0;
    return (int)(mib < 256 ? 256 : mib > 1024 ? 1024 : mib);
}

il_status il_engine_limits(il_engine *engine, il_limits *limits, il_error *error) {
    const double gflop = 2.0 * SIDE * SIDE * SIDE * 1e-9;
    bench p = {.engine = engine, .chunks = read_chunks()};
    il_status status = IL_OK;
    *limits = (il_limits){0};
    p.a = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p.b = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p.packed = il_alloc_raw(&engine->memory, il_packed_floats(SIDE, SIDE), sizeof(float));
    p.c = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p.buffer = il_alloc_raw(&engine->memory, (size_t)p.chunks * READ_CHUNK, sizeof(float));
    if (!p.a || !p.b || !p.packed || !p.c || !p.buffer) {
        status = il_fail(error, IL_ERR_NOMEM, "out of memory for measuring: %d MiB are needed", p.chunks + 16);
        goto cleanup;
    }
    for (int i = 0; i < SIDE * SIDE; i++) {
        p.a[i] = (float)(i % 7 - 3);
        p.b[i] = (float)(i % 5 - 2);
    }
    engine->kernels->pack(SIDE, SIDE, p.b, SIDE, 1, p.packed);
    limits->gflops_kernel = gflop / seconds_min(product, &p);
    il_pool_run(engine->pool, p.chunks, fill_chunk, &p);
    limits->read_gb_s = (double)p.chunks * READ_CHUNK * sizeof(float) * 1e-9 / seconds_min(read_all, &p);
#ifdef IL_WITH_ONEDNN
    status =
        il_onednn_open(&engine->memory, il_pool_threads(engine->pool), SIDE, SIDE, SIDE, p.a, p.b, p.c, &p.peer, error);
    if (status == IL_OK) limits->gflops_onednn = gflop / seconds_min(product_peer, &p);
    il_onednn_close(p.peer);
#endif
cleanup:
    il_free(&engine->memory, p.buffer);
    il_free(&engine->memory, p.c);
    il_free(&engine->memory, p.packed);
    il_free(&engine->memory, p.b);
    il_free(&engine->memory, p.a);
    return status;
}
