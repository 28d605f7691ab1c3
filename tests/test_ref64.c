/* test_ref64.c: the double precision reference itself: against what the official code computed (the parity
 * fixtures), and against the identities that tie the inner loop to linear attention and to the delta rule. */
#include "support_test.h"

#include "inner/dual.h"
#include "support_ref64.h"
#include "tensor/safetensors.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the official code ---- */

static const char *const fixtures[] = {
    "linear_mamba_d16",
    "linear_mamba_d64",
    "linear_mamba_d96",
    "linear_transformer_d16",
    "linear_transformer_d64",
    "linear_transformer_d96",
    "linear_gate_d16",
    "linear_untied_d16",
    "mlp_mamba_d16",
    "mlp_mamba_d64",
    "mlp_mamba_d96",
    "mlp_transformer_d16",
    "mlp_transformer_d64",
    "mlp_transformer_d96",
    "mlp_preconv_d16",
    "mlp_shareqk_d16",
    "llama_d16",
};

typedef struct fixture {
    il_allocator allocator;
    il_engine *engine;
    ref64_weights weights;
    ref64_model model;
    il_st expect;
    int32_t *tokens; /* [sequences, length + 1] */
    int sequences, length;
} fixture;

static const il_st_tensor *expected(const fixture *f, const char *name, il_dtype dtype) {
    const il_st_tensor *t = il_st_find(&f->expect, name);
    if (!t) fail_msg("expect.safetensors has no %s", name);
    assert_int_equal(t->dtype, dtype);
    return t;
}

static void fixture_open(const char *name, fixture *f) {
    il_error error;
    char dir[512], path[600];
    memset(f, 0, sizeof *f);
    f->allocator = il_allocator_default();
    snprintf(dir, sizeof dir, "%s/%s", FIXTURES, name);
    assert_ok(il_engine_open(NULL, &f->engine, &error), error);
    assert_ok(il_config_load(f->engine, dir, &f->model.config, &error), error);
    f->model.config.bos_token = 1;
    f->model.inner_lr = 1.0;
    f->model.user = &f->weights;
    il_st st;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_ok(il_st_open(&f->allocator, path, &st, &error), error);
    for (size_t i = 0; i < st.n; i++) {
        float *data = malloc(st.tensors[i].count * sizeof *data);
        assert_non_null(data);
        assert_ok(il_st_to_f32(&st.tensors[i], data, &error), error);
        ref64_weights_add_f32(&f->weights, st.tensors[i].name, st.tensors[i].count, data);
        free(data);
    }
    il_st_close(&st);
    snprintf(path, sizeof path, "%s/expect.safetensors", dir);
    assert_ok(il_st_open(&f->allocator, path, &f->expect, &error), error);
    const il_st_tensor *tokens = expected(f, "tokens", IL_I32);
    f->sequences = (int)tokens->shape[0];
    f->length = (int)tokens->shape[1] - 1;
    f->tokens = malloc(tokens->bytes);
    assert_non_null(f->tokens);
    memcpy(f->tokens, tokens->data, tokens->bytes);
}

static void fixture_close(fixture *f) {
    il_st_close(&f->expect);
    il_engine_close(f->engine);
    ref64_weights_free(&f->weights);
    free(f->tokens);
}

/* Every token's loss, to the accuracy of double. */
static void official_losses(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        fixture f;
        fixture_open(fixtures[i], &f);
        const il_st_tensor *nll = expected(&f, "nll_f64", IL_F64);
        double *ours = malloc((size_t)f.length * sizeof *ours), worst = 0.0, official;
        assert_non_null(ours);
        for (int s = 0; s < f.sequences; s++) {
            ref64_nll(&f.model, f.tokens + (ptrdiff_t)s * (f.length + 1), f.length, ours);
            for (int t = 0; t < f.length; t++) {
                memcpy(&official, nll->data + (size_t)(s * f.length + t) * sizeof official, sizeof official);
                worst = fmax(worst, fabs(ours[t] - official));
            }
        }
        if (!(worst < 1e-10)) fail_msg("%s: nll off by %.3g", fixtures[i], worst);
        float loss;
        memcpy(&loss, expected(&f, "loss", IL_F32)->data, sizeof loss);
        assert_true(fabs(ref64_loss(&f.model, f.tokens, f.sequences, f.length) - (double)loss) < 2e-6);
        free(ours);
        fixture_close(&f);
    }
}

