/* Gradients of the whole model: against central differences of the double precision reference for every
 * mixer, backbone and flag; the same bits for any number of threads and instruction set; windows that go on
 * from a carried state. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "model/backward.h"
#include "model/config.h"
#include "model/forward.h"
#include "model/lm_head.h"
#include "model/tape.h"
#include "support_lively.h"
#include "support_ref64.h"

/* Self-attention, TTT-MLP, TTT-Linear that fades, self-attention; gated delta, self-attention, TTT-Linear, gated delta
 */
enum { HYBRID = 1000, DELTA_HYBRID };

typedef struct shape {
    int mixer; /* il_mixer_kind, HYBRID or DELTA_HYBRID */
    int share_qk, use_gate, pre_conv, tied;
    /* with 3 taps the gated delta rule starts from weights that are learned */
    int width, heads, b, taps, sequences, length;
    int attention; /* 0: as Llama's first models; else its variant (attention_of), and with TAPPED taps */
} shape;

enum { TAPPED = 10 };

static void *zeros(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    assert_non_null(p);
    return p;
}

static void ok(il_status status, const il_error *error) {
    if (status) fail_msg("%s", error->message);
}

static uint32_t draw(uint64_t index) {
    uint32_t r[4];
    il_philox(5, IL_PURPOSE_TEST, 1, index, r);
    return r[0];
}

/* Attention as models have it. 1: all there is, 4 heads of queries over 2 of keys, as in Qwen3.5; 2: biases, one head
 * of keys, frequencies divided; 3: heads narrower than D / H, biases of all, Llama 3's frequencies. */
static void attention_of(int variant, il_config *c) {
    c->kv_heads = variant == 1 ? c->heads / 2 : variant == 2 ? 1 : 0;
    c->head_width = variant == 1 || variant == 3 ? 6 : 0;
    c->sliding_window = 5;
    c->rotary_width = variant == 1 ? 4 : 0;
    c->qk_norm = c->attention_gate = c->norm_offset = variant == 1;
    c->attention_bias = variant > 0;
    c->attention_output_bias = variant == 1 || variant == 3;
    c->rope_scaling = variant == 2 ? IL_ROPE_LINEAR : variant == 3 ? IL_ROPE_LLAMA3 : IL_ROPE_PLAIN;
    c->rope_factor = 3;
    c->rope_low_frequency = 1, c->rope_high_frequency = 4, c->rope_positions = 1000;
    if (variant == 3) c->rope_theta = 1e5;
}

/* A model whose every part matters: no weight is at its neutral start. One learned token index is below the
 * clamp. NULL: this CPU lacks the instruction set. */
static il_model *model_open(const shape *s, int threads, const char *kernels) {
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = threads;
    options.kernels = kernels;
    il_engine *engine;
    il_model *model;
    il_config config;
    il_error error;
    if (il_engine_open(&options, &engine, &error)) return NULL;
    int base = s->mixer == HYBRID ? IL_MIXER_TTT_MLP : s->mixer == DELTA_HYBRID ? IL_MIXER_TTT_LINEAR : s->mixer;
    ok(il_config_preset("tiny", il_mixer_name((il_mixer_kind)base), NULL, &config, &error), &error);
    config.share_qk = s->share_qk, config.use_gate = s->use_gate, config.pre_conv = s->pre_conv;
    config.tie_word_embeddings = s->tied;
    config.width = s->width, config.heads = s->heads, config.mini_batch = s->b, config.conv_kernel = s->taps;
    config.ffn_width = s->width + 5;
    config.layers = 2;
    if (s->mixer == HYBRID) {
        config.layers = config.n_layer_types = 4;
        config.layer_types[0] = config.layer_types[3] = IL_MIXER_SELF_ATTENTION;
        config.layer_types[1] = IL_MIXER_TTT_MLP;
        config.layer_types[2] = IL_MIXER_TTT_LINEAR_DECAY;
    }
    if (s->mixer == DELTA_HYBRID) {
        config.layers = config.n_layer_types = 4;
        config.layer_types[0] = config.layer_types[3] = IL_MIXER_GATED_DELTA;
        config.layer_types[1] = IL_MIXER_SELF_ATTENTION;
        config.layer_types[2] = IL_MIXER_TTT_LINEAR;
    }
    config.delta_key_heads = s->heads, config.delta_value_heads = 2 * s->heads; /* widths of odd numbers */
    config.delta_key_width = s->width / s->heads / 2 + 1, config.delta_value_width = s->width / s->heads + 1;
    config.delta_taps = s->taps;
    config.delta_learned_start = s->taps == 3;
    config.vocab_size = 13;
    config.bos_token = 1, config.eos_token = 2;
    config.ttt_base_lr = 1;
    attention_of(s->attention % TAPPED, &config);
    if (s->attention >= TAPPED) config.n_taps = 2, config.taps[0] = 7, config.taps[1] = 2;
    ok(il_model_init(engine, &config, 11, &model, &error), &error);
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i];
        for (size_t j = 0; j < e->count; j++)
            model->weights[e->offset + j] += (float)((strstr(e->name, "_norm") || e->rank == 1 ? 0.2 : 0.3) *
                                                     il_normal(5, IL_PURPOSE_TEST, 100 + (uint32_t)i, j));
        if (strstr(e->name, "learnable_token_idx") && e->count > 1) model->weights[e->offset + 1] = -2;
    }
    model->version++;
    ok(il_model_refresh(model, 1, &error), &error);
    return model;
}

