/* support_inner.c: see support_inner.h. A `bench` is one head with random parameters and inputs for n tokens;
 * a `trace` is what the rule made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support_inner.h"
#include "support_ref64.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 3, GUARD = 16 }; /* floats between strided rows; after every array */
static const float guard = 12345.0f;

/* ---- memory and random numbers ---- */

/* n floats, 64-byte aligned, all `fill`, followed by GUARD guards. */
static float *floats(size_t n, float fill) {
    size_t total = (n + GUARD + 15) / 16 * 16;
    float *x = aligned_alloc(64, total * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < total; i++) x[i] = i < n ? fill : guard;
    return x;
}
static void check_guard(const float *x, size_t n) {
    for (size_t i = n; i < n + GUARD; i++) assert_true(x[i] == guard);
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static double uniform(uint64_t *state) { return (double)(next_random(state) >> 11) * 0x1p-53; }
static double normal(uint64_t *state) {
    double sum = -6.0;
    for (int i = 0; i < 12; i++) sum += uniform(state);
    return sum;
}
static void fill_normal(uint64_t *state, float *x, size_t n, double scale) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(scale * normal(state));
}

/* ---- one head, its inputs ---- */

typedef struct bench {
    const il_rule *rule;
    int d, b, n, mini_batches, tensors;
    il_rule_shape shape;
    size_t state; /* floats of learned fast weights, without padding */
    il_rule_tensor tensor[IL_RULE_TENSORS_MAX];
    size_t count[IL_RULE_TENSORS_MAX];
    float *param[IL_RULE_TENSORS_MAX], *tok;
    float *q, *k, *v, *gate; /* [n] rows of stride ld, ld_gate */
    float *dout, *dstate;    /* the loss is sum of dout·out + dstate·(final fast weights) */
    ptrdiff_t ld, ld_gate, ld_out;
    float lr_scale;
} bench;

/* Where the parameter of that name stands; -1: the rule has none. */
static int place_of(const bench *t, const char *name) {
    int i = t->tensors - 1;
    while (i >= 0 && strcmp(t->tensor[i].name, name) != 0) i--;
    return i;
}

static int is_mlp(const bench *t) { return place_of(t, "W2") >= 0; }
/* A norm over two numbers is ±1 unless they differ by no more than sqrt(eps): only there is d = 2 a fair test. */
static int is_sharp(const bench *t) { return t->d == 2 && place_of(t, "ttt_norm_weight") >= 0; }

static void bench_open(bench *t, const il_rule *rule, int d, int b, int n) {
    *t = (bench){.rule = rule, .d = d, .b = b, .n = n, .mini_batches = (n + b - 1) / b};
    t->shape = rule->shape(d, b);
    t->tensors = rule->tensors(d, t->tensor);
    uint64_t seed = (uint64_t)(d * 1000 + b * 10 + is_mlp(t));
    double weight_scale = is_sharp(t) ? 1e-3 : 1.0 / sqrt(d);
    t->lr_scale = (float)(is_sharp(t) ? 1e-6 : (is_mlp(t) ? 0.3 : 1.0) / d);
    for (int i = 0; i < t->tensors; i++) {
        il_rule_tensor *tensor = &t->tensor[i];
        t->count[i] = (size_t)(tensor->rows ? tensor->rows : 1) * (size_t)tensor->columns;
        t->param[i] = floats(t->count[i], 0.0f);
        if (tensor->rows) {
            double scale = !strcmp(tensor->name, "W2") ? weight_scale / 2 : weight_scale;
            if (is_sharp(t) && is_mlp(t) && i < 2) scale = 0.5; /* the hidden layer is under no norm */
            fill_normal(&seed, t->param[i], t->count[i], scale);
            t->state += t->count[i];
        } else {
            fill_normal(&seed, t->param[i], t->count[i], 0.2);
            for (size_t c = 0; c < t->count[i] && tensor->init == IL_INIT_ONES; c++) t->param[i][c] += 1.0f;
        }
    }
    t->tok = floats((size_t)b, 0.0f);
    for (int i = 0; i < b; i++) t->tok[i] = fmaxf(0.0f, (float)(1.0 / (i + 1) + 0.05 * normal(&seed)));
    if (b > 2) t->tok[1] = 0.0f; /* clamped: token 1 reads the weights as they were */
    t->ld = d + GAP, t->ld_out = d + GAP + 2, t->ld_gate = 1 + GAP;
    size_t rows = (size_t)n * (size_t)t->ld;
    t->q = floats(rows, 0.0f), t->k = floats(rows, 0.0f), t->v = floats(rows, 0.0f);
    t->gate = floats((size_t)n * (size_t)t->ld_gate, 0.0f);
    t->dout = floats((size_t)n * (size_t)t->ld_out, 0.0f);
    t->dstate = floats(t->shape.carry, 0.0f);
    fill_normal(&seed, t->q, rows, 1.0), fill_normal(&seed, t->k, rows, 1.0), fill_normal(&seed, t->v, rows, 1.0);
    fill_normal(&seed, t->gate, (size_t)n * (size_t)t->ld_gate, 1.0);
    fill_normal(&seed, t->dout, (size_t)n * (size_t)t->ld_out, 1.0);
    fill_normal(&seed, t->dstate, t->state, is_sharp(t) ? 1000.0 : 1.0);
}

