/* support_kernels.c: see support_kernels.h. */
#include "support_kernels.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support_test.h"

enum { SLOT_BYTES = 1 << 16 };
static unsigned char *slots;
static size_t page;

void kernel_slots_open(void) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    size_t step = SLOT_BYTES + page;
    slots = mmap(NULL, KERNEL_SLOTS * step + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(slots != MAP_FAILED);
    for (int i = 0; i < KERNEL_SLOTS; i++)
        assert_int_equal(mprotect(slots + (size_t)i * step + page, SLOT_BYTES, PROT_READ | PROT_WRITE), 0);
}

void kernel_slots_close(void) { munmap(slots, KERNEL_SLOTS * (SLOT_BYTES + page) + page); }

float kernel_draw(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)(*state >> 8 & 0x3FFFFFu) / 1048576.0f - 2.0f;
}

static void *place(kernel_run *run, size_t bytes, int written) {
    assert_true(run->slots < KERNEL_SLOTS && bytes <= SLOT_BYTES);
    unsigned char *slot = slots + (size_t)run->slots * (SLOT_BYTES + page) + page;
    unsigned char *data = run->at_end ? slot + SLOT_BYTES - bytes : slot;
    run->data[run->slots] = data;
    run->bytes[run->slots] = bytes;
    run->written[run->slots++] = written;
    return data;
}

static float *vector(kernel_run *run, int count, int written) {
    float *x = place(run, (size_t)(count > 0 ? count : 0) * sizeof *x, written);
    for (int i = 0; i < count; i++) x[i] = kernel_draw(&run->seed);
    return x;
}
static float *in(kernel_run *run, int count) { return vector(run, count, 0); }
static float *out(kernel_run *run, int count) { return vector(run, count, 1); }

static ptrdiff_t ld(const kernel_run *run) { return run->n + run->pad; }
static int count(const kernel_run *run, int n) { return run->rows ? (run->rows - 1) * (n + run->pad) + n : 0; }
/* [rows, n] with stride n + pad, whose last row ends with its last number. */
static float *rows_in(kernel_run *run) { return in(run, count(run, run->n)); }
static float *rows_out(kernel_run *run) { return out(run, count(run, run->n)); }
/* Positive numbers, as spreads are. */
static float *positive(float *x, int n) {
    for (int i = 0; i < n; i++) x[i] = 0.5f + fabsf(x[i]);
    return x;
}

/* bfloat16 */
static uint16_t *halves(kernel_run *run, int n) {
    uint16_t *x = place(run, (size_t)n * sizeof *x, 0);
    for (int i = 0; i < n; i++) {
        float value = kernel_draw(&run->seed);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        x[i] = (uint16_t)(bits >> 16);
    }
    return x;
}

#define K run->kernels

/* variant: 1: a by columns; 2: b row-major, not packed; 4: accumulate; over 3: four depths. */
static void run_gemm(kernel_run *run) {
    static const int depths[] = {1, 0, 3, 40};
    int m = run->rows, n = run->n, k = depths[run->variant >> 3], by_columns = run->variant & 1;
    int row_major = run->variant >> 1 & 1;
    ptrdiff_t a_row = by_columns ? 1 : k + run->pad, a_col = by_columns ? m + run->pad : 1;
    int a_count = m && k ? (int)((m - 1) * a_row + (k - 1) * a_col) + 1 : 0;
    int panels = (n + 15) / 16, last = n - 16 * (panels - 1);
    int b_count = !k ? 0 : row_major ? (k - 1) * (n + run->pad) + n : (panels * k - 1) * 16 + last;
    const float *a = in(run, a_count), *b = in(run, b_count);
    K->gemm(m, n, k, a, a_row, a_col, b, row_major ? n + run->pad : 16, row_major ? 16 : 16 * k, rows_out(run), ld(run),
            run->variant >> 2 & 1);
}
/* variant: 1: accumulate; over 1: four depths, of which the last is cut. */
static void run_gemm_read(kernel_run *run) {
    static const int depths[] = {1, 3, 40, 100};
    int m = run->rows, n = run->n, k = depths[run->variant >> 1];
    const float *a = in(run, m ? (m - 1) * (k + run->pad) + k : 0), *b = in(run, k * n);
    K->gemm_read(m, n, k, a, k + run->pad, b, b, rows_out(run), ld(run), run->variant & 1);
}
/* variant: 1: in place; over 1: rows of a side by side or 16 apart, as in a mini-batch of 16; over 2: three depths;
 * from 12 on: what was there fades. */