static void model_close(il_model *model) {
    il_engine *engine = model->engine;
    il_model_unref(model);
    il_engine_close(engine);
}

/* [sequences, length+1]; some targets are BOS. */
static int32_t *tokens_of(const shape *s) {
    size_t n = (size_t)s->sequences * (size_t)(s->length + 1);
    int32_t *tokens = zeros(n, sizeof *tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(draw(i) % 13);
    return tokens;
}

/* How backward gets at activations: they are kept, or computed again, and then of so many tokens at a time in the
 * feed-forward networks. */
static size_t recomputed;

/* What backward says is complete, from a layer's first tensor on, as it is then. */
typedef struct {
    const float *grad;
    float *then; /* [floats] */
    size_t from, floats;
    int calls;
} passing;

static void note_passed(void *user, size_t from) {
    passing *p = user;
    assert_true(from > 0 && from < p->from);
    memcpy(p->then + from, p->grad + from, (p->from - from) * sizeof *p->then);
    p->from = from;
    p->calls++;
}

/* Loss of the recipe over windows [n, length+1] read on from the states, and its gradient += grad (NULL: loss
 * only). */
static double loss_and_grad(il_model *model, il_state *states, const int32_t *windows, int n, int length,
                            float inner_lr, float *grad) {
    size_t total = (size_t)n * (size_t)length, width = (size_t)model->config.width;
    il_error error;
    il_tape tape;
    il_workspace work;
    il_backspace space;
    ok(il_tape_open(model, n, length, recomputed > 0, &tape, &error), &error);
    if (recomputed) tape.size.ffn_tokens = recomputed;
    ok(il_workspace_open(model, (int)total, &work, &error), &error);
    ok(il_backspace_open(model, (int)total, &space, &error), &error);
    il_segment *segments = zeros((size_t)n, sizeof *segments);
    int32_t *in = zeros(total, sizeof *in), *out = zeros(total, sizeof *out);
    float *weight = zeros(total, sizeof *weight), *nll = zeros(total, sizeof *nll);
    float *dhidden = zeros(total * width, sizeof *dhidden), *unwanted = zeros(model->table.floats, sizeof *unwanted);
    for (int s = 0; s < n; s++) {
        int valid = 0;
        for (int t = 0; t < length; t++) {
            int i = s * length + t;
            in[i] = windows[s * (length + 1) + t];
            out[i] = windows[s * (length + 1) + t + 1];
            valid += out[i] != model->config.bos_token;
        }
        for (int i = s * length; i < (s + 1) * length; i++)
            weight[i] = out[i] == model->config.bos_token ? 0 : 1.0F / (float)valid / (float)n;
        ok(il_state_reserve(&states[s], states[s].position + (uint64_t)length, &error), &error);
        segments[s] = (il_segment){s * length, length, &states[s]};
    }
    il_pass pass = {.model = model, .work = &work, .tape = &tape, .segments = segments, .n_segments = n};
    pass.tokens = (int)total;
    pass.inner_lr = inner_lr;
    il_forward(&pass, in);
    il_lm_head_loss(&pass, out, weight, nll, dhidden, grad ? grad : unwanted);
    passing p = {grad, unwanted, model->table.floats, model->table.floats, 0};
    pass.passed = note_passed;
    pass.user = &p;
    if (grad) {
        il_backward(&pass, in, dhidden, grad, &space);
        assert_int_equal(p.calls, model->config.layers);
        assert_int_equal(p.from, model->layers[0].begin);
        assert_memory_equal(p.then + p.from, grad + p.from, (p.floats - p.from) * sizeof *grad);
    }
    double loss = 0;
    for (size_t i = 0; i < total; i++) loss += (double)weight[i] * (double)nll[i];
    free(segments), free(in), free(out), free(weight), free(nll), free(dhidden), free(unwanted);
    il_tape_close(&tape), il_workspace_close(&work), il_backspace_close(&space);
    return loss;
}

/* The same for sequences from fresh states. */
static double fresh_loss(il_model *model, const shape *s, const int32_t *tokens, float inner_lr, float *grad) {
    il_state *states = zeros((size_t)s->sequences, sizeof *states);
    il_error error;
    for (int i = 0; i < s->sequences; i++) ok(il_state_open(model, 0, &states[i], &error), &error);
    double loss = loss_and_grad(model, states, tokens, s->sequences, s->length, inner_lr, grad);
    for (int i = 0; i < s->sequences; i++) il_state_close(&states[i]);
    free(states);
    return loss;
}

/* Entries of every tensor against the slope of the reference. */
static void check_shape(const shape *s, float inner_lr) {
    il_model *model = model_open(s, 2, NULL);
    assert_non_null(model);
    int32_t *tokens = tokens_of(s);
    float *grad = zeros(model->table.floats, sizeof *grad);
    double loss = fresh_loss(model, s, tokens, inner_lr, grad);
    ref64_weights w = {0};
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i];
        ref64_weights_add_f32(&w, e->name, e->count, model->weights + e->offset);
    }
    ref64_model reference = {.config = model->config, .user = &w, .inner_lr = (double)inner_lr};
    double want_loss = ref64_loss(&reference, tokens, s->sequences, s->length);
    if (!(fabs(loss - want_loss) < 2e-5)) fail_msg("loss %.9g, reference %.9g", loss, want_loss);
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i];
        double *data = ref64_weights_get(&w, e->name, NULL), off = 0, norm = 0;
        int probes = e->count < 16 ? (int)e->count : 16;
        for (int p = 0; p < probes; p++) {
            size_t at = probes == (int)e->count ? (size_t)p : draw(1000 * i + (uint64_t)p) % e->count;
            double want = ref64_slope(&reference, tokens, s->sequences, s->length, data + at, 1e-5);
            double got = (double)grad[e->offset + at];
            off += (got - want) * (got - want);
            norm += want * want;
        }
        if (!(sqrt(off) <= 5e-4 * sqrt(norm) + 1e-6))
            fail_msg("mixer %d width %d heads %d b %d length %d flags %d%d%d tied %d: %s off by %.3g of %.3g", s->mixer,
                     s->width, s->heads, s->b, s->length, s->share_qk, s->use_gate, s->pre_conv, s->tied, e->name,
                     sqrt(off), sqrt(norm));
        if (strstr(e->name, "learnable_token_idx") && e->count > 1) assert_true(grad[e->offset + 1] == 0);
    }
    ref64_weights_free(&w);
    free(tokens), free(grad);
    model_close(model);
}