static void bench_close(bench *t) {
    for (int i = 0; i < t->tensors; i++) free(t->param[i]);
    free(t->tok), free(t->q), free(t->k), free(t->v), free(t->gate), free(t->dout), free(t->dstate);
}

static il_inner_head head_of(const bench *t, const il_kernels *kernels) {
    il_inner_head head = {.kernels = kernels, .d = t->d, .b = t->b, .lr_scale = t->lr_scale, .tok = t->tok};
    for (int i = 0; i < t->tensors; i++) head.param[i] = t->param[i];
    return head;
}

static il_rows_in rows_in(const bench *t, int from, int n) {
    il_rows_in in = {.n = n, .ld = t->ld, .ld_gate = t->ld_gate};
    in.q = t->q + from * t->ld, in.k = t->k + from * t->ld, in.v = t->v + from * t->ld;
    in.gate = t->gate + from * t->ld_gate;
    return in;
}

/* ---- what the rule makes of it ---- */

typedef struct trace {
    float *out;     /* [n, ld_out] */
    float *carries; /* [mini_batches + 1, shape.carry] */
    float *rows;    /* [mini_batches, shape.rows] */
    float *dq, *dk, *dv, *dgate, *dparam[IL_RULE_TENSORS_MAX], *dtok;
} trace;

static void trace_close(const bench *t, trace *r) {
    free(r->out), free(r->carries), free(r->rows), free(r->dq), free(r->dk), free(r->dv), free(r->dgate), free(r->dtok);
    for (int i = 0; i < t->tensors; i++) free(r->dparam[i]);
}

/* Chunk sizes: 0: as large as they come; k > 0: at most k rows a call; < 0: random. fill: what lies in the
 * memory that the rule is given before. */
static trace run_forward(const bench *t, const il_kernels *kernels, int chunk, float fill) {
    il_inner_head head = head_of(t, kernels);
    size_t carry = t->shape.carry;
    trace r = {0};
    uint64_t seed = 77;
    r.out = floats((size_t)t->n * (size_t)t->ld_out, fill);
    r.carries = floats((size_t)(t->mini_batches + 1) * carry, fill);
    r.rows = floats((size_t)t->mini_batches * t->shape.rows, fill);
    float *scratch = floats(t->shape.scratch, fill);
    t->rule->begin(&head, r.carries);
    for (int at = 0, n; at < t->n; at += n) {
        int m = at / t->b, r0 = at % t->b, most = t->b - r0 < t->n - at ? t->b - r0 : t->n - at;
        n = chunk < 0 ? 1 + (int)(next_random(&seed) % (uint64_t)most) : chunk && chunk < most ? chunk : most;
        float *now = r.carries + (size_t)m * carry, *rows = r.rows + (size_t)m * t->shape.rows;
        il_rows_in in = rows_in(t, at, n);
        t->rule->rows(&head, now, rows, r0, &in, r.out + at * t->ld_out, t->ld_out, scratch);
        if (r0 + n == t->b) t->rule->commit(&head, now, rows, now + carry, scratch);
    }
    check_guard(scratch, t->shape.scratch);
    check_guard(r.carries, (size_t)(t->mini_batches + 1) * carry);
    check_guard(r.rows, (size_t)t->mini_batches * t->shape.rows);
    free(scratch);
    return r;
}

