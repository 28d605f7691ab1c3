/* The self-attention mixer: its numbers against a plain double implementation, forward and gradient, and its
 * bits across splits, neighbours, threads, instruction sets, rewinds and whatever lies behind a sequence's
 * end. */
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
#include "model/mixer_attention.h"
#include "model/tape.h"
#include "support_lively.h"

enum { LAYER = 1 };

static void fill(float *x, size_t n, uint32_t stream, double scale) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(scale * il_normal(7, IL_PURPOSE_TEST, stream, i));
}

static void *zeros(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    assert_non_null(p);
    return p;
}

/* A model of two layers whose attention is far from uniform, ready to run on `threads` threads. */
static il_model *model_open_as(int width, int heads, int variant, int window, int threads, const char *kernels) {
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = threads;
    options.kernels = kernels;
    il_engine *engine;
    il_error error;
    if (il_engine_open(&options, &engine, &error)) {
        print_message("%s\n", error.message); /* this CPU lacks the instruction set */
        return NULL;
    }
    il_config config;
    assert_int_equal(il_config_preset("tiny", "self_attention", NULL, &config, &error), IL_OK);
    config.width = width;
    config.heads = heads;
    config.ffn_width = 16;
    config.layers = 2;
    config.vocab_size = 8;
    if (window) {
        config.mixer = IL_MIXER_SLIDING_ATTENTION;
        config.sliding_window = window;
    }
    if (variant) { /* heads that share keys, all but one of which fit into a tile with few queries; the rest of it */
        config.kv_heads = variant;
        config.head_width = 20;
        config.rotary_width = 12;
        config.qk_norm = config.attention_gate = config.attention_bias = config.attention_output_bias = 1;
    }
    il_model *model;
    if (il_model_init(engine, &config, 3, &model, &error)) fail_msg("%s", error.message);
    const il_layer *layer = &model->layers[LAYER];
    const il_dense *const all[] = {&layer->wq, &layer->wk, &layer->wv, &layer->wo};
    for (uint32_t i = 0; i < 4; i++)
        fill(model->weights + all[i]->at, (size_t)all[i]->in * (size_t)all[i]->out, 1 + i,
             (i < 2 ? 2 : 1) / sqrt(width));
    if (variant) {
        fill(model->weights + layer->bq, (size_t)layer->wq.out, 5, 0.3);
        fill(model->weights + layer->bk, (size_t)layer->wk.out, 6, 0.3);
        fill(model->weights + layer->bv, (size_t)layer->wv.out, 7, 0.3);
        fill(model->weights + layer->bo, (size_t)layer->wo.out, 8, 0.3);
        fill(model->weights + layer->q_norm.w, 20, 9, 1);
        fill(model->weights + layer->k_norm.w, 20, 10, 1);
    }
    model->version++;
    assert_int_equal(il_model_refresh(model, 1, &error), IL_OK);
    return model;
}

static il_model *model_open(int width, int heads, int threads, const char *kernels) {
    return model_open_as(width, heads, 0, 0, threads, kernels);
}

static void model_close(il_model *model) {
    il_engine *engine = model->engine;
    il_model_unref(model);
    il_engine_close(engine);
}

/* Runs the mixer on n rows of xn for each of the states; mix [sum of n, D] out. */
static void run(il_model *model, il_state *const *states, const int *n, int n_states, const float *const *xn,
                float *const *mix, il_tape *tape, il_workspace *work) {
    int width = model->config.width, total = 0;
    il_segment segments[8];
    il_pass pass = {.model = model, .work = work, .tape = tape, .segments = segments, .n_segments = n_states};
    pass.inner_lr = 1;
    for (int i = 0; i < n_states; i++) {
        segments[i] = (il_segment){total, n[i], states[i]};
        assert_int_equal(il_state_reserve(states[i], states[i]->position + (uint64_t)n[i], NULL), IL_OK);
        pass.tokens = total + n[i];
        memcpy(il_pass_acts(&pass, LAYER)->xn + (ptrdiff_t)total * width, xn[i],
               (size_t)n[i] * (size_t)width * sizeof(float));
        total += n[i];
    }
    model->layers[LAYER].mixer->begin(&pass);
    model->layers[LAYER].mixer->forward(&pass, LAYER);
    for (int i = 0; i < n_states; i++) {
        if (mix)
            memcpy(mix[i], work->mix + (ptrdiff_t)segments[i].first * width,
                   (size_t)n[i] * (size_t)width * sizeof(float));
        states[i]->position += (uint64_t)n[i];
    }
}

