/* test_inner_gated_delta.c: the gated delta rule, src/inner/gated_delta.c, against the rule token by token in double
 * precision and against itself: outputs, commits, every gradient, any split, every instruction set. */
#include "support_test.h"

#include "inner/gated_delta.h"
#include "support_lively.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* n tokens; fade: how fast the memory goes, on average e^-fade a token. */
typedef struct shape {
    int dk, dv, values, b, n;
    double fade;
} shape;

static const shape shapes[] = {{16, 16, 1, 16, 40, 0.1}, {10, 14, 2, 5, 33, 0.5}, {64, 64, 1, 16, 70, 0.05},
                               {3, 1, 3, 1, 9, 0.3},     {20, 70, 1, 64, 100, 2}, {7, 9, 2, 4, 30, 40}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static double *zeros(size_t n) {
    double *x = calloc(n ? n : 1, sizeof *x);
    assert_non_null(x);
    return x;
}
static float *floats(size_t n) {
    float *x = calloc(n ? n : 1, sizeof *x);
    assert_non_null(x);
    return x;
}
static double draw(uint64_t seed, uint64_t i) { return (double)lively_random(seed, i, 20001) / 10000.0 - 1.0; }

/* ---- what tokens bring, and the rule by its definition ---- */

enum { Q, K, V, LOG_KEEP, RATE_IN, INPUTS };
typedef struct tokens {
    size_t width[INPUTS]; /* of a token */
    double *x[INPUTS];    /* [n, width] */
} tokens;

static tokens tokens_of(const shape *s) {
    tokens t = {
        .width = {(size_t)s->dk, (size_t)s->dk, (size_t)(s->values * s->dv), (size_t)s->values, (size_t)s->values}};
    for (int input = 0; input < INPUTS; input++) {
        size_t width = t.width[input], count = (size_t)s->n * width;
        t.x[input] = zeros(count);
        for (size_t i = 0; i < count; i++) {
            double x = draw((uint64_t)input, i);
            t.x[input][i] = input == LOG_KEEP ? -s->fade * (1 + x) : input == RATE_IN ? 2 * x : x;
        }
        for (size_t row = 0; input <= K && row < (size_t)s->n; row++) { /* of length 1, q shorter */
            double sum = input == Q ? s->dk * 1e-12 : 1e-12, *at = t.x[input] + row * width;
            for (size_t i = 0; i < width; i++) sum += at[i] * at[i] * (input == Q ? s->dk : 1);
            for (size_t i = 0; i < width; i++) at[i] /= sqrt(sum);
        }
        for (size_t i = 0; i < count; i++) t.x[input][i] = (double)(float)t.x[input][i];
    }
    return t;
}
static void tokens_free(tokens *t) {
    for (int i = 0; i < INPUTS; i++) free(t->x[i]);
}

/* S [values, dk, dv] goes on from what it is; out [n, values * dv]. */
static void rule64(const shape *s, const tokens *t, int from, int to, double *S, double *out) {
    int dk = s->dk, dv = s->dv;
    for (int i = from; i < to; i++)
        for (int h = 0; h < s->values; h++) {
            const double *q = t->x[Q] + i * dk, *k = t->x[K] + i * dk, *v = t->x[V] + (i * s->values + h) * dv;
            double keep = exp(t->x[LOG_KEEP][i * s->values + h]);
            double rate = 1 / (1 + exp(-t->x[RATE_IN][i * s->values + h])), *W = S + h * dk * dv;
            for (int e = 0; e < dv; e++) {
                double said = 0, o = 0;
                for (int c = 0; c < dk; c++) said += k[c] * (W[c * dv + e] *= keep);
                for (int c = 0; c < dk; c++) o += q[c] * (W[c * dv + e] += k[c] * rate * (v[e] - said));
                out[(i * s->values + h) * dv + e] = o;
            }
        }
}

/* ---- the rule under test ---- */

enum { GAP = 3 }; /* between strided rows */
typedef struct run {
    il_delta delta;
    il_rule_shape sizes;
    int mini_batches; /* begun */
    ptrdiff_t ld, ld_gate;
    float *qkv, *keep, *rate;    /* [n, ld], [n, ld_gate] */
    float *carries, *rows, *out; /* [mini_batches + 1, carry], [mini_batches, rows], [n, values * dv] */
    float *scratch;
} run;

static run run_open(const shape *s, const tokens *t, const char *kernels) {
    run r = {.delta = {il_kernels_pick(kernels), s->dk, s->dv, s->values, s->b}};
    size_t values = (size_t)s->values, width = 2 * (size_t)s->dk + values * (size_t)s->dv;
    r.sizes = il_delta_shape(&r.delta);
    r.mini_batches = (s->n + s->b - 1) / s->b;
    r.ld = (ptrdiff_t)width + GAP;
    r.ld_gate = s->values + GAP;
    r.qkv = floats((size_t)s->n * (size_t)r.ld);
    r.keep = floats((size_t)s->n * (size_t)r.ld_gate);
    r.rate = floats((size_t)s->n * (size_t)r.ld_gate);
    r.carries = floats((size_t)(r.mini_batches + 1) * r.sizes.carry);
    r.rows = floats((size_t)r.mini_batches * r.sizes.rows);
    r.out = floats((size_t)s->n * values * (size_t)s->dv);
    size_t most = r.sizes.scratch > r.sizes.scratch_back ? r.sizes.scratch : r.sizes.scratch_back;
    r.scratch = floats(most);
    for (size_t i = 0; i < most; i++) r.scratch[i] = NAN;
    for (size_t i = 0; i < (size_t)r.mini_batches * r.sizes.rows; i++) r.rows[i] = NAN;
    for (int i = 0; i < s->n; i++) {
        float *row = r.qkv + i * r.ld;
        for (int input = Q, at = 0; input <= V; at += (int)t->width[input++])
            for (size_t c = 0; c < t->width[input]; c++)
                row[at + (int)c] = (float)t->x[input][(size_t)i * t->width[input] + c];
        for (int h = 0; h < s->values; h++) {
            r.keep[i * r.ld_gate + h] = (float)exp(t->x[LOG_KEEP][i * s->values + h]);
            r.rate[i * r.ld_gate + h] = (float)(1 / (1 + exp(-t->x[RATE_IN][i * s->values + h])));
        }
    }
    return r;
}
static void run_close(run *r) {
    float *all[] = {r->qkv, r->keep, r->rate, r->carries, r->rows, r->out, r->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static il_delta_in in_of(const shape *s, const run *r, int from, int n) {
    const float *row = r->qkv + from * r->ld;
    return (il_delta_in){
        n,         row, row + s->dk, row + 2 * s->dk, r->ld, r->keep + from * r->ld_gate, r->rate + from * r->ld_gate,
        r->ld_gate};
}

/* All tokens, at most `longest` at a time (0: as many as a mini-batch has). */
static void read_all(const shape *s, run *r, uint32_t longest) {
    int width = s->values * s->dv;
    for (int at = 0; at < s->n;) {
        int m = at / s->b, r0 = at % s->b, n = longest ? 1 + (int)lively_random(longest, (uint64_t)at, longest) : s->b;
        if (n > s->b - r0) n = s->b - r0;
        if (n > s->n - at) n = s->n - at;
        float *carry = r->carries + (size_t)m * r->sizes.carry, *rows = r->rows + (size_t)m * r->sizes.rows;
        il_delta_in in = in_of(s, r, at, n);
        il_delta_rows(&r->delta, carry, rows, r0, &in, r->out + at * width, width, r->scratch);
        if (r0 + n == s->b) il_delta_commit(&r->delta, carry, rows, carry + r->sizes.carry, r->scratch);
        at += n;
    }
    if (s->n % s->b) il_delta_trim(&r->delta, r->rows + (size_t)(r->mini_batches - 1) * r->sizes.rows, s->n % s->b);
}

static void assert_near(const char *what, int which, const float *got, const double *want, size_t n, double bound) {
    double square = 0;
    for (size_t i = 0; i < n; i++) square += want[i] * want[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= bound * sqrt(square) + 1e-30))
            fail_msg("shape %d: %s[%zu] is %.9g, not %.9g (rms %.3g)", which, what, i, (double)got[i], want[i],
                     sqrt(square));
}

static void outputs_and_commits(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const shape *s = &shapes[i];
        tokens t = tokens_of(s);
        run r = run_open(s, &t, NULL);
        size_t carry = r.sizes.carry, width = (size_t)(s->values * s->dv);
        double *S = zeros(carry), *out = zeros((size_t)s->n * width);
        read_all(s, &r, 0);
        for (int at = 0, m = 0; at < s->n; at += s->b, m++) {
            int to = at + s->b < s->n ? at + s->b : s->n;
            rule64(s, &t, at, to, S, out);
            if (to == at + s->b) assert_near("S", i, r.carries + (size_t)(m + 1) * carry, S, carry, 1e-5);
        }
        assert_near("out", i, r.out, out, (size_t)s->n * width, 1e-5);
        free(S), free(out);
        run_close(&r);
        tokens_free(&t);
    }
}

static void same_bits(const run *a, const run *b, size_t outputs) {
    assert_memory_equal(a->out, b->out, outputs * sizeof(float));
    assert_memory_equal(a->carries, b->carries, (size_t)(a->mini_batches + 1) * a->sizes.carry * sizeof(float));
    assert_memory_equal(a->rows, b->rows, (size_t)a->mini_batches * a->sizes.rows * sizeof(float));
}

static void any_split_and_instruction_set(void **state) {
    static const char *const sets[] = {"portable", "avx2", "avx512", "avx512_vnni", "neon"};
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const shape *s = &shapes[i];
        tokens t = tokens_of(s);
        run r = run_open(s, &t, "portable");
        read_all(s, &r, 0);
        for (size_t set = 0; set < sizeof sets / sizeof *sets; set++)
            for (uint32_t longest = 0; longest < 30 && il_kernels_pick(sets[set]); longest++) {
                run other = run_open(s, &t, sets[set]);
                read_all(s, &other, longest);
                same_bits(&r, &other, (size_t)(s->n * s->values * s->dv));
                run_close(&other);
            }
        run_close(&r);
        tokens_free(&t);
    }
}