static void run_rank_update(kernel_run *run) {
    static const int depths[] = {0, 3, 16};
    int m = run->rows, n = run->n, k = depths[run->variant % 12 >> 2], lda = run->variant >> 1 & 1 ? 16 : k + run->pad;
    const float *a = in(run, m && k ? (m - 1) * lda + k : 0), *b = in(run, k ? (k - 1) * (n + run->pad) + n : 0);
    float *x = run->variant & 1 ? NULL : rows_in(run), *y = rows_out(run);
    K->rank_update(m, n, k, a, lda, b, n + run->pad, run->variant < 12 ? 1.0f : 0.75f, x ? x : y, y, ld(run));
}
/* variant: rows read before. */
static void run_lower_product(kernel_run *run) {
    int m = run->rows, n = run->n, first = 5 * run->variant, ldc = first + m + run->pad;
    const float *c = in(run, m ? (m - 1) * ldc + first + m : 0);
    const float *g = in(run, m ? (first + m - 1) * (n + run->pad) + n : 0);
    K->lower_product(m, n, first, c, ldc, g, rows_out(run), ld(run));
}
/* variant: 1: backwards in memory; over 1: rows solved before. */
static void run_lower_solve(kernel_run *run) {
    int m = run->rows, n = run->n, first = 5 * (run->variant >> 1), all = first + m, ldc = all + run->pad;
    const float *c = in(run, m ? (m - 1) * ldc + all - 1 : 0), *rate = in(run, m);
    ptrdiff_t stride = n + run->pad;
    float *u = out(run, m ? (all - 1) * (int)stride + n : 0);
    if (run->variant & 1)
        K->lower_solve(m, n, first, c, ldc, rate, m ? u + (all - 1) * stride : u, -stride);
    else
        K->lower_solve(m, n, first, c, ldc, rate, u, stride);
}
/* variant: 1: accumulate; over 1: four depths. */
static void run_gemm_bf16(kernel_run *run) {
    static const int depths[] = {1, 0, 3, 40};
    int m = run->rows, n = run->n, k = depths[run->variant >> 1], panels = (n + 15) / 16;
    const float *a = in(run, m && k ? (m - 1) * (k + run->pad) + k : 0);
    const uint16_t *b = halves(run, panels * 16 * k);
    K->gemm_bf16(m, n, k, a, k + run->pad, 1, b, 16 * k, rows_out(run), ld(run), run->variant & 1);
}
/* Any bytes. */
static void *noise(kernel_run *run, int n) {
    unsigned char *x = place(run, (size_t)n, 0);
    for (int i = 0; i < n; i++) x[i] = (unsigned char)(int)(kernel_draw(&run->seed) * 64 + 128);
    return x;
}
enum { QUANTIZED_DEPTHS = 6 };
static const int quantized_depths[QUANTIZED_DEPTHS] = {1, 3, 40, 64, 65, 190};
enum { UNWRITTEN = 77 }; /* what a kernel must leave as it is */
static int groups_of(int k) { return (k + IL_GROUP - 1) / IL_GROUP; }

/* To and from the form that a table's int8 products take. */
static size_t int8_group_bytes(const il_kernels *kernels) {
    return kernels->int8_bytes ? sizeof(il_int8_bytes) : sizeof(il_int8_pairs);
}
static void put_int8_input(const il_kernels *kernels, void *q, int group, int i, int value) {
    if (!kernels->int8_bytes) {
        ((il_int8_pairs *)q)[group].q[i] = (int16_t)value;
        return;
    }
    ((il_int8_bytes *)q)[group].q[i] = (int8_t)value;
    ((il_int8_bytes *)q)[group].start -= 128 * value;
}
/* n bytes as if they were pairs; a start that is not theirs spoils the first. */
static void int8_as_pairs(const il_int8_bytes *bytes, int n, il_int8_pairs *q) {
    int start = 0;
    for (int i = 0; i < IL_GROUP; i++) q->q[i] = bytes->q[i];
    for (int i = 0; i < n; i++) start -= 128 * bytes->q[i];
    if (start != bytes->start) q->q[0] = 1000;
}