/* One sequence in pieces of `piece` tokens (the last shorter). */
static void run_pieces(il_model *model, il_state *state, int n, int piece, const float *xn, float *mix) {
    il_workspace work;
    assert_int_equal(il_workspace_open(model, piece, &work, NULL), IL_OK);
    int width = model->config.width;
    for (int t = 0; t < n; t += piece) {
        int now = n - t < piece ? n - t : piece;
        const float *in = xn + (ptrdiff_t)t * width;
        float *out = mix + (ptrdiff_t)t * width;
        run(model, &state, &now, 1, &in, &out, NULL, &work);
    }
    il_workspace_close(&work);
}

/* ---- double precision reference ---- */

static void product(int n, int width, const double *x, const double *w, double *y) {
    for (int t = 0; t < n; t++)
        for (int o = 0; o < width; o++) {
            double sum = 0;
            for (int i = 0; i < width; i++) sum += x[t * width + i] * w[o * width + i];
            y[t * width + o] = sum;
        }
}

static void rope(int n, int first, int width, int heads, double *x) {
    int d = width / heads;
    for (int t = 0; t < n; t++)
        for (int h = 0; h < heads; h++)
            for (int m = 0; m < d / 2; m++) {
                double angle = (first + t) * pow(1e4, -2.0 * m / d), c = cos(angle), s = sin(angle);
                double *a = x + t * width + h * d + m, *b = a + d / 2, old = *a;
                *a = old * c - *b * s;
                *b = old * s + *b * c;
            }
}

/* Keys and values (or queries) of n rows from position `first` on. */
static void project(int n, int first, int width, int heads, const double *xn, const double *w, int turn, double *y) {
    product(n, width, xn, w, y);
    if (turn) rope(n, first, width, heads, y);
}

/* mix [n,D] of rows past .. past+n-1, which see `window` rows (0: all); keys and values of the first `past` rows are
 * given. w: wq wk wv wo. */
static void reference(int past, int n, int width, int heads, int window, const double *past_k, const double *past_v,
                      const double *xn, const double *w, double *mix) {
    size_t square = (size_t)width * (size_t)width, rows = (size_t)(past + n) * (size_t)width;
    int d = width / heads;
    double *q = zeros((size_t)n * (size_t)width, sizeof *q), *k = zeros(rows, sizeof *k), *v = zeros(rows, sizeof *v);
    double *z = zeros((size_t)n * (size_t)width, sizeof *z), *p = zeros((size_t)(past + n), sizeof *p);
    if (past) memcpy(k, past_k, (size_t)past * (size_t)width * sizeof *k);
    if (past) memcpy(v, past_v, (size_t)past * (size_t)width * sizeof *v);
    project(n, past, width, heads, xn, w, 1, q);
    project(n, past, width, heads, xn, w + square, 1, k + past * width);
    project(n, past, width, heads, xn, w + 2 * square, 0, v + past * width);
    for (int t = 0; t < n; t++)
        for (int h = 0; h < heads; h++) {
            double most = -INFINITY, sum = 0;
            int first = window && past + t >= window ? past + t - window + 1 : 0;
            for (int j = first; j <= past + t; j++) {
                p[j] = 0;
                for (int i = h * d; i < (h + 1) * d; i++) p[j] += q[t * width + i] * k[j * width + i];
                p[j] /= sqrt(d);
                if (p[j] > most) most = p[j];
            }
            for (int j = first; j <= past + t; j++) sum += p[j] = exp(p[j] - most);
            for (int j = first; j <= past + t; j++)
                for (int i = h * d; i < (h + 1) * d; i++) z[t * width + i] += p[j] / sum * v[j * width + i];
        }
    product(n, width, z, w + 3 * square, mix);
    free(q), free(k), free(v), free(z), free(p);
}