static void run_backward(const bench *t, const il_kernels *kernels, trace *r, float fill) {
    il_inner_head head = head_of(t, kernels);
    size_t rows = (size_t)t->n * (size_t)t->ld;
    r->dq = floats(rows, fill), r->dk = floats(rows, fill), r->dv = floats(rows, fill);
    r->dgate = floats((size_t)t->n * (size_t)t->ld_gate, fill);
    r->dtok = floats((size_t)t->b, 0.0f);
    for (int i = 0; i < t->tensors; i++) r->dparam[i] = floats(t->count[i], 0.0f);
    float *scratch = floats(t->shape.scratch_back, fill), *dcarry = floats(t->shape.carry, 0.0f);
    memcpy(dcarry, t->dstate, t->shape.carry * sizeof *dcarry);
    for (int m = t->mini_batches - 1; m >= 0; m--) {
        int at = m * t->b, n = t->n - at < t->b ? t->n - at : t->b;
        il_rows_in in = rows_in(t, at, n);
        il_rows_grad grad = {r->dq + at * t->ld, r->dk + at * t->ld, r->dv + at * t->ld, r->dgate + at * t->ld_gate};
        t->rule->backward(&head, r->carries + (size_t)m * t->shape.carry, r->rows + (size_t)m * t->shape.rows, &in,
                          n == t->b, t->dout + at * t->ld_out, t->ld_out, dcarry, &grad, r->dparam, r->dtok, scratch);
    }
    t->rule->begin_backward(&head, dcarry, r->dparam);
    check_guard(scratch, t->shape.scratch_back);
    check_guard(dcarry, t->shape.carry);
    check_guard(r->dtok, (size_t)t->b);
    for (int i = 0; i < t->tensors; i++) check_guard(r->dparam[i], t->count[i]);
    free(scratch), free(dcarry);
}

/* The [n, width] part of strided rows is the same, bit for bit. */
static void same_rows(const float *a, const float *b, int n, int width, ptrdiff_t ld) {
    for (int i = 0; i < n; i++) assert_memory_equal(a + i * ld, b + i * ld, (size_t)width * sizeof *a);
}

static void same_forward(const bench *t, const trace *a, const trace *b, int n, int whole_rows) {
    size_t carry = t->shape.carry * sizeof(float), rows = t->shape.rows * sizeof(float);
    same_rows(a->out, b->out, n, t->d, t->ld_out);
    assert_memory_equal(a->carries, b->carries, (size_t)(n / t->b + 1) * carry);
    if (whole_rows) assert_memory_equal(a->rows, b->rows, (size_t)((n + t->b - 1) / t->b) * rows);
}

static void same_backward(const bench *t, const trace *a, const trace *b) {
    same_rows(a->dq, b->dq, t->n, t->d, t->ld);
    same_rows(a->dk, b->dk, t->n, t->d, t->ld);
    same_rows(a->dv, b->dv, t->n, t->d, t->ld);
    same_rows(a->dgate, b->dgate, t->n, 1, t->ld_gate);
    assert_memory_equal(a->dtok, b->dtok, (size_t)t->b * sizeof(float));
    for (int i = 0; i < t->tensors; i++) assert_memory_equal(a->dparam[i], b->dparam[i], t->count[i] * sizeof(float));
}

static const int widths[] = {2, 6, 16, 64, 96}, batches[] = {1, 3, 16, 20};
enum { WIDTHS = sizeof widths / sizeof *widths, BATCHES = sizeof batches / sizeof *batches };

/* ---- the same in double precision ---- */

typedef struct precise {
    ref64_rule rule;
    int n;
    double *param[IL_RULE_TENSORS_MAX], *tok, *q, *k, *v, *gate, *out, *state, *dout, *dstate;
    size_t state_count;
} precise;

static double *to_double(const float *x, int n, int width, ptrdiff_t ld) {
    double *y = malloc((size_t)n * (size_t)width * sizeof *y);
    assert_non_null(y);
    for (int i = 0; i < n; i++)
        for (int c = 0; c < width; c++) y[i * width + c] = (double)x[i * ld + c];
    return y;
}

static double *named(const bench *t, const precise *p, const char *name) {
    int i = place_of(t, name);
    return i < 0 ? NULL : p->param[i];
}