/* The variant chooses rows of zeros, of very small and of very large numbers too. */
static void run_quantize(kernel_run *run) {
    static const float factors[] = {1, 0, 1e-36f, 1e30f};
    float *x = rows_in(run);
    for (int i = 0; i < count(run, run->n); i++) x[i] *= factors[run->variant];
    int groups = groups_of(run->n), all = run->rows * groups;
    il_int8_pairs *q = place(run, (size_t)all * sizeof *q, 1);
    il_int8_bytes *bytes = K->int8_bytes ? place(run, (size_t)all * sizeof *bytes, 0) : NULL;
    for (int i = 0; i < all * IL_GROUP; i++)
        if (bytes)
            bytes[i / IL_GROUP].q[i % IL_GROUP] = UNWRITTEN;
        else
            q[i / IL_GROUP].q[i % IL_GROUP] = UNWRITTEN;
    K->quantize(run->rows, run->n, x, ld(run), bytes ? (void *)bytes : q, out(run, all));
    for (int i = 0; i < all && bytes; i++)
        int8_as_pairs(bytes + i, i % groups + 1 < groups ? IL_GROUP : (run->n - 1) % IL_GROUP + 1, q + i);
}
static void run_quantize_int4(kernel_run *run) {
    static const float factors[] = {1, 0, 1e-36f, 1e30f};
    float *x = rows_in(run);
    for (int i = 0; i < count(run, run->n); i++) x[i] *= factors[run->variant];
    il_int4_inputs *q = place(run, (size_t)(run->rows * groups_of(run->n)) * sizeof *q, 1);
    memset(q, 77, (size_t)(run->rows * groups_of(run->n)) * sizeof *q); /* what is not written stays */
    K->quantize_int4(run->rows, run->n, x, ld(run), q, out(run, run->rows * groups_of(run->n)));
}
static void put_int4_input(il_int4_inputs *q, int i, int value) {
    q->q[i / 8 * 8 + i % 4 * 2 + i % 8 / 4] = (int8_t)value;
    q->start[i % 2] = (int16_t)(q->start[i % 2] - 8 * value);
}
static void gemm_quantized(kernel_run *run, int bits) {
    int m = run->rows, n = run->n, k = quantized_depths[run->variant], groups = groups_of(k), panels = (n + 15) / 16;
    size_t bytes_q = (size_t)(m * groups) * (bits == 8 ? int8_group_bytes(K) : sizeof(il_int4_inputs));
    void *q = memset(place(run, bytes_q, 0), 0, bytes_q);
    for (int i = 0; i < m * groups * IL_GROUP; i++) {
        int g = i / IL_GROUP, in_group = i % IL_GROUP;
        if (in_group + g % groups * IL_GROUP >= k) continue;
        int value = (int)(kernel_draw(&run->seed) * 63.5f);
        if (bits == 8)
            put_int8_input(K, q, g, in_group, value);
        else
            put_int4_input((il_int4_inputs *)q + g, in_group, value);
    }
    const float *scale = in(run, m * groups);
    int rest = k % IL_GROUP, group = 64 + IL_GROUP * 2 * bits;
    int bytes = k / IL_GROUP * group + (rest ? 64 + (bits == 8 ? (rest + 1) / 2 * 32 : (rest + 7) / 8 * 64) : 0);
    unsigned char *b = noise(run, panels * bytes);
    for (int p = 0; p < panels; p++) /* factors are floats */
        for (int g = 0; g < groups; g++)
            for (int i = 0; i < 16; i++) {
                float factor = kernel_draw(&run->seed);
                memcpy(b + p * bytes + g * group + 4 * i, &factor, sizeof factor);
            }
    if (bits == 8)
        K->gemm_int8(m, n, k, q, scale, b, bytes, rows_out(run), ld(run));
    else
        K->gemm_int4(m, n, k, q, scale, b, bytes, rows_out(run), ld(run));
}
static void run_gemm_int8(kernel_run *run) { gemm_quantized(run, 8); }
static void run_gemm_int4(kernel_run *run) { gemm_quantized(run, 4); }
static void run_pack(kernel_run *run) {
    int n = run->n, k = run->rows, by_columns = run->variant;
    const float *src;
    if (by_columns) {
        src = in(run, k ? (n - 1) * (k + run->pad) + k : 0);
        K->pack(n, k, src, 1, k + run->pad, out(run, (n + 15) / 16 * 16 * k));
    } else {
        src = rows_in(run);
        K->pack(n, k, src, ld(run), 1, out(run, (n + 15) / 16 * 16 * k));
    }
}
static void run_transpose(kernel_run *run) {
    const float *src = rows_in(run);
    int ld_dst = run->rows + run->pad;
    K->transpose(run->rows, run->n, src, ld(run), out(run, (run->n - 1) * ld_dst + run->rows), ld_dst);
}