static void test_against_reference(void **unused) {
    (void)unused;
    for (int mixer = IL_MIXER_TTT_LINEAR; mixer <= IL_MIXER_TTT_MLP; mixer++)
        for (int flags = 0; flags < 8; flags++) {
            shape s = {mixer, flags & 1, flags >> 1 & 1, flags >> 2, flags & 1, 8, 2, 4, 4, 2, 11, 0};
            check_shape(&s, 1);
        }
}

static void test_odd_shapes(void **unused) {
    (void)unused;
    const shape shapes[] = {
        {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 12, 2, 16, 4, 2, 19, 0},
        {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 0, 8, 1, 16, 4, 2, 70, 0},
        {IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 12, 2, 16, 4, 2, 70,
         0}, /* more than one chunk of rows, two groups of carries */
        {IL_MIXER_TTT_LINEAR, 1, 1, 1, 0, 6, 1, 3, 3, 3, 31, 0},
        {IL_MIXER_TTT_LINEAR, 0, 0, 0, 1, 4, 2, 1, 4, 1, 5, 0},
        {IL_MIXER_TTT_LINEAR, 1, 0, 0, 1, 8, 4, 2, 2, 1, 1, 0},
        {IL_MIXER_TTT_MLP, 1, 1, 1, 1, 6, 1, 5, 4, 2, 23, 0},
        {IL_MIXER_TTT_MLP, 0, 0, 0, 0, 4, 1, 16, 4, 1, 16, 0},
        {IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 70, 1, 4, 4, 1, 6, 0}, /* wider than a block of channels */
        {HYBRID, 1, 1, 1, 1, 8, 2, 4, 4, 2, 13, 0},
        {IL_MIXER_GATED_DELTA, 0, 0, 0, 1, 8, 2, 4, 4, 2, 30,
         0}, /* seven mini-batches and a part: two groups of carries */
        {IL_MIXER_GATED_DELTA, 0, 0, 0, 0, 6, 1, 16, 3, 2, 21, 0},
        {IL_MIXER_GATED_DELTA, 0, 0, 0, 1, 16, 2, 1, 2, 1, 6, 0},
        {DELTA_HYBRID, 1, 1, 1, 1, 8, 2, 4, 4, 2, 13, 0},
        {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 10, 4, 16, 4, 1, 67, 1},
        {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 12, 3, 16, 4, 2, 19, 2},
        {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 0, 16, 2, 16, 4, 2, 17, 3},
        {IL_MIXER_SLIDING_ATTENTION, 0, 0, 0, 1, 8, 4, 16, 4, 2, 19, 1},
        {HYBRID, 1, 1, 1, 1, 8, 2, 4, 4, 2, 13, 1},
        {DELTA_HYBRID, 1, 1, 1, 1, 8, 2, 4, 4, 2, 13, 1},
        {IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 12, 2, 4, 4, 2, 19, TAPPED},
        {DELTA_HYBRID, 1, 1, 1, 0, 8, 2, 4, 4, 2, 13, TAPPED + 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_shape(&shapes[i], i == 2 || i == 6 ? 0.25F : 1);
}

/* One thread of portable code gives the bits of every other way to run. */
static void test_bits(void **unused) {
    (void)unused;
    const shape shapes[] = {{IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 132, 2, 4, 4, 2, 70, 0},
                            {IL_MIXER_TTT_MLP, 1, 1, 1, 0, 24, 3, 4, 4, 4, 20, 0}, /* 3 heads, 2 threads: chains.h */
                            {IL_MIXER_TTT_LINEAR, 1, 1, 1, 0, 24, 1, 4, 4, 3, 20, 0},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 24, 2, 16, 4, 2, 70, 0},
                            {HYBRID, 1, 1, 1, 1, 24, 2, 4, 4, 2, 30, 0},
                            {IL_MIXER_GATED_DELTA, 0, 0, 0, 1, 48, 3, 4, 3, 3, 30, 0},
                            {DELTA_HYBRID, 1, 1, 1, 1, 24, 2, 4, 4, 2, 30, 0},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 20, 4, 16, 4, 2, 140, 1},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 24, 3, 16, 4, 2, 70, 2},
                            {IL_MIXER_SLIDING_ATTENTION, 0, 0, 0, 1, 20, 4, 16, 4, 2, 70, 1},
                            {IL_MIXER_TTT_LINEAR, 1, 1, 1, 0, 132, 2, 4, 4, 2, 70, TAPPED}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        int32_t *tokens = tokens_of(s);
        float *want = NULL;
        double want_loss = 0;
        for (const lively_way *way = lively_ways(); way->threads; way++) {
            il_model *model = model_open(s, way->threads, way->kernels);
            float *grad = zeros(model->table.floats, sizeof *grad);
            double loss = fresh_loss(model, s, tokens, 1, grad);
            if (!want) {
                want = grad;
                want_loss = loss;
            } else {
                for (size_t t = 0; t < model->table.n; t++) {
                    const il_table_entry *e = &model->table.entries[t];
                    if (memcmp(grad + e->offset, want + e->offset, e->count * sizeof *grad))
                        fail_msg("%s, %d threads: other bits in %s", way->kernels, way->threads, e->name);
                }
                assert_true(loss == want_loss);
                free(grad);
            }
            model_close(model);
        }
        free(want), free(tokens);
    }
}

