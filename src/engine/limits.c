/* limits.c: what this machine can do at most, measured when asked: the products and the reads that every speed is
 * compared with. Owns what is multiplied and read; keeps no results. */
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/gemm.h"
#include "engine/onednn.h"

enum {
    SIDE = 1024,
    COLUMNS = 256,               /* of the matrices that are read */
    READ_PIECE = SIDE * COLUMNS, /* floats, 1 MiB: one of those matrices */
    READ_PIECES_MIN = 64,        /* that a run reads, so that starting it costs nothing beside it */
    READ_PIECES_MAX = 1024,
    READ_AHEAD = 512, /* floats: 2 KiB */
    CACHED_PASSES = 64
};
#define SECONDS_EACH 0.4

struct il_prober {
    il_engine *engine;
    unsigned which;
    float *a, *b, *packed, *c; /* [SIDE, SIDE] */
    float *buffer;             /* [pieces, READ_PIECE]; NULL where no read is measured */
    int pieces, reads;         /* reads: pieces that a run reads, the same ones again where there are few */
    int cached_rows;           /* of a matrix [cached_rows, COLUMNS] that fills half of a core's L2 */
    il_onednn *peer;
};

/* The shortest of several runs within about so many seconds; the first one only warms up, if there is a second. */
static double seconds_min(void (*work)(il_prober *), il_prober *p, double within) {
    double end = il_clock_seconds() + within, best = 0;
    do {
        double start = il_clock_seconds();
        work(p);
        double took = il_clock_seconds() - start;
        if (best == 0 || took < best) best = took;
    } while (il_clock_seconds() < end);
    return best;
}

static void product(il_prober *p) {
    il_gemm_packed(p->engine, SIDE, SIDE, SIDE, (il_matrix){p->a, SIDE, 1}, p->packed, p->c, SIDE, 0);
}

#ifdef IL_WITH_ONEDNN
static void product_peer(il_prober *p) { il_onednn_run(p->peer); }
#endif

static void fill_piece(void *context, int item, int worker) {
    il_prober *p = context;
    float *x = p->buffer + (ptrdiff_t)item * READ_PIECE;
    (void)worker;
    for (int i = 0; i < READ_PIECE; i++) x[i] = 1.0f;
}

static float *piece_at(const il_prober *p, int item) { return p->buffer + (ptrdiff_t)(item % p->pieces) * READ_PIECE; }

/* Front to back, nothing but additions, and lines asked for before they are needed. */
static void read_plainly(void *context, int item, int worker) {
    enum { LINE = 16, STEP = 2 * LINE };
    const float *x = piece_at(context, item);
    float sums[STEP] = {0};
    (void)worker;
    for (const float *end = x + READ_PIECE; x < end; x += STEP) {
        for (int i = 0; i < STEP; i += LINE) __builtin_prefetch(x + i + READ_AHEAD);
        for (int i = 0; i < STEP; i++) sums[i] += x[i];
    }
    for (int i = 1; i < STEP; i++) sums[0] += sums[i];
    volatile float seen = sums[0];
    (void)seen;
}

/* A vector times a matrix [rows, COLUMNS] in panels, by the kernel that decodes. */
static void multiply(const il_prober *p, int rows, const float *matrix) {
    float y[COLUMNS];
    p->engine->kernels->gemm(1, COLUMNS, rows, p->a, SIDE, 1, matrix, IL_LANES, (ptrdiff_t)rows * IL_LANES, y, COLUMNS,
                             0);
}

static void read_by_product(void *context, int item, int worker) {
    (void)worker;
    multiply(context, SIDE, piece_at(context, item));
}

static void read_all_plainly(il_prober *p) { il_pool_run(p->engine->pool, p->reads, read_plainly, p); }
static void read_all_by_product(il_prober *p) { il_pool_run(p->engine->pool, p->reads, read_by_product, p); }

/* Of the two ways the faster: one stream, and as many as a product has panels side by side. Which one memory feeds
 * better differs by processor. */
static double read_rate(il_prober *p, double within) {
    double plain = seconds_min(read_all_plainly, p, within / 2);
    double product = seconds_min(read_all_by_product, p, within / 2);
    return p->reads * (READ_PIECE * sizeof(float) * 1e-9) / (plain < product ? plain : product);
}

/* Each worker its own rows of the buffer. */
static void read_cached(void *context, int item, int worker) {
    const il_prober *p = context;
    (void)item;
    for (int i = 0; i < CACHED_PASSES; i++)
        multiply(p, p->cached_rows, p->buffer + (ptrdiff_t)worker * p->cached_rows * COLUMNS);
}

static void read_all_cached(il_prober *p) {
    il_pool_run(p->engine->pool, il_pool_threads(p->engine->pool), read_cached, p);
}

static int cached_rows(void) {
    long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
    long bytes = cache <= 0 ? 128 << 10 : cache / 2 > 1 << 20 ? 1 << 20 : cache / 2;
    return (int)(bytes / (COLUMNS * (long)sizeof(float)));
}

#ifdef IL_WITH_ONEDNN
static double rate(double work, double seconds) { return seconds > 0 ? work / seconds : 0; }