/* What the rule's tensors are called says which of the reference's rules it is. */
static precise precise_open(const bench *t) {
    precise p = {.n = t->n};
    for (int i = 0; i < t->tensors; i++) p.param[i] = to_double(t->param[i], 1, (int)t->count[i], 0);
    p.tok = to_double(t->tok, 1, t->b, 0);
    p.q = to_double(t->q, t->n, t->d, t->ld), p.k = to_double(t->k, t->n, t->d, t->ld);
    p.v = to_double(t->v, t->n, t->d, t->ld), p.gate = to_double(t->gate, t->n, 1, t->ld_gate);
    p.dout = to_double(t->dout, t->n, t->d, t->ld_out), p.dstate = to_double(t->dstate, 1, (int)t->state, 0);
    p.out = to_double(t->dout, t->n, t->d, t->ld_out);
    p.rule = (ref64_rule){.mlp = is_mlp(t), .d = t->d, .b = t->b, .lr_scale = (double)t->lr_scale, .tok = p.tok};
    p.rule.w1 = named(t, &p, "W1"), p.rule.b1 = named(t, &p, "b1");
    p.rule.w2 = named(t, &p, "W2"), p.rule.b2 = named(t, &p, "b2");
    p.rule.gamma = named(t, &p, "ttt_norm_weight"), p.rule.beta = named(t, &p, "ttt_norm_bias");
    p.rule.decay = named(t, &p, "ttt_decay"), p.rule.step = named(t, &p, "ttt_step");
    p.rule.no_ln = !p.rule.gamma;
    p.state_count = ref64_state_count(&p.rule);
    assert_int_equal(p.state_count, t->state);
    p.state = to_double(t->dstate, 1, (int)t->state, 0);
    return p;
}

static void precise_close(const bench *t, precise *p) {
    for (int i = 0; i < t->tensors; i++) free(p->param[i]);
    free(p->tok), free(p->q), free(p->k), free(p->v), free(p->gate), free(p->out), free(p->state), free(p->dout);
    free(p->dstate);
}

static double precise_loss(precise *p) {
    double loss = 0.0;
    ref64_inner(&p->rule, p->n, p->q, p->k, p->v, p->gate, p->out, p->state);
    for (int i = 0; i < p->n * p->rule.d; i++) loss += p->dout[i] * p->out[i];
    for (size_t i = 0; i < p->state_count; i++) loss += p->dstate[i] * p->state[i];
    return loss;
}

/* |x - y| ≤ tolerance * rms(y) for every element */
static void close_to(const char *what, const bench *t, const float *x, const double *y, size_t n, double tolerance) {
    double square = 0.0, worst = 0.0;
    for (size_t i = 0; i < n; i++) square += y[i] * y[i] / (double)n;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)x[i] - y[i]));
    if (!(worst <= tolerance * sqrt(square)))
        fail_msg("%s, %s, d %d b %d n %d: off by %.3g of its rms", t->rule->name, what, t->d, t->b, t->n,
                 worst / sqrt(square));
}

void inner_check_forward(const il_rule *rule) {
    for (int w = 0; w < WIDTHS; w++)
        for (int i = 0; i < BATCHES; i++) {
            bench t;
            bench_open(&t, rule, widths[w], batches[i], 2 * batches[i] + (batches[i] + 1) / 2);
            trace r = run_forward(&t, il_kernels_pick(NULL), 0, 0.0f);
            precise p = precise_open(&t);
            precise_loss(&p);
            float *out = floats((size_t)(t.n * t.d), 0.0f);
            for (int row = 0; row < t.n; row++)
                memcpy(out + row * t.d, r.out + row * t.ld_out, (size_t)t.d * sizeof *out);
            close_to("out", &t, out, p.out, (size_t)(t.n * t.d), 2e-5);
            close_to("state", &t, r.carries + (size_t)(t.n / t.b) * t.shape.carry, p.state, t.state, 2e-5);
            free(out);
            precise_close(&t, &p), trace_close(&t, &r), bench_close(&t);
        }
}

/* ---- gradients ---- */

enum { SAMPLE = 6, DIRECTIONS = 2 };