#define SIZE (size_t) run->n
#define BINARY(NAME)                                                                                                   \
    static void run_##NAME(kernel_run *run) {                                                                          \
        float *a = run->variant ? out(run, run->n) : in(run, run->n), *b = in(run, run->n);                            \
        K->NAME(SIZE, a, b, run->variant ? a : out(run, run->n));                                                      \
    }
BINARY(add)
BINARY(mul)
BINARY(silu_mul)
BINARY(gelu_mul)
#define UNARY(NAME)                                                                                                    \
    static void run_##NAME(kernel_run *run) {                                                                          \
        float *x = run->variant ? out(run, run->n) : in(run, run->n);                                                  \
        K->NAME(SIZE, x, run->variant ? x : out(run, run->n));                                                         \
    }
UNARY(sigmoid)
UNARY(softplus)
UNARY(silu)
UNARY(gelu)
/* variant: in the gradient's place. */
static void run_silu_back(kernel_run *run) {
    const float *x = in(run, run->n);
    float *dy = run->variant ? out(run, run->n) : in(run, run->n);
    K->silu_back(SIZE, x, dy, run->variant ? dy : out(run, run->n));
}
static void run_axpy(kernel_run *run) {
    const float *x = in(run, run->n);
    float s = kernel_draw(&run->seed);
    K->axpy(SIZE, s, x, out(run, run->n));
}
static void run_scale(kernel_run *run) {
    float *x = run->variant ? out(run, run->n) : in(run, run->n);
    float s = kernel_draw(&run->seed);
    K->scale(SIZE, s, x, run->variant ? x : out(run, run->n));
}
static void run_gelu_grad(kernel_run *run) {
    const float *x = in(run, run->n);
    float *y = run->variant ? NULL : out(run, run->n);
    K->gelu_grad(SIZE, x, y, out(run, run->n));
}
static void run_gelu_grad2(kernel_run *run) {
    const float *x = in(run, run->n);
    float *dy = out(run, run->n);
    K->gelu_grad2(SIZE, x, dy, out(run, run->n));
}
#define GATE_BACK(NAME)                                                                                                \
    static void run_##NAME(kernel_run *run) {                                                                          \
        float *x = run->variant ? out(run, run->n) : in(run, run->n);                                                  \
        float *u = run->variant ? out(run, run->n) : in(run, run->n);                                                  \
        const float *dy = in(run, run->n);                                                                             \
        float *dx = run->variant ? x : out(run, run->n), *du = run->variant ? u : out(run, run->n);                    \
        K->NAME(SIZE, x, u, dy, dx, du);                                                                               \
    }
GATE_BACK(silu_mul_back)
GATE_BACK(gelu_mul_back)