static double *doubles(size_t n, const float *x) {
    double *y = zeros(n, sizeof *y);
    for (size_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

/* wq wk wv wo of the layer in double. */
static double *weights(const il_model *model) {
    const il_layer *l = &model->layers[LAYER];
    size_t square = (size_t)model->config.width * (size_t)model->config.width,
           from[] = {l->wq.at, l->wk.at, l->wv.at, l->wo.at};
    double *w = zeros(4 * square, sizeof *w);
    for (int i = 0; i < 4; i++)
        for (size_t j = 0; j < square; j++) w[(size_t)i * square + j] = model->weights[from[i] + j];
    return w;
}

/* ---- tests ---- */

static void test_against_double(void **unused) {
    (void)unused;
    const int shapes[][4] = {{64, 4, 150, 0}, {12, 2, 65, 0},  {36, 1, 64, 0}, {4, 2, 1, 0}, {96, 1, 70, 0},
                             {12, 2, 90, 1},  {8, 1, 200, 70}, {8, 2, 1300, 5}}; /* the last: a window */
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int width = shapes[s][0], heads = shapes[s][1], n = shapes[s][2], window = shapes[s][3];
        size_t size = (size_t)n * (size_t)width;
        il_model *model = model_open_as(width, heads, 0, window, 2, NULL);
        float *xn = zeros(size, sizeof *xn), *mix = zeros(size, sizeof *mix);
        fill(xn, size, 10, 1);
        il_state state;
        assert_int_equal(il_state_open(model, 0, &state, NULL), IL_OK);
        run_pieces(model, &state, n, n, xn, mix);
        double *x = doubles(size, xn), *w = weights(model), *want = zeros(size, sizeof *want), worst = 0;
        reference(0, n, width, heads, window, NULL, NULL, x, w, want);
        for (size_t i = 0; i < size; i++) worst = fmax(worst, fabs(want[i] - (double)mix[i]));
        if (!(worst < 1e-5)) fail_msg("width %d heads %d window %d: off by %g", width, heads, window, worst);
        il_state_close(&state);
        free(xn), free(mix), free(x), free(w), free(want);
        model_close(model);
    }
}

/* Every split and way to run against one call on one thread of portable code. */
static void test_one_answer(void **unused) {
    (void)unused;
    enum { N = 203 };
    const int pieces[] = {N, 1, 7, 16, 63, 64, 65, 130};
    const int shapes[][4] = {{28, 2, 0, 0}, {64, 2, 0, 0},  {36, 6, 2, 0}, {24, 66, 1, 0}, {24, 3, 3, 0},
                             {28, 2, 0, 7}, {36, 6, 2, 90}, {24, 6, 3, 70}}; /* width, heads, variant, window */
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++) {
        int width = shapes[shape][0], heads = shapes[shape][1], variant = shapes[shape][2], window = shapes[shape][3];
        size_t size = (size_t)N * (size_t)width;
        float *xn = zeros(size, sizeof *xn), *want = zeros(size, sizeof *want), *got = zeros(size, sizeof *got);
        fill(xn, size, 11, 1);
        int have = 0;
        for (const lively_way *way = lively_ways(); way->threads; way++) {
            il_model *model = model_open_as(width, heads, variant, window, way->threads, way->kernels);
            for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
                il_state state;
                assert_int_equal(il_state_open(model, 0, &state, NULL), IL_OK);
                run_pieces(model, &state, N, pieces[i], xn, have ? got : want);
                if (have && memcmp(got, want, size * sizeof *got))
                    fail_msg("%s, %d threads, pieces of %d: other bits", way->kernels, way->threads, pieces[i]);
                have = 1;
                il_state_close(&state);
            }
            model_close(model);
        }
        free(xn), free(want), free(got);
    }
}

/* Ragged batches: each sequence as if alone. */
static void test_neighbours(void **unused) {
    (void)unused;
    enum { WIDTH = 32, STATES = 3, N = 160 };
    const int plan[][STATES] = {{1, 70, 13}, {64, 0, 1}, {1, 1, 1}, {94, 89, 145}};
    size_t size = (size_t)N * WIDTH;
    il_model *model = model_open(WIDTH, 2, 2, NULL);
    il_workspace work;
    assert_int_equal(il_workspace_open(model, STATES * N, &work, NULL), IL_OK);
    il_state states[STATES], *list[STATES];
    float *xn[STATES], *alone[STATES], *got[STATES];
    for (int i = 0; i < STATES; i++) {
        list[i] = &states[i];
        xn[i] = zeros(size, sizeof(float)), alone[i] = zeros(size, sizeof(float)), got[i] = zeros(size, sizeof(float));
        fill(xn[i], size, 20 + (uint32_t)i, 1);
        assert_int_equal(il_state_open(model, 0, &states[i], NULL), IL_OK);
        run_pieces(model, &states[i], N, N, xn[i], alone[i]);
        il_state_reset(&states[i]);
    }
    for (size_t step = 0; step < sizeof plan / sizeof *plan; step++) {
        const float *in[STATES];
        float *out[STATES];
        for (int i = 0; i < STATES; i++) {
            in[i] = xn[i] + states[i].position * WIDTH;
            out[i] = got[i] + states[i].position * WIDTH;
        }
        run(model, list, plan[step], STATES, in, out, NULL, &work);
    }
    for (int i = 0; i < STATES; i++) {
        assert_int_equal(states[i].position, N);
        assert_memory_equal(got[i], alone[i], size * sizeof(float));
        il_state_close(&states[i]);
        free(xn[i]), free(alone[i]), free(got[i]);
    }
    il_workspace_close(&work);
    model_close(model);
}