/* A slope of every tensor of the small models, at the entry where the official gradient is largest. */
static void official_gradients(void **state) {
    (void)state;
    int tensors = 0;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        fixture f;
        if (!strstr(fixtures[i], "d16")) continue;
        fixture_open(fixtures[i], &f);
        for (size_t w = 0; w < f.weights.n; w++) {
            char name[160];
            snprintf(name, sizeof name, "grad.%s", f.weights.tensors[w].name);
            const il_st_tensor *grad = expected(&f, name, IL_F32);
            size_t at = 0;
            float most = 0.0f, value;
            assert_int_equal(grad->count, f.weights.tensors[w].count);
            for (size_t e = 0; e < grad->count; e++) {
                memcpy(&value, grad->data + e * sizeof value, sizeof value);
                if (fabsf(value) > fabsf(most)) most = value, at = e;
            }
            double slope = ref64_slope(&f.model, f.tokens, f.sequences, f.length, &f.weights.tensors[w].data[at], 1e-5);
            if (!(fabs(slope - (double)most) <= 1e-4 * fabs((double)most)))
                fail_msg("%s, %s[%zu]: %.9g, official %.9g", fixtures[i], name, at, slope, (double)most);
            tensors++;
        }
        fixture_close(&f);
    }
    assert_true(tensors > 300);
}

/* ---- identities ---- */

enum { D = 6, N = 11 };

typedef struct stream {
    double q[N * D], k[N * D], v[N * D], gate[N], w[D * D], zero[D * D], out[N * D], tok[N];
} stream;

static double noise(uint32_t *seed) {
    return (double)((*seed = *seed * 1664525u + 1013904223u) >> 8) / 8388608.0 - 1.0;
}

static void stream_fill(stream *s) {
    uint32_t seed = 3;
    memset(s, 0, sizeof *s);
    for (int i = 0; i < N * D; i++) s->q[i] = noise(&seed), s->k[i] = noise(&seed), s->v[i] = noise(&seed);
    for (int i = 0; i < D * D; i++) s->w[i] = noise(&seed);
    for (int i = 0; i < N; i++) s->gate[i] = noise(&seed), s->tok[i] = 1.0;
}

static ref64_rule bare_rule(const stream *s, int b, const double *w0, double lr_scale) {
    return (ref64_rule){.d = D,
                        .b = b,
                        .lr_scale = lr_scale,
                        .tok = s->tok,
                        .w1 = w0,
                        .b1 = s->zero,
                        .gamma = s->zero,
                        .beta = s->zero,
                        .no_ln = 1,
                        .no_residual = 1,
                        .no_bias = 1};
}

/* S += β k^T (v - k S), out = q S: the delta rule, in its own words. */
static void delta_rule(stream *s, const double *beta, double *out) {
    double fast[D * D], error[D];
    memcpy(fast, s->w, sizeof fast);
    for (int t = 0; t < N; t++) {
        const double *k = s->k + t * D, *q = s->q + t * D, *v = s->v + t * D;
        for (int c = 0; c < D; c++) {
            error[c] = v[c];
            for (int r = 0; r < D; r++) error[c] -= k[r] * fast[r * D + c];
        }
        for (int r = 0; r < D; r++)
            for (int c = 0; c < D; c++) fast[r * D + c] += beta[t] * k[r] * error[c];
        for (int c = 0; c < D; c++) {
            out[t * D + c] = 0.0;
            for (int r = 0; r < D; r++) out[t * D + c] += q[r] * fast[r * D + c];
        }
    }
}

static void close_to(const double *x, const double *y, int n, double tolerance) {
    for (int i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance)) fail_msg("element %d: %.17g, not %.17g", i, x[i], y[i]);
}

/* DeltaNet = TTT-Linear, one token a mini-batch, no norm, residual or bias, target V. */
static void reference_is_delta_rule(void **state) {
    (void)state;
    stream s;
    double beta[N], expect[N * D];
    stream_fill(&s);
    for (int t = 0; t < N; t++) beta[t] = 0.8 / (1.0 + exp(-s.gate[t]));
    ref64_rule rule = bare_rule(&s, 1, s.w, 0.8);
    ref64_inner(&rule, N, s.q, s.k, s.v, s.gate, s.out, NULL);
    delta_rule(&s, beta, expect);
    close_to(s.out, expect, N * D, 1e-12);
}

/* Linear attention = the same with the whole text as one mini-batch, eta 1 and W0 = 0. */
static void reference_is_linear_attention(void **state) {
    (void)state;
    stream s;
    double expect[N * D] = {0};
    stream_fill(&s);
    memset(s.gate, 0, sizeof s.gate);
    ref64_rule rule = bare_rule(&s, N, s.zero, 2.0); /* 2 sigmoid(0) = 1 */
    ref64_inner(&rule, N, s.q, s.k, s.v, s.gate, s.out, NULL);
    for (int t = 0; t < N; t++)
        for (int j = 0; j <= t; j++) {
            double dot = 0.0;
            for (int r = 0; r < D; r++) dot += s.q[t * D + r] * s.k[j * D + r];
            for (int c = 0; c < D; c++) expect[t * D + c] += dot * s.v[j * D + c];
        }
    close_to(s.out, expect, N * D, 1e-12);
}