static void run_add_bias(kernel_run *run) {
    const float *bias = in(run, run->n);
    K->add_bias(run->rows, run->n, bias, rows_out(run), ld(run));
}
static void run_rms_norm(kernel_run *run) {
    float *x = run->variant ? rows_out(run) : rows_in(run);
    const float *w = in(run, run->n);
    K->rms_norm(run->rows, run->n, x, ld(run), w, 1e-6f, run->variant ? x : rows_out(run), ld(run));
}
static void run_rms_norm_back(kernel_run *run) {
    const float *x = rows_in(run), *w = in(run, run->n), *dy = rows_in(run);
    float *dx = rows_out(run);
    K->rms_norm_back(run->rows, run->n, x, ld(run), w, 1e-6f, dy, ld(run), dx, ld(run), run->variant, out(run, run->n));
}
static void run_layer_norm(kernel_run *run) {
    float *x = run->variant ? rows_out(run) : rows_in(run);
    const float *gamma = in(run, run->n), *beta = in(run, run->n);
    if (run->variant) {
        K->layer_norm(run->rows, run->n, x, ld(run), gamma, beta, 1e-6f, x, ld(run), NULL, 0, NULL);
    } else {
        float *y = rows_out(run), *xhat = rows_out(run);
        K->layer_norm(run->rows, run->n, x, ld(run), gamma, beta, 1e-6f, y, ld(run), xhat, ld(run),
                      out(run, run->rows));
    }
}
static void run_layer_norm_back(kernel_run *run) {
    const float *xhat = rows_in(run), *inv_std = positive(in(run, run->rows), run->rows), *gamma = in(run, run->n);
    float *dy = run->variant ? rows_out(run) : rows_in(run), *dx = run->variant ? dy : rows_out(run);
    float *dgamma = out(run, run->n);
    K->layer_norm_back(run->rows, run->n, xhat, ld(run), inv_std, gamma, dy, ld(run), dx, ld(run), dgamma,
                       out(run, run->n));
}
static void run_ln_loss_grad(kernel_run *run) {
    float *z = run->variant ? rows_out(run) : rows_in(run);
    const float *target = rows_in(run), *gamma = in(run, run->n), *beta = in(run, run->n);
    if (run->variant) {
        K->ln_loss_grad(run->rows, run->n, z, ld(run), target, ld(run), gamma, beta, 1e-6f, z, ld(run), NULL, NULL,
                        NULL);
    } else {
        float *g = rows_out(run), *xhat = rows_out(run), *e = rows_out(run);
        K->ln_loss_grad(run->rows, run->n, z, ld(run), target, ld(run), gamma, beta, 1e-6f, g, ld(run), xhat, e,
                        out(run, run->rows));
    }
}
static void run_ln_loss_grad_back(kernel_run *run) {
    const float *xhat = rows_in(run), *e = rows_in(run), *inv_std = positive(in(run, run->rows), run->rows);
    const float *target = rows_in(run), *gamma = in(run, run->n), *beta = in(run, run->n);
    float *dg = run->variant ? rows_out(run) : rows_in(run), *dz = run->variant ? dg : rows_out(run);
    float *dtarget = rows_out(run), *dgamma = out(run, run->n);
    K->ln_loss_grad_back(run->rows, run->n, xhat, e, inv_std, ld(run), target, ld(run), gamma, beta, dg, ld(run), dz,
                         dtarget, dgamma, out(run, run->n));
}
/* Pairs: n of them a row. */
static void rotate(kernel_run *run, int half_split) {
    int pairs = run->n, width = 2 * pairs;
    const float *cosine = rows_in(run), *sine = rows_in(run);
    float *x = out(run, count(run, width));
    (half_split ? K->rope_half : K->rope)(run->rows, width, x, width + run->pad, cosine, sine, ld(run), run->variant);
}
static void run_rope(kernel_run *run) { rotate(run, 0); }
static void run_rope_half(kernel_run *run) { rotate(run, 1); }