/* After a rewind, and with NaN in every cell behind the position, the sequence goes on as if it had never
 * been ahead. */
static void test_rewind(void **unused) {
    (void)unused;
    enum { WIDTH = 32, HEADS = 2, D = WIDTH / HEADS, N = 100, BACK = 85, END = 140 };
    size_t size = (size_t)END * WIDTH;
    il_model *model = model_open(WIDTH, HEADS, 2, NULL);
    float *xn = zeros(size, sizeof *xn), *other = zeros(size, sizeof *xn);
    float *want = zeros(size, sizeof *want), *got = zeros(size, sizeof *got);
    fill(xn, size, 30, 1);
    memcpy(other, xn, size * sizeof *xn);
    fill(other + (size_t)BACK * WIDTH, size - (size_t)BACK * WIDTH, 31, 1);
    il_state state, fresh;
    assert_int_equal(il_state_open(model, 0, &state, NULL), IL_OK);
    assert_int_equal(il_state_open(model, 0, &fresh, NULL), IL_OK);
    run_pieces(model, &fresh, END, END, xn, want);
    for (int piece = 1; piece <= END; piece *= 3) {
        il_state_reset(&state);
        run_pieces(model, &state, N, N, other, got);
        assert_true(il_state_rewind_limit(&state) <= BACK);
        il_state_rewind(&state, BACK);
        for (uint64_t p = BACK; p < IL_KV_PAGE; p++)
            for (int h = 0; h < HEADS; h++) {
                float *keys = il_state_keys(&state, p, LAYER, h), *values = keys + D * IL_KEY_BLOCK;
                for (int i = 0; i < D; i++)
                    keys[(uint64_t)i * IL_KEY_BLOCK + p % IL_KEY_BLOCK] = values[p % IL_KEY_BLOCK * D + (uint64_t)i] =
                        NAN;
            }
        memcpy(got, want, (size_t)BACK * WIDTH * sizeof *got);
        run_pieces(model, &state, END - BACK, piece, xn + (size_t)BACK * WIDTH, got + (size_t)BACK * WIDTH);
        assert_memory_equal(got, want, size * sizeof *got);
    }
    il_state_close(&state), il_state_close(&fresh);
    free(xn), free(other), free(want), free(got);
    model_close(model);
}

/* Gradients of sum(dmix * mix) against central differences of the double reference; `past` tokens came in an
 * earlier window, whose keys and values are constants. */
static void check_gradient(int width, int heads, int window, int past, int n, int threads, float *grad_out) {
    il_model *model = model_open_as(width, heads, 0, window, threads, NULL);
    size_t size = (size_t)n * (size_t)width, old = (size_t)past * (size_t)width, square = (size_t)width * (size_t)width;
    float *xn = zeros(old + size, sizeof *xn), *mix = zeros(old + size, sizeof *mix), *dmix = zeros(size, sizeof *dmix);
    float *dxn = zeros(size, sizeof *dxn), *grad = zeros(model->table.floats, sizeof *grad);
    fill(xn, old + size, 40, 1);
    fill(dmix, size, 41, 1);
    il_state state;
    il_tape tape;
    il_workspace work;
    il_backspace space;
    assert_int_equal(il_state_open(model, 0, &state, NULL), IL_OK);
    assert_int_equal(il_tape_open(model, 1, n, 0, &tape, NULL), IL_OK);
    assert_int_equal(il_workspace_open(model, n, &work, NULL), IL_OK);
    assert_int_equal(il_backspace_open(model, n, &space, NULL), IL_OK);
    if (past) run_pieces(model, &state, past, past, xn, mix);
    il_state *list = &state;
    const float *in = xn + old;
    run(model, &list, &n, 1, &in, NULL, &tape, &work);
    il_segment segment = {0, n, &state};
    il_pass pass = {.model = model, .work = &work, .tape = &tape, .segments = &segment, .n_segments = 1, .tokens = n};
    pass.inner_lr = 1;
    model->layers[LAYER].mixer->backward(&pass, LAYER, dmix, dxn, grad, &space);
    if (grad_out) memcpy(grad_out, grad, model->table.floats * sizeof *grad);

    double *x = doubles(old + size, xn), *w = weights(model), *y = zeros(size, sizeof *y), worst = 0, total = 0;
    double *past_k = zeros(old, sizeof *past_k), *past_v = zeros(old, sizeof *past_v);
    project(past, 0, width, heads, x, w + square, 1, past_k);
    project(past, 0, width, heads, x, w + 2 * square, 0, past_v);
    const il_layer *l = &model->layers[LAYER];
    const size_t at[] = {l->wq.at, l->wk.at, l->wv.at, l->wo.at};
    for (uint64_t probe = 0; probe < 60; probe++) {
        uint32_t r[4];
        il_philox(9, IL_PURPOSE_TEST, 50, probe, r);
        int which = (int)(probe % 5); /* four matrices, then xn */
        size_t i = r[0] % (which < 4 ? square : size);
        double *cell = which < 4 ? w + (size_t)which * square + i : x + old + i, keep = *cell, sums[2];
        for (int side = 0; side < 2; side++) {
            *cell = keep + (side ? -1e-5 : 1e-5);
            reference(past, n, width, heads, window, past_k, past_v, x + old, w, y);
            sums[side] = 0;
            for (size_t j = 0; j < size; j++) sums[side] += (double)dmix[j] * y[j];
        }
        *cell = keep;
        double want = (sums[0] - sums[1]) / 2e-5, got = (double)(which < 4 ? grad[at[which] + i] : dxn[i]);
        worst = fmax(worst, fabs(want - got));
        total += fabs(want) / 60;
    }
    if (!(worst < 2e-4 * (1 + total))) fail_msg("past %d, n %d: off by %g of %g", past, n, worst, total);
    il_state_close(&state), il_tape_close(&tape), il_workspace_close(&work), il_backspace_close(&space);
    free(xn), free(mix), free(dmix), free(dxn), free(grad), free(x), free(w), free(y), free(past_k), free(past_v);
    model_close(model);
}