/* What a later token brings, a NaN included, changes nothing before it. */
static void later_tokens(void **state) {
    (void)state;
    const shape *s = &shapes[1];
    tokens t = tokens_of(s);
    run r = run_open(s, &t, NULL);
    read_all(s, &r, 0);
    size_t width = (size_t)(s->values * s->dv);
    for (int broken = 0; broken < s->n; broken++) {
        run other = run_open(s, &t, NULL);
        for (int c = 0; c < (int)r.ld - GAP; c++) other.qkv[broken * r.ld + c] = NAN;
        other.keep[broken * r.ld_gate] = other.rate[broken * r.ld_gate] = NAN;
        read_all(s, &other, 0);
        assert_memory_equal(r.out, other.out, (size_t)broken * width * sizeof(float));
        assert_true(isnan(other.out[(size_t)broken * width]));
        run_close(&other);
    }
    run_close(&r);
    tokens_free(&t);
}

/* ---- gradients ---- */

/* A weight for each output and for each number of S at the end. */
static double functional(const shape *s, const tokens *t) {
    size_t carry = (size_t)(s->values * s->dk * s->dv), outputs = (size_t)(s->n * s->values * s->dv);
    double *S = zeros(carry), *out = zeros(outputs), sum = 0;
    rule64(s, t, 0, s->n, S, out);
    for (size_t i = 0; i < outputs; i++) sum += draw(50, i) * out[i];
    for (size_t i = 0; i < carry && s->n % s->b == 0; i++) sum += draw(51, i) * S[i];
    free(S), free(out);
    return sum;
}