/* Zero where oneDNN has no such product. a, b and c are overwritten with the numbers of this kind. */
static il_status peer_seconds(il_prober *p, il_onednn_kind kind, double within, double *seconds, il_error *error) {
    for (int i = 0; i < SIDE * SIDE && kind == IL_ONEDNN_INT8; i++) {
        ((signed char *)p->a)[i] = (signed char)(i % 7);
        ((signed char *)p->b)[i] = (signed char)(i % 5 - 2);
    }
    for (int i = 0; i < SIDE * SIDE && kind == IL_ONEDNN_BF16; i++) {
        ((uint16_t *)p->a)[i] = (uint16_t)(0x3F80 + i % 7); /* 1 and a little more */
        ((uint16_t *)p->b)[i] = (uint16_t)(0x3F80 + i % 5);
    }
    il_status status = il_onednn_open(&p->engine->memory, il_pool_threads(p->engine->pool), kind, SIDE, SIDE, SIDE,
                                      p->a, p->b, p->c, &p->peer, error);
    *seconds = status ? 0 : seconds_min(product_peer, p, within);
    il_onednn_close(p->peer);
    return status == IL_ERR_UNSUPPORTED ? IL_OK : status;
}
#endif

/* Pieces of a buffer of so many bytes, 0: of four times the last-level cache, at least 256 MiB. */
static int read_pieces(size_t bytes) {
    const size_t mib = 1 << 20;
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (!bytes) bytes = cache > 64 << 20 ? 4 * (size_t)cache : 256 * mib;
    return bytes >= READ_PIECES_MAX * mib ? READ_PIECES_MAX : (int)((bytes + mib - 1) / mib);
}

/* Pieces that are read: from memory, or from the caches, half of one (1 MiB at most) for each worker. */
static int pieces_read(const il_engine *engine, unsigned which, size_t read_bytes) {
    int pieces = which & IL_LIMIT_READ ? read_pieces(read_bytes) : 0, threads = il_pool_threads(engine->pool);
    return which & IL_LIMIT_L2_READ && pieces < threads ? threads : pieces;
}

il_status il_prober_open(il_engine *engine, unsigned which, size_t read_bytes, il_prober **prober, il_error *error) {
    il_prober *p = il_alloc(&engine->memory, 1, sizeof *p);
    *prober = NULL;
    if (!p) return il_fail(error, IL_ERR_NOMEM, "out of memory for measuring");
    *p = (il_prober){.engine = engine, .which = which, .cached_rows = cached_rows()};
    p->pieces = pieces_read(engine, which, read_bytes);
    p->reads = p->pieces < READ_PIECES_MIN ? READ_PIECES_MIN : p->pieces;
    p->a = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p->b = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    p->packed = il_alloc_raw(&engine->memory, il_packed_floats(SIDE, SIDE), sizeof(float));
    p->c = il_alloc_raw(&engine->memory, (size_t)SIDE * SIDE, sizeof(float));
    if (p->pieces) p->buffer = il_alloc_raw(&engine->memory, (size_t)p->pieces * READ_PIECE, sizeof(float));
    if (!p->a || !p->b || !p->packed || !p->c || (p->pieces && !p->buffer)) {
        int mebibytes = p->pieces + 16;
        il_prober_close(p);
        return il_fail(error, IL_ERR_NOMEM, "out of memory for measuring: %d MiB are needed", mebibytes);
    }
    if (p->pieces) il_pool_run(engine->pool, p->pieces, fill_piece, p);
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
    const double gflop = 2.0 * SIDE * SIDE * SIDE * 1e-9;
    il_status status = IL_OK;
    *limits = (il_limits){0};
    for (int i = 0; i < SIDE * SIDE; i++) { /* again: low-precision products leave others */
        p->a[i] = (float)(i % 7 - 3);
        p->b[i] = (float)(i % 5 - 2);
    }
    if (p->which & IL_LIMIT_KERNEL) {
        p->engine->kernels->pack(SIDE, SIDE, p->b, SIDE, 1, p->packed);
        limits->gflops_kernel = gflop / seconds_min(product, p, within);
    }
    if (p->which & IL_LIMIT_READ) {
        limits->read_gb_s = read_rate(p, within);
        limits->read_bytes = (double)p->pieces * READ_PIECE * sizeof(float);
    }
    if (p->which & IL_LIMIT_L2_READ)
        limits->l2_read_gb_s = (double)il_pool_threads(p->engine->pool) * CACHED_PASSES * p->cached_rows * COLUMNS *
                               sizeof(float) * 1e-9 / seconds_min(read_all_cached, p, within);
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
    if (!status && (p->which & IL_LIMIT_BF16_ONEDNN)) {
        status = peer_seconds(p, IL_ONEDNN_BF16, within, &seconds, error);
        limits->gflops_bf16_onednn = rate(gflop, seconds);
    }
#else
    (void)error;
#endif
    return status;
}

il_status il_engine_limits(il_engine *engine, il_limits *limits, il_error *error) {
    il_prober *prober;
    *limits = (il_limits){0};
    il_status status = il_prober_open(engine, IL_LIMIT_ALL, 0, &prober, error);
    if (!status) status = il_prober_measure(prober, SECONDS_EACH, limits, error);
    il_prober_close(prober);
    return status;
}
