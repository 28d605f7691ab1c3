/* limits.c: what this machine can do at most, measured when asked: the products and the reads that every speed is
 * compared with. Owns what is multiplied and read; keeps no results. */
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
#define SECONDS_EACH 0.4

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct il_prober {
    il_engine *engine;
    unsigned which;
    float *a, *b, *packed, *c; /* [SIDE, SIDE] */
    float *buffer;             /* [chunks, READ_CHUNK]; NULL where no read is measured */
    int chunks;
    int cached_rows; /* of a matrix [cached_rows, CACHED_COLUMNS] that fills half of a core's L2 */
    il_onednn *peer;
};

/* The shortest of several runs within about so many seconds; the first one only warms up, if there is a second. */
static double seconds_min(void (*work)(il_prober *), il_prober *p, double within) {
    double end = now_s() + within, best = 0;
    do {
        double start = now_s();
        work(p);
        double took = now_s() - start;
        if (best == 0 || took < best) best = took;
    } while (now_s() < end);
    return best;
}

static void product(il_prober *p) {
    il_gemm_packed(p->engine, SIDE, SIDE, SIDE, (il_matrix){p->a, SIDE, 1}, p->packed, NULL, p->c, SIDE, 0);
}

#ifdef IL_WITH_ONEDNN
static void product_peer(il_prober *p) { il_onednn_run(p->peer); }
#endif

static void fill_chunk(void *context, int item, int worker) {
    il_prober *p = context;
    float *x = p->buffer + (ptrdiff_t)item * READ_CHUNK;
    (void)worker;
    for (int i = 0; i < READ_CHUNK; i++) x[i] = 1.0f;
}

static void read_chunk(void *context, int item, int worker) {
    il_prober *p = context;
    volatile float seen = p->engine->kernels->sum(READ_CHUNK, p->buffer + (ptrdiff_t)item * READ_CHUNK);
    (void)seen;
    (void)worker;
}

static void read_all(il_prober *p) { il_pool_run(p->engine->pool, p->chunks, read_chunk, p); }

/* Each worker multiplies a vector by its own part of the buffer, by the kernel that decodes. */
static void read_cached(void *context, int item, int worker) {
    il_prober *p = context;
    float y[CACHED_COLUMNS];
    const float *matrix = p->buffer + (ptrdiff_t)worker * p->cached_rows * CACHED_COLUMNS;
    (void)item;
    for (int i = 0; i < CACHED_PASSES; i++)
        p->engine->kernels->gemm(1, CACHED_COLUMNS, p->cached_rows, p->a, SIDE, 1, matrix, IL_LANES,
                                 (ptrdiff_t)p->cached_rows * IL_LANES, y, CACHED_COLUMNS, 0);
}

static void read_all_cached(il_prober *p) {
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
static il_status peer_seconds(il_prober *p, il_onednn_kind kind, double within, double *seconds, il_error *error) {
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

/* Chunks that are read: from memory, or from the caches, a part of half of one (1 MiB at most) for each worker. */
static int chunks_of(const il_engine *engine, unsigned which) {
    if (which & IL_LIMIT_READ) return read_chunks();
    return which & IL_LIMIT_L2_READ ? il_pool_threads(engine->pool) : 0;
}

il_status il_prober_open(il_engine *engine, unsigned which, il_prober **prober, il_error *error) {
    il_prober *p = il_alloc(&engine->memory, 1, sizeof *p);
    *prober = NULL;
    if (!p) return il_fail(error, IL_ERR_NOMEM, "out of memory for measuring");
    *p =
        (il_prober){.engine = engine, .which = which, .chunks = chunks_of(engine, which), .cached_rows = cached_rows()};
    p->a = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p->b = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p->packed = il_alloc_raw(&engine->memory, il_packed_floats(SIDE, SIDE), sizeof(float));
    p->c = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    if (p->chunks) p->buffer = il_alloc_raw(&engine->memory, (size_t)p->chunks * READ_CHUNK, sizeof(float));
    if (!p->a || !p->b || !p->packed || !p->c || (p->chunks && !p->buffer)) {
        int mebibytes = p->chunks + 16;
        il_prober_close(p);
        return il_fail(error, IL_ERR_NOMEM, "out of memory for measuring: %d MiB are needed", mebibytes);
    }
    if (p->chunks) il_pool_run(engine->pool, p->chunks, fill_chunk, p);
    *prober = p;
    return IL_OK;
}

void il_prober_close(il_prober *p) {
    if (!p) return;
    const il_allocator *memory = &p->engine->memory;
    il_free(memory, p->buffer);
    il_free(memory, p->c);
    il_free(memory, p->packed);
    il_free(memory, p->b);
    il_free(memory, p->a);
    il_free(memory, p);
}

il_status il_prober_measure(il_prober *p, double within, il_limits *limits, il_error *error) {
    const double gflop = 2.0 * SIDE * SIDE * SIDE * 1e-9, chunk = READ_CHUNK * sizeof(float) * 1e-9;
    il_status status = IL_OK;
    *limits = (il_limits){0};
    for (int i = 0; i < SIDE * SIDE; i++) { /* again: the product of integers leaves others */
        p->a[i] = (float)(i % 7 - 3);
        p->b[i] = (float)(i % 5 - 2);
    }
    if (p->which & IL_LIMIT_KERNEL) {
        p->engine->kernels->pack(SIDE, SIDE, p->b, SIDE, 1, p->packed);
        limits->gflops_kernel = gflop / seconds_min(product, p, within);
    }
    if (p->which & IL_LIMIT_READ) limits->read_gb_s = p->chunks * chunk / seconds_min(read_all, p, within);
    if (p->which & IL_LIMIT_L2_READ)
        limits->l2_read_gb_s = (double)il_pool_threads(p->engine->pool) * CACHED_PASSES * p->cached_rows *
                               CACHED_COLUMNS * sizeof(float) * 1e-9 / seconds_min(read_all_cached, p, within);
#ifdef IL_WITH_ONEDNN
    double seconds;
    if (p->which & IL_LIMIT_ONEDNN) {
        status = peer_seconds(p, IL_ONEDNN_F32, within, &seconds, error);
        limits->gflops_onednn = rate(gflop, seconds);
    }
    if (!status && (p->which & IL_LIMIT_INT8_ONEDNN)) {
        status = peer_seconds(p, IL_ONEDNN_INT8, within, &seconds, error);
        limits->gops_int8_onednn = rate(gflop, seconds);
    }
#else
    (void)error;
#endif
    return status;
}

il_status il_engine_limits(il_engine *engine, il_limits *limits, il_error *error) {
    il_prober *prober;
    *limits = (il_limits){0};
    il_status status = il_prober_open(engine, IL_LIMIT_ALL, &prober, error);
    if (!status) status = il_prober_measure(prober, SECONDS_EACH, limits, error);
    il_prober_close(prober);
    return status;
}