/* got[input] [n, width] from the last mini-batch to the first. */
static void run_back(const shape *s, run *r, float *const got[INPUTS]) {
    size_t carry = r->sizes.carry, outputs = (size_t)(s->n * s->values * s->dv);
    int width = s->values * s->dv;
    float *dout = floats(outputs), *dcarry = floats(carry), *dqkv = floats((size_t)s->n * (size_t)r->ld);
    float *dkeep = floats((size_t)s->n * (size_t)r->ld_gate), *drate = floats((size_t)s->n * (size_t)r->ld_gate);
    for (size_t i = 0; i < outputs; i++) dout[i] = (float)draw(50, i);
    for (size_t i = 0; i < carry && s->n % s->b == 0; i++) dcarry[i] = (float)draw(51, i);
    for (int m = r->mini_batches - 1; m >= 0; m--) {
        int at = m * s->b, n = s->n - at < s->b ? s->n - at : s->b;
        float *row = dqkv + at * r->ld;
        il_delta_in in = in_of(s, r, at, n);
        il_delta_grad grad = {row, row + s->dk, row + 2 * s->dk, dkeep + at * r->ld_gate, drate + at * r->ld_gate};
        il_delta_backward(&r->delta, r->carries + (size_t)m * carry, r->rows + (size_t)m * r->sizes.rows, &in,
                          n == s->b, dout + at * width, width, dcarry, &grad, r->scratch);
    }
    for (int i = 0; i < s->n; i++) {
        memcpy(got[Q] + i * s->dk, dqkv + i * r->ld, (size_t)s->dk * sizeof(float));
        memcpy(got[K] + i * s->dk, dqkv + i * r->ld + s->dk, (size_t)s->dk * sizeof(float));
        memcpy(got[V] + i * width, dqkv + i * r->ld + 2 * s->dk, (size_t)width * sizeof(float));
        memcpy(got[LOG_KEEP] + i * s->values, dkeep + i * r->ld_gate, (size_t)s->values * sizeof(float));
        memcpy(got[RATE_IN] + i * s->values, drate + i * r->ld_gate, (size_t)s->values * sizeof(float));
    }
    free(dout), free(dcarry), free(dqkv), free(dkeep), free(drate);
}