/* grad [n, width] stride ld, against central differences along x's entries and along random directions. */
static void check_gradient(const char *what, const bench *t, precise *p, double *x, const float *grad, int n, int width,
                           ptrdiff_t ld, double step) {
    /* W - W0, which the gradient of decay sums up, has lost the digits that both have in common */
    const double tolerance = strcmp(what, "ttt_decay") ? 2e-4 : 1e-3;
    size_t count = (size_t)n * (size_t)width;
    double square = 0.0, *direction = calloc(count, sizeof *direction), *start = malloc(count * sizeof *start);
    assert_true(direction && start);
    uint64_t seed = 5;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < width; c++) square += (double)grad[i * ld + c] * (double)grad[i * ld + c] / (double)count;
    memcpy(start, x, count * sizeof *start);
    assert_true(square > 0.0); /* every argument matters */
    int all = t->d <= 6 && count <= 200, checks = all ? (int)count : SAMPLE;
    for (int check = 0; check < checks + DIRECTIONS; check++) {
        double expected = 0.0, norm = 0.0;
        memset(direction, 0, count * sizeof *direction);
        if (check < checks)
            direction[all ? (size_t)check : (size_t)(next_random(&seed) % count)] = 1.0;
        else
            for (size_t i = 0; i < count; i++) direction[i] = next_random(&seed) & 1 ? 1.0 : -1.0;
        for (size_t i = 0; i < count; i++) {
            expected +=
                direction[i] * (double)grad[(ptrdiff_t)(i / (size_t)width) * ld + (ptrdiff_t)(i % (size_t)width)];
            norm += direction[i] * direction[i];
        }
        double h = step / sqrt(norm), slope = 0.0;
        for (int side = -1; side <= 1; side += 2) {
            for (size_t i = 0; i < count; i++) x[i] = start[i] + side * h * direction[i];
            slope += side * precise_loss(p) / (2.0 * h);
        }
        /* the error of a sum over `norm` entries grows with its root */
        if (!(fabs(slope - expected) <= tolerance * sqrt(square * norm)))
            fail_msg("%s, gradient of %s, d %d b %d n %d, check %d: %.8g, differences give %.8g, rms %.3g (%.3g)",
                     t->rule->name, what, t->d, t->b, t->n, check, expected, slope, sqrt(square),
                     fabs(slope - expected) / sqrt(square * norm));
    }
    memcpy(x, start, count * sizeof *start);
    free(direction), free(start);
}

static void check_gradients(const il_rule *rule, int d, int b, int n) {
    bench t;
    bench_open(&t, rule, d, b, n);
    trace r = run_forward(&t, il_kernels_pick(NULL), 0, 0.0f);
    run_backward(&t, il_kernels_pick(NULL), &r, 0.0f);
    precise p = precise_open(&t);
    check_gradient("q", &t, &p, p.q, r.dq, n, d, t.ld, 1e-5);
    check_gradient("k", &t, &p, p.k, r.dk, n, d, t.ld, 1e-5);
    check_gradient("v", &t, &p, p.v, r.dv, n, d, t.ld, 1e-5);
    check_gradient("gate", &t, &p, p.gate, r.dgate, n, 1, t.ld_gate, 1e-5);
    check_gradient("tok", &t, &p, p.tok, r.dtok, 1, b, 0, 1e-5);
    for (int i = 0; i < t.tensors; i++) {
        double step = is_sharp(&t) && t.tensor[i].rows ? 1e-7 : 1e-5;
        check_gradient(t.tensor[i].name, &t, &p, p.param[i], r.dparam[i], 1, (int)t.count[i], 0, step);
    }
    precise_close(&t, &p), trace_close(&t, &r), bench_close(&t);
}

void inner_check_gradients(const il_rule *rule) {
    for (int i = 0; i < BATCHES; i++) {
        int b = batches[i], most = b > 4 ? 2 : 4; /* whole mini-batches */
        check_gradients(rule, 2, b, most * b + (b + 1) / 2);
        check_gradients(rule, 6, b, most * b + (b + 1) / 2);
        check_gradients(rule, 6, b, most * b);
        check_gradients(rule, 16, b, most * b + (b + 1) / 2);
    }
    check_gradients(rule, 64, 3, 7);
    check_gradients(rule, 64, 16, 40);
    check_gradients(rule, 96, 20, 43);
}

/* ---- one answer ---- */

void inner_check_splits(const il_rule *rule) {
    const int more[] = {2, 8, 16, 17, 64};
    for (int w = 0; w < WIDTHS; w++)
        for (int i = 0; i < BATCHES + 5; i++) {
            bench t;
            int b = i < BATCHES ? batches[i] : more[i - BATCHES];
            bench_open(&t, rule, widths[w], b, 2 * b + (b + 1) / 2);
            trace whole = run_forward(&t, il_kernels_pick(NULL), 0, 0.0f);
            const int chunks[] = {1, 2, 5, 7, -1};
            for (int c = 0; c < 5; c++) {
                trace split = run_forward(&t, il_kernels_pick(NULL), chunks[c], 0.0f);
                same_forward(&t, &whole, &split, t.n, 1);
                trace_close(&t, &split);
            }
            trace_close(&t, &whole), bench_close(&t);
        }
}