/* A window that goes on from a carried state: the state is data. The slope of the loss along a tensor's own
 * gradient is its squared norm, and the learned initial fast weights get nothing. */
static void check_carried(const shape *s, int first) {
    il_model *model = model_open(s, 2, NULL);
    assert_non_null(model);
    /* otherwise the norm of a head's short output bends the loss too much */
    if (s->mixer == IL_MIXER_GATED_DELTA) model->config.rms_norm_eps = 0.01;
    shape longer = *s;
    longer.length += first;
    int32_t *tokens = tokens_of(&longer), *head = zeros((size_t)first + 1, sizeof *head);
    il_error error;
    il_state before, now;
    ok(il_state_open(model, 0, &before, &error), &error);
    ok(il_state_open(model, 0, &now, &error), &error);
    memcpy(head, tokens, ((size_t)first + 1) * sizeof *head);
    loss_and_grad(model, &before, head, 1, first, 1, NULL);
    float *grad = zeros(model->table.floats, sizeof *grad), *keep = zeros(model->table.floats, sizeof *keep);
    memcpy(keep, model->weights, model->table.floats * sizeof *keep);
    ok(il_state_copy(&now, &before, &error), &error);
    loss_and_grad(model, &now, tokens + first, 1, s->length, 1, grad);
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i];
        double norm = 0, loss[2];
        for (size_t j = 0; j < e->count; j++) norm += (double)grad[e->offset + j] * (double)grad[e->offset + j];
        const char *name = strrchr(e->name, '.') + 1;
        if (!strcmp(name, "W1") || !strcmp(name, "b1") || !strcmp(name, "W2") || !strcmp(name, "b2") ||
            !strcmp(name, "S0")) {
            if (norm != 0) fail_msg("%s has a gradient of norm %g", e->name, sqrt(norm));
            continue;
        }
        if (sqrt(norm) < 1e-3) continue; /* lost in the rounding of the loss */
        double step = 3e-3 / sqrt(norm);
        for (int side = 0; side < 2; side++) {
            for (size_t j = 0; j < e->count; j++)
                model->weights[e->offset + j] += (float)(side ? -step : step) * grad[e->offset + j];
            model->version++;
            ok(il_model_refresh(model, 1, &error), &error);
            ok(il_state_copy(&now, &before, &error), &error);
            loss[side] = loss_and_grad(model, &now, tokens + first, 1, s->length, 1, NULL);
            memcpy(model->weights, keep, model->table.floats * sizeof *keep);
        }
        double slope = (loss[0] - loss[1]) / (2 * step);
        if (!(fabs(slope - norm) <= 0.01 * norm + 2e-4 * sqrt(norm)))
            fail_msg("mixer %d: %s: slope %g, squared norm %g", s->mixer, e->name, slope, norm);
    }
    il_state_close(&before), il_state_close(&now);
    free(tokens), free(head), free(grad), free(keep);
    model_close(model);
}