static void test_gradient(void **unused) {
    (void)unused;
    check_gradient(16, 2, 0, 0, 40, 2, NULL);
    check_gradient(12, 1, 0, 0, 150, 2, NULL);
    check_gradient(12, 2, 0, 80, 70, 2, NULL); /* the window begins inside a key block */
    check_gradient(8, 1, 0, 64, 65, 2, NULL);
    check_gradient(8, 2, 0, 0, 1, 1, NULL);
    check_gradient(8, 1, 9, 0, 100, 2, NULL);
    check_gradient(12, 2, 70, 150, 140, 2, NULL); /* the ring has gone, the tape has what the window sees of it */
}

/* A ring that has come round many times: any split gives the bits of one pass, which goes through it in stretches; so
 * does a rewind by up to two mini-batches, whatever the cells hold that a query does not see. */
static void test_sliding(void **unused) {
    (void)unused;
    enum { WIDTH = 16, N = 1700, BACK = 31 };
    size_t size = (size_t)N * WIDTH;
    float *xn = zeros(size, sizeof *xn), *want = zeros(size, sizeof *want), *got = zeros(size, sizeof *got);
    fill(xn, size, 60, 1);
    for (int window = 1; window <= 130; window += 43) {
        const int pieces[] = {1, 15, 64, 200, 512};
        il_model *model = model_open_as(WIDTH, 2, 0, window, 2, NULL);
        il_state state;
        assert_int_equal(il_state_open(model, 0, &state, NULL), IL_OK);
        size_t bytes = il_state_bytes(&state);
        run_pieces(model, &state, N, N, xn, want);
        assert_true(il_state_bytes(&state) == bytes); /* constant memory */
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            il_state_reset(&state);
            run_pieces(model, &state, N, pieces[i], xn, got);
            assert_memory_equal(got, want, size * sizeof *got);
            uint64_t back = il_state_rewind_limit(&state);
            assert_true(N - back <= BACK && N - back >= BACK - 15);
            il_state_rewind(&state, back);
            memset(got + back * WIDTH, 0, (N - back) * WIDTH * sizeof *got);
            run_pieces(model, &state, (int)(N - back), pieces[i], xn + back * WIDTH, got + back * WIDTH);
            assert_memory_equal(got, want, size * sizeof *got);
        }
        il_state_close(&state);
        model_close(model);
    }
    free(xn), free(want), free(got);
}

static void test_gradient_threads(void **unused) {
    (void)unused;
    size_t floats = 20000;
    float *one = zeros(floats, sizeof *one), *three = zeros(floats, sizeof *three);
    check_gradient(24, 2, 0, 32, 100, 1, one);
    check_gradient(24, 2, 0, 32, 100, 3, three);
    assert_memory_equal(one, three, floats * sizeof *one);
    free(one), free(three);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double),   cmocka_unit_test(test_one_answer), cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_rewind),           cmocka_unit_test(test_gradient),   cmocka_unit_test(test_sliding),
        cmocka_unit_test(test_gradient_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