void inner_check_kernels(const il_rule *rule) {
    const char *names[] = {"avx2", "avx512", "avx512_vnni", "neon"};
    const il_kernels *portable = il_kernels_pick("portable");
    assert_non_null(portable);
    for (int w = 0; w < WIDTHS; w++)
        for (int i = 0; i < BATCHES; i++) {
            bench t;
            bench_open(&t, rule, widths[w], batches[i], 2 * batches[i] + (batches[i] + 1) / 2);
            trace expected = run_forward(&t, portable, 0, 0.0f);
            run_backward(&t, portable, &expected, 0.0f);
            for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
                const il_kernels *kernels = il_kernels_pick(names[k]);
                if (!kernels) continue; /* not this CPU's */
                trace r = run_forward(&t, kernels, 0, 0.0f);
                run_backward(&t, kernels, &r, 0.0f);
                same_forward(&t, &expected, &r, t.n, 1);
                same_backward(&t, &expected, &r);
                trace_close(&t, &r);
            }
            trace_close(&t, &expected), bench_close(&t);
        }
}

void inner_check_garbage(const il_rule *rule) {
    for (int w = 0; w < WIDTHS; w++)
        for (int i = 0; i < BATCHES; i++) {
            bench t;
            int d = widths[w], b = batches[i];
            bench_open(&t, rule, d, b, 2 * b + (b + 1) / 2);
            trace clean = run_forward(&t, il_kernels_pick(NULL), 0, 0.0f);
            run_backward(&t, il_kernels_pick(NULL), &clean, 0.0f);
            trace dirty = run_forward(&t, il_kernels_pick(NULL), 0, NAN);
            run_backward(&t, il_kernels_pick(NULL), &dirty, NAN);
            same_forward(&t, &clean, &dirty, t.n, 0);
            same_backward(&t, &clean, &dirty);
            for (int row = 0; row < t.n; row++) { /* strides were kept */
                for (int c = d; c < t.ld; c++) {
                    ptrdiff_t at = row * t.ld + c;
                    assert_true(isnan(dirty.dq[at]) && isnan(dirty.dk[at]) && isnan(dirty.dv[at]));
                }
                for (int c = d; c < t.ld_out; c++) assert_true(isnan(dirty.out[row * t.ld_out + c]));
                for (int c = 1; c < t.ld_gate; c++) assert_true(isnan(dirty.dgate[row * t.ld_gate + c]));
            }
            /* A NaN and an infinity in the last token: the tokens before it never notice. */
            t.v[(t.n - 1) * t.ld] = NAN, t.k[(t.n - 1) * t.ld] = INFINITY;
            trace late = run_forward(&t, il_kernels_pick(NULL), 0, 0.0f);
            same_rows(clean.out, late.out, t.n - 1, d, t.ld_out);
            assert_true(isnan(late.out[(t.n - 1) * t.ld_out]));
            trace_close(&t, &late), trace_close(&t, &clean), trace_close(&t, &dirty), bench_close(&t);
        }
}

void inner_check_state(const il_rule *rule) {
    for (int w = 0; w < WIDTHS; w++) {
        bench t;
        bench_open(&t, rule, widths[w], 3, 6);
        trace r = run_forward(&t, il_kernels_pick(NULL), 0, NAN);
        assert_int_equal(t.shape.carry % 16 + t.shape.rows % 16 + t.shape.scratch % 16 + t.shape.scratch_back % 16, 0);
        assert_true(t.state <= t.shape.carry);
        for (int m = 0; m <= 2; m++) /* as begun, and after each commit */
            for (size_t i = t.state; i < t.shape.carry; i++)
                assert_true(r.carries[(size_t)m * t.shape.carry + i] == 0.0f);
        size_t at = 0;
        for (int i = 0; i < t.tensors; i++)
            if (t.tensor[i].rows) {
                assert_memory_equal(r.carries + at, t.param[i], t.count[i] * sizeof(float));
                at += t.count[i];
            }
        trace_close(&t, &r), bench_close(&t);
    }
}

/* ---- statistics ---- */