static const int taps_of[] = {4, 1, 3, 10};
static void run_conv(kernel_run *run) {
    int taps = taps_of[run->variant >> 1];
    const float *x = rows_in(run), *history = in(run, (taps - 1) * run->n), *w = in(run, taps * run->n);
    const float *bias = in(run, run->n);
    K->conv(run->rows, run->n, taps, x, ld(run), history, w, bias, rows_out(run), ld(run), run->variant & 1);
}
static void run_conv_back(kernel_run *run) {
    int taps = taps_of[run->variant >> 1];
    const float *x = rows_in(run), *history = in(run, (taps - 1) * run->n), *w = in(run, taps * run->n);
    const float *dy = rows_in(run);
    float *dx = rows_out(run), *dw = out(run, taps * run->n);
    K->conv_back(run->rows, run->n, taps, x, ld(run), history, w, dy, ld(run), dx, ld(run), run->variant & 1, dw,
                 out(run, run->n));
}
static void run_log_sum_exp(kernel_run *run) {
    const float *x = rows_in(run);
    K->log_sum_exp(run->rows, run->n, x, ld(run), out(run, run->rows));
}
static void run_exp_shift(kernel_run *run) {
    const float *lse = in(run, run->rows);
    K->exp_shift(run->rows, run->n, rows_out(run), ld(run), lse);
}
static void run_softmax_key_block(kernel_run *run) {
    int valid[16];
    for (int r = 0; r < run->rows; r++) valid[r] = (int)((float)(run->n + 1) * (kernel_draw(&run->seed) + 2.0f) / 4.0f);
    float *m = out(run, run->rows), *l = positive(out(run, run->rows), run->rows), *moved = out(run, run->rows);
    if (run->variant)
        for (int r = 0; r < run->rows; r++) m[r] = -INFINITY, l[r] = 0;
    K->softmax_key_block(run->rows, run->n, valid, 0.7f, rows_out(run), ld(run), m, l, moved);
}
static void run_draw_weights(kernel_run *run) {
    float *x = out(run, run->n), top = 0;
    for (int i = 0; i < run->n; i++) top = x[i] > top ? x[i] : top;
    K->draw_weights(run->n, x, (double)top, run->variant ? 0.03 : 0.8, run->variant ? -60 : -80, 1e-20f);
}
static void run_softmax_rows(kernel_run *run) {
    int valid[16];
    for (int r = 0; r < run->rows; r++) valid[r] = (int)((float)(run->n + 1) * (kernel_draw(&run->seed) + 2.0f) / 4.0f);
    const float *lse = in(run, run->rows);
    K->softmax_rows(run->rows, run->n, valid, run->variant ? 60.0f : 0.7f, rows_out(run), ld(run), lse);
}
static void run_softmax_rows_back(kernel_run *run) {
    const float *p = rows_in(run), *mean = in(run, run->rows);
    K->softmax_rows_back(run->rows, run->n, 0.7f, p, ld(run), mean, rows_out(run), ld(run));
}
static void run_row_dot(kernel_run *run) {
    const float *a = rows_in(run), *b = rows_in(run);
    K->row_dot(run->rows, run->n, a, ld(run), b, ld(run), out(run, run->rows));
}
static void run_sum_squares(kernel_run *run) {
    const float *x = in(run, run->n);
    double total = K->sum_squares(SIZE, x);
    memcpy(out(run, 2), &total, sizeof total);
}
/* variant: where a number that is not finite stands, if anywhere. */
static void run_all_finite(kernel_run *run) {
    float *x = in(run, run->n);
    if (run->variant == 1) x[run->n - 1] = INFINITY;
    if (run->variant == 2) x[run->n / 2] = NAN;
    *out(run, 1) = (float)K->all_finite(SIZE, x);
}
static void run_adamw(kernel_run *run) {
    const float *g = in(run, run->n);
    float *p = out(run, run->n), *m = out(run, run->n), *v = positive(out(run, run->n), run->n);
    K->adamw(SIZE, p, g, m, v, 0.75f, 3e-3f, 0.9f, 0.95f, 1.0f / (1.0f - 0.9f), 1.0f / (1.0f - 0.95f), 1e-8f, 0.1f);
}
static void run_f32_to_bf16(kernel_run *run) {
    const float *x = in(run, run->n);
    uint16_t *y = place(run, SIZE * sizeof *y, 1);
    memset(y, 0x5A, SIZE * sizeof *y);
    K->f32_to_bf16(SIZE, x, y);
}

#define CASE(NAME, VARIANTS)                                                                                           \
    { #NAME, VARIANTS, run_##NAME }
const kernel_case kernel_cases[] = {
    CASE(gemm, 32),
    CASE(gemm_read, 8),
    CASE(rank_update, 24),
    CASE(lower_product, 2),
    CASE(lower_solve, 4),
    CASE(pack, 2),
    CASE(transpose, 1),
    CASE(add, 2),
    CASE(axpy, 1),
    CASE(scale, 2),
    CASE(mul, 2),
    CASE(sigmoid, 2),
    CASE(softplus, 2),
    CASE(silu, 2),
    CASE(silu_back, 2),
    CASE(gelu, 2),
    CASE(gelu_grad, 2),
    CASE(gelu_grad2, 1),
    CASE(silu_mul, 2),
    CASE(silu_mul_back, 2),
    CASE(gelu_mul, 2),
    CASE(gelu_mul_back, 2),
    CASE(add_bias, 1),
    CASE(rms_norm, 2),
    CASE(rms_norm_back, 2),
    CASE(layer_norm, 2),
    CASE(layer_norm_back, 2),
    CASE(ln_loss_grad, 2),
    CASE(ln_loss_grad_back, 2),
    CASE(rope, 2),
    CASE(rope_half, 2),
    CASE(conv, 8),
    CASE(conv_back, 8),
    CASE(log_sum_exp, 1),
    CASE(exp_shift, 1),
    CASE(draw_weights, 2),
    CASE(softmax_key_block, 2),
    CASE(softmax_rows, 2),
    CASE(softmax_rows_back, 1),
    CASE(row_dot, 1),
    CASE(sum_squares, 1),
    CASE(all_finite, 3),
    CASE(adamw, 1),
    CASE(f32_to_bf16, 1),
    CASE(gemm_bf16, 8),
    CASE(quantize, 4),
    CASE(quantize_int4, 4),
    CASE(gemm_int8, QUANTIZED_DEPTHS),
    CASE(gemm_int4, QUANTIZED_DEPTHS),
};
const int n_kernel_cases = (int)(sizeof kernel_cases / sizeof *kernel_cases);