/* ---- the library's dual form, its gradient chosen by the test: the same two identities, biases included ---- */

enum { PAD = 16 };

typedef struct layer {
    _Alignas(64) float xt[D * PAD], g[N * D], lr[N], tok[N], w[(D + 1) * D], next[(D + 1) * D], y[N * D], a[N * D],
        s[N * PAD];
} layer;

static il_inner_head layer_fill(layer *l, const stream *s, int b) {
    memset(l, 0, sizeof *l);
    for (int t = 0; t < N; t++) {
        for (int c = 0; c < D; c++) l->a[t * D + c] = (float)s->q[t * D + c];
        for (int c = 0; c < D && b == N; c++) {
            l->xt[c * PAD + t] = (float)s->k[t * D + c];
            l->g[t * D + c] = -(float)s->v[t * D + c];
        }
        l->lr[t] = l->tok[t] = 1.0f;
    }
    return (il_inner_head){.kernels = il_kernels_pick(NULL), .d = D, .b = b, .tok = l->tok};
}

/* From W = 0 and gradients -V, il_dual_read is linear attention over keys and queries with a 1 appended (the
 * bias). */
static void dual_is_linear_attention(void **state) {
    (void)state;
    stream s;
    layer l;
    double expect[N * D] = {0}, got[N * D];
    stream_fill(&s);
    il_inner_head head = layer_fill(&l, &s, N);
    il_dual dual = {D, D, l.xt, l.g, l.lr};
    il_dual_read(&head, &dual, 0, N, l.a, l.y, l.s);
    for (int t = 0; t < N; t++)
        for (int j = 0; j <= t; j++) {
            double dot = 1.0;
            for (int r = 0; r < D; r++) dot += s.q[t * D + r] * s.k[j * D + r];
            for (int c = 0; c < D; c++) expect[t * D + c] += dot * s.v[j * D + c];
        }
    for (int i = 0; i < N * D; i++) got[i] = (double)l.y[i];
    close_to(got, expect, N * D, 1e-5);
    /* and after the commit the layer itself is the sum of k^T v */
    il_dual_commit(&head, &dual, head.tok[head.b - 1], l.w, l.next, l.y);
    for (int r = 0; r <= D; r++)
        for (int c = 0; c < D; c++) {
            double sum = 0.0;
            for (int j = 0; j < N; j++) sum += (r < D ? s.k[j * D + r] : 1.0) * s.v[j * D + c];
            assert_true(fabs(sum - (double)l.next[r * D + c]) < 1e-5);
        }
}

/* One token a mini-batch and gradients k W + bias - v: read and commit are the delta rule over the same
 * extended keys. */
static void dual_is_delta_rule(void **state) {
    (void)state;
    stream s;
    layer l;
    double fast[(D + 1) * D], error[D];
    stream_fill(&s);
    il_inner_head head = layer_fill(&l, &s, 1);
    for (int i = 0; i < D * D; i++) fast[i] = s.w[i], l.w[i] = (float)s.w[i];
    for (int c = 0; c < D; c++) fast[D * D + c] = 0.0;
    for (int t = 0; t < N; t++) {
        const float beta = 0.25f;
        float k[D], y[D];
        for (int r = 0; r < D; r++) k[r] = l.xt[r * PAD] = (float)s.k[t * D + r];
        il_affine(head.kernels, 1, D, D, k, l.w, l.g);
        for (int c = 0; c < D; c++) l.g[c] -= (float)s.v[t * D + c];
        l.lr[0] = beta;
        il_dual dual = {D, D, l.xt, l.g, l.lr};
        il_affine(head.kernels, 1, D, D, l.a + t * D, l.w, y);
        il_dual_read(&head, &dual, 0, 1, l.a + t * D, y, l.s);
        il_dual_commit(&head, &dual, head.tok[0], l.w, l.w, l.s);
        for (int c = 0; c < D; c++) {
            error[c] = s.v[t * D + c] - fast[D * D + c];
            for (int r = 0; r < D; r++) error[c] -= s.k[t * D + r] * fast[r * D + c];
        }
        for (int r = 0; r <= D; r++)
            for (int c = 0; c < D; c++) fast[r * D + c] += (double)beta * (r < D ? s.k[t * D + r] : 1.0) * error[c];
        for (int c = 0; c < D; c++) {
            double expect = fast[D * D + c];
            for (int r = 0; r < D; r++) expect += s.q[t * D + r] * fast[r * D + c];
            assert_true(fabs(expect - (double)y[c]) < 1e-5);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_losses),          cmocka_unit_test(official_gradients),
        cmocka_unit_test(reference_is_delta_rule),  cmocka_unit_test(reference_is_linear_attention),
        cmocka_unit_test(dual_is_linear_attention), cmocka_unit_test(dual_is_delta_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