/* y [out] = x [in] · W + bias, in double */
static const float *affine(const float *layer, int in, int out, const double *x, double *y) {
    for (int o = 0; o < out; o++) {
        y[o] = (double)layer[in * out + o];
        for (int i = 0; i < in; i++) y[o] += x[i] * (double)layer[i * out + o];
    }
    return layer + (in + 1) * out;
}

/* 1/2 |f(K) - (V - K)|² of token i with these fast weights, in double. */
static double plain_loss(const bench *t, const float *carry, int i) {
    enum { MOST = 4 * 96 };
    double x[MOST], y[MOST], mean = 0, variance = 0, loss = 0;
    int d = t->d, gamma = place_of(t, "ttt_norm_weight"), beta = place_of(t, "ttt_norm_bias");
    for (int c = 0; c < d; c++) x[c] = (double)t->k[i * t->ld + c];
    if (is_mlp(t)) {
        carry = affine(carry, d, 4 * d, x, y);
        for (int c = 0; c < 4 * d; c++)
            x[c] = 0.5 * y[c] * (1 + tanh(0.79788456080286536 * (y[c] + 0.044715 * y[c] * y[c] * y[c])));
        affine(carry, 4 * d, d, x, y);
    } else {
        affine(carry, d, d, x, y);
    }
    for (int c = 0; c < d; c++) mean += y[c] / d;
    for (int c = 0; c < d; c++) variance += (y[c] - mean) * (y[c] - mean) / d;
    for (int c = 0; c < d; c++) {
        double f = y[c];
        if (gamma >= 0) f = (f - mean) / sqrt(variance + 1e-6) * (double)t->param[gamma][c] + (double)t->param[beta][c];
        double e = f - (double)t->v[i * t->ld + c] + (double)t->k[i * t->ld + c];
        loss += 0.5 * e * e;
    }
    return loss;
}

void inner_check_statistics(const il_rule *rule) {
    const il_kernels *kernels = il_kernels_pick(NULL);
    for (int w = 0; w < WIDTHS; w++) {
        enum { B = 5, N = 3 * B - 2 };
        bench t;
        if (widths[w] == 2) continue; /* the norm over two numbers magnifies rounding */
        bench_open(&t, rule, widths[w], B, N);
        il_inner_head head = head_of(&t, kernels);
        trace r = run_forward(&t, kernels, -1, NAN);
        float *scratch = floats(t.shape.scratch, NAN);
        for (int m = 0; m < 3; m++)
            for (int after = 0; after < 2 && m + after < 3; after++) {
                int n = m == 2 ? N - 2 * B : B;
                const float *carry = r.carries + (size_t)(m + after) * t.shape.carry;
                float *rows = r.rows + (size_t)m * t.shape.rows;
                double expected = 0;
                for (int i = 0; i < n; i++) expected += plain_loss(&t, carry, m * B + i);
                double loss = rule->loss(&head, carry, rows, n, t.v + m * B * t.ld, t.ld, scratch);
                if (!(fabs(loss - expected) <= 1e-4 * expected)) fail_msg("d = %d: %g, not %g", t.d, loss, expected);
                check_guard(scratch, t.shape.scratch);
                /* trimmed, the rows that were read are the same, and the others are numbers */
                rule->trim(t.d, B, rows, n);
                check_guard(r.rows, 3 * t.shape.rows);
                double again = rule->loss(&head, carry, rows, n, t.v + m * B * t.ld, t.ld, scratch);
                assert_true(again == loss);
                for (size_t i = 0; i < t.shape.rows; i++) assert_true(isfinite(rows[i]));
                if (m == 2) { /* and what reads on from them reads the same */
                    il_rows_in in = rows_in(&t, 0, 1);
                    float *out = floats((size_t)t.ld_out, NAN), *other = floats((size_t)t.ld_out, NAN);
                    float *dirty = floats(t.shape.rows, NAN);
                    memcpy(dirty, rows, t.shape.rows * sizeof *rows);
                    rule->rows(&head, carry, rows, n, &in, out, t.ld_out, scratch);
                    rule->trim(t.d, B, rows, n);
                    rule->rows(&head, carry, dirty, n, &in, other, t.ld_out, scratch);
                    same_rows(out, other, 1, t.d, t.ld_out);
                    rule->trim(t.d, B, dirty, n);
                    assert_memory_equal(dirty, rows, t.shape.rows * sizeof *rows);
                    free(out), free(other), free(dirty);
                }
            }
        free(scratch), trace_close(&t, &r), bench_close(&t);
    }
}