static void test_carried(void **unused) {
    (void)unused;
    const shape shapes[] = {{IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 68, 2, 4, 4, 1, 10, 0},
                            {IL_MIXER_TTT_MLP, 1, 1, 1, 1, 8, 2, 4, 4, 1, 13, 0},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 16, 2, 16, 4, 1, 50, 0},
                            {IL_MIXER_GATED_DELTA, 0, 0, 0, 1, 16, 2, 4, 3, 1, 18, 0},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 16, 4, 16, 4, 1, 50, 1},
                            {IL_MIXER_SLIDING_ATTENTION, 0, 0, 0, 1, 16, 2, 16, 4, 1, 50, 0},
                            {IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 16, 2, 4, 4, 1, 10, TAPPED}};
    check_carried(&shapes[0], 12);
    check_carried(&shapes[1], 40);
    check_carried(&shapes[2], 48);
    check_carried(&shapes[3], 12);
    check_carried(&shapes[4], 48);
    check_carried(&shapes[5], 80);
}

static void assert_same_floats(const il_model *model, const float *want, const float *got, const char *how) {
    for (size_t t = 0; t < model->table.n; t++) {
        const il_table_entry *e = &model->table.entries[t];
        if (memcmp(want + e->offset, got + e->offset, e->count * sizeof *want))
            fail_msg("%s: other bits in %s", how, e->name);
    }
}