static void gradients(void **state) {
    static const shape small[] = {{6, 5, 2, 4, 12, 0.3}, {6, 5, 2, 4, 11, 0.3},    {3, 4, 1, 16, 10, 0.1},
                                  {5, 3, 3, 1, 6, 0.2},  {18, 20, 1, 17, 17, 0.1}, {4, 4, 2, 3, 9, 30}};
    (void)state;
    for (int i = 0; i < (int)(sizeof small / sizeof *small); i++) {
        const shape *s = &small[i];
        tokens t = tokens_of(s);
        run r = run_open(s, &t, NULL);
        float *got[INPUTS];
        for (int input = 0; input < INPUTS; input++) got[input] = floats((size_t)s->n * t.width[input]);
        read_all(s, &r, 3);
        run_back(s, &r, got);
        for (int input = 0; input < INPUTS; input++) {
            static const char *const names[] = {"dq", "dk", "dv", "dlog_keep", "drate_in"};
            size_t count = (size_t)s->n * t.width[input];
            double *want = zeros(count);
            for (size_t j = 0; j < count; j++) {
                double x = t.x[input][j], h = 1e-5;
                t.x[input][j] = x + h;
                want[j] = functional(s, &t);
                t.x[input][j] = x - h;
                want[j] = (want[j] - functional(s, &t)) / (2 * h);
                t.x[input][j] = x;
            }
            assert_near(names[input], i, got[input], want, count, 5e-5);
            free(want), free(got[input]);
        }
        run_close(&r);
        tokens_free(&t);
    }
}

/* ---- statistics ---- */

static void losses(void **state) {
    (void)state;
    const shape *s = &shapes[1];
    tokens t = tokens_of(s);
    run r = run_open(s, &t, NULL);
    size_t carry = r.sizes.carry;
    double *S = zeros(carry), *out = zeros((size_t)(s->n * s->values * s->dv));
    read_all(s, &r, 0);
    for (int m = 0; (m + 1) * s->b <= s->n; m++) {
        double want[2] = {0, 0}, got[2];
        for (int which = 0; which < 2; which++) {
            for (int i = m * s->b; i < (m + 1) * s->b; i++)
                for (int j = 0; j < s->values * s->dv; j++) {
                    double error = -t.x[V][i * s->values * s->dv + j];
                    for (int c = 0; c < s->dk; c++)
                        error += t.x[K][i * s->dk + c] * S[j / s->dv * s->dk * s->dv + c * s->dv + j % s->dv];
                    want[which] += error * error / 2;
                }
            if (!which) rule64(s, &t, m * s->b, (m + 1) * s->b, S, out);
        }
        il_delta_loss(&r.delta, r.carries + (size_t)m * carry, r.carries + (size_t)(m + 1) * carry,
                      r.rows + (size_t)m * r.sizes.rows, got, r.scratch);
        for (int which = 0; which < 2; which++) assert_true(fabs(got[which] - want[which]) < 1e-5 * want[which]);
    }
    free(S), free(out);
    run_close(&r);
    tokens_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(outputs_and_commits),
                                       cmocka_unit_test(any_split_and_instruction_set), cmocka_unit_test(later_tokens),
                                       cmocka_unit_test(gradients), cmocka_unit_test(losses)};
    return cmocka_run_group_tests_name("inner_gated_delta", tests, NULL, NULL);
}
