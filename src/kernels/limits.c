/* limits.c: what this machine can do at most, measured when asked: the products and the reads that every speed is
 * compared with. Owns no numbers; keeps nothing. */
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "kernels/gemm.h"
#include "kernels/onednn.h"

enum {
    SIDE = 1024,
    READ_CHUNK = 1 << 18, /* floats: 1 MiB */
    CACHED_COLUMNS = 256, /* of the matrix that is read from the second-level cache */
    CACHED_PASSES = 64
};
#define SECONDS_EACH 0.5
#define SECONDS_MINOR 0.15 /* of what only few rows are compared with */

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
    int cached_rows; /* of a matrix [cached_rows, CACHED_COLUMNS] that fills half of a core's L2 */
    il_onednn *peer;
} bench;

/* The shortest of several runs within about so many seconds; the first one only warms up, if there is a second. */
static double seconds_min(void (*work)(bench *), bench *p, double within) {
    double end = now_s() + within, best = 0;
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

/* Each worker multiplies a vector by its own part of the buffer, by the kernel that decodes. */
static void read_cached(void *context, int item, int worker) {
    bench *p = context;
    float y[CACHED_COLUMNS];
    const float *matrix = p->buffer + (ptrdiff_t)worker * p->cached_rows * CACHED_COLUMNS;
    (void)item;
    for (int i = 0; i < CACHED_PASSES; i++)
        p->engine->kernels->gemm(1, CACHED_COLUMNS, p->cached_rows, p->a, SIDE, 1, matrix, IL_LANES,
                                 (ptrdiff_t)p->cached_rows * IL_LANES, y, CACHED_COLUMNS, 0);
}

static void read_all_cached(bench *p) {
    il_pool_run(p->engine->pool, il_pool_threads(p->engine->pool), read_cached, p);
}

static int cached_rows(void) {
    long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
    long bytes = cache <= 0 ? 128 << 10 : cache / 2 > 1 << 20 ? 1 << 20 : cache / 2;
    return (int)(bytes / (CACHED_COLUMNS * (long)sizeof(float)));
}

#ifdef IL_WITH_ONEDNN
static double rate(double work, double seconds) { return seconds > 0 ? work / seconds : 0; }

/* Zero where oneDNN has no such product. a, b and c are overwritten with the numbers of this kind. */
static il_status peer_seconds(bench *p, il_onednn_kind kind, double within, double *seconds, il_error *error) {
    signed char *a = (signed char *)p->a, *b = (signed char *)p->b;
    for (int i = 0; i < SIDE * SIDE && kind == IL_ONEDNN_INT8; i++) {
        a[i] = (signed char)(i % 7);
        b[i] = (signed char)(i % 5 - 2);
    }
    il_status status = il_onednn_open(&p->engine->memory, il_pool_threads(p->engine->pool), kind, SIDE, SIDE, SIDE,
                                      p->a, p->b, p->c, &p->peer, error);
    *seconds = status ? 0 : seconds_min(product_peer, p, within);
    il_onednn_close(p->peer);
    return status == IL_ERR_UNSUPPORTED ? IL_OK : status;
}
#endif

/* Chunks of a buffer four times the last-level cache, 256 MiB to 1 GiB. */
static int read_chunks(void) {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    long mib = cache > 0 ? cache / (1 << 20) * 4 : 0;
    return (int)(mib < 256 ? 256 : mib > 1024 ? 1024 : mib);
}

il_status il_engine_limits(il_engine *engine, il_limits *limits, il_error *error) {
    const double gflop = 2.0 * SIDE * SIDE * SIDE * 1e-9;
    bench p = {.engine = engine, .chunks = read_chunks(), .cached_rows = cached_rows()};
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
    limits->gflops_kernel = gflop / seconds_min(product, &p, SECONDS_EACH);
    il_pool_run(engine->pool, p.chunks, fill_chunk, &p);
    limits->read_gb_s = (double)p.chunks * READ_CHUNK * sizeof(float) * 1e-9 / seconds_min(read_all, &p, SECONDS_EACH);
    limits->l2_read_gb_s = (double)il_pool_threads(engine->pool) * CACHED_PASSES * p.cached_rows * CACHED_COLUMNS *
                           sizeof(float) * 1e-9 / seconds_min(read_all_cached, &p, SECONDS_MINOR);
#ifdef IL_WITH_ONEDNN
    double seconds;
    status = peer_seconds(&p, IL_ONEDNN_F32, SECONDS_EACH, &seconds, error);
    limits->gflops_onednn = rate(gflop, seconds);
    if (status) goto cleanup;
    status = peer_seconds(&p, IL_ONEDNN_INT8, SECONDS_MINOR, &seconds, error);
    limits->gops_int8_onednn = rate(gflop, seconds);
#endif
cleanup:
    il_free(&engine->memory, p.buffer);
    il_free(&engine->memory, p.c);
    il_free(&engine->memory, p.packed);
    il_free(&engine->memory, p.b);
    il_free(&engine->memory, p.a);
    return status;
}