/* Activations that are computed again: the bits of those that were kept, of every mixer, with taps and without, also
 * where a window goes on from a carried state; and the states go on as if nothing had been done twice. */
static void test_recomputed(void **unused) {
    (void)unused;
    const shape shapes[] = {{IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 24, 2, 4, 4, 2, 148, 0},
                            {IL_MIXER_TTT_LINEAR_DECAY, 0, 1, 0, 0, 24, 2, 4, 3, 3, 100, 0},
                            {IL_MIXER_TTT_MLP, 1, 1, 1, 0, 24, 3, 4, 4, 2, 68, TAPPED},
                            {IL_MIXER_GATED_DELTA, 0, 0, 0, 1, 48, 3, 4, 3, 2, 132, 0},
                            {IL_MIXER_GATED_DELTA, 0, 0, 0, 1, 24, 2, 4, 4, 2, 36, TAPPED},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 24, 2, 16, 4, 2, 144, 0},
                            {IL_MIXER_SELF_ATTENTION, 0, 0, 0, 1, 24, 4, 16, 4, 2, 80, TAPPED + 1},
                            {IL_MIXER_SLIDING_ATTENTION, 0, 0, 0, 1, 24, 4, 16, 4, 2, 144, 1},
                            {IL_MIXER_SLIDING_ATTENTION, 0, 0, 0, 1, 24, 4, 16, 4, 2, 80, TAPPED},
                            {HYBRID, 1, 1, 1, 1, 24, 2, 4, 4, 2, 72, TAPPED},
                            {DELTA_HYBRID, 1, 1, 1, 1, 24, 2, 4, 4, 2, 72, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        il_model *model = model_open(s, 2, NULL);
        int32_t *tokens = tokens_of(s);
        float *grads[2];
        il_state states[2][3];
        double loss[2];
        il_error error;
        for (int way = 0; way < 2; way++) {
            grads[way] = zeros(model->table.floats, sizeof(float));
            for (int k = 0; k < s->sequences; k++) ok(il_state_open(model, 0, &states[way][k], &error), &error);
            for (int window = 0; window < 2; window++) { /* the second goes on from the first */
                recomputed = way ? IL_BACK_ROWS : 0;
                loss[way] = loss_and_grad(model, states[way], tokens, s->sequences, s->length, 0.5F, grads[way]);
            }
        }
        recomputed = 0;
        assert_true(loss[0] == loss[1]);
        assert_same_floats(model, grads[0], grads[1], "recomputed");
        for (int k = 0; k < s->sequences; k++) {
            const il_state *a = &states[0][k], *b = &states[1][k];
            assert_int_equal(a->position, b->position);
            assert_memory_equal(a->block, b->block, a->block_bytes);
            for (size_t page = 0; page < a->n_pages; page++)
                assert_memory_equal(a->pages[page], b->pages[page], a->page_floats * sizeof(float));
        }
        for (int way = 0; way < 2; way++) {
            for (int k = 0; k < s->sequences; k++) il_state_close(&states[way][k]);
            free(grads[way]);
        }
        free(tokens);
        model_close(model);
    }
}

/* Sequences one by one give the gradient of all at once. */
static void test_accumulation(void **unused) {
    (void)unused;
    shape all = {IL_MIXER_TTT_LINEAR, 1, 1, 1, 1, 16, 2, 4, 4, 3, 18, 0}, one = all;
    one.sequences = 1;
    il_model *model = model_open(&all, 2, NULL);
    int32_t *tokens = tokens_of(&all);
    float *want = zeros(model->table.floats, sizeof *want), *got = zeros(model->table.floats, sizeof *got);
    fresh_loss(model, &all, tokens, 1, want);
    for (int i = 0; i < all.sequences; i++) fresh_loss(model, &one, tokens + i * (all.length + 1), 1, got);
    double off = 0, norm = 0;
    for (size_t i = 0; i < model->table.floats; i++) {
        off += pow((double)got[i] / 3 - (double)want[i], 2);
        norm += pow((double)want[i], 2);
    }
    assert_true(norm > 0 && sqrt(off) < 1e-5 * sqrt(norm));
    free(tokens), free(want), free(got);
    model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_reference),
                                       cmocka_unit_test(test_odd_shapes),
                                       cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_carried),
                                       cmocka_unit_test(test_recomputed),
                                       cmocka_unit_test(test_accumulation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
