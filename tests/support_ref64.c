/* support_ref64.c: the reference of support_ref64.h. Written for reading against the definition of the
 * models; nothing here is fast, and nothing is shared with the library. */
#include "support_ref64.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void give_up(const char *what, const char *name) {
    fprintf(stderr, "ref64: %s %s\n", what, name);
    abort();
}

static double *zeros(size_t n) {
    double *x = calloc(n ? n : 1, sizeof *x);
    if (!x) give_up("out of memory", "");
    return x;
}

static double *copy(const double *from, size_t n) { return memcpy(zeros(n), from, n * sizeof *from); }

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static double gelu(double x) { return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x))); }

static double gelu_slope(double x) {
    double c = sqrt(2.0 / acos(-1.0)), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044715 * x * x);
}

/* ---- one head's inner loop ---- */

#define INNER_EPS 1e-6

/* y = x W + bias, W [in, out]; bias NULL: none */
static void affine(int in, int out, const double *x, const double *w, const double *bias, double *y) {
    for (int c = 0; c < out; c++) {
        y[c] = bias ? bias[c] : 0.0;
        for (int r = 0; r < in; r++) y[c] += x[r] * w[r * out + c];
    }
}

/* xhat = (z - mean) / s; returns s */
static double normalize(int d, const double *z, double *xhat) {
    double mean = 0.0, var = 0.0;
    for (int c = 0; c < d; c++) mean += z[c] / d;
    for (int c = 0; c < d; c++) var += (z[c] - mean) * (z[c] - mean) / d;
    double s = sqrt(var + INNER_EPS);
    for (int c = 0; c < d; c++) xhat[c] = (z[c] - mean) / s;
    return s;
}

/* g = d/dz of 1/2 |norm(z) - target|² */
static void loss_gradient(const ref64_rule *r, const double *z, const double *target, double *g) {
    int d = r->d;
    if (r->no_ln) {
        for (int c = 0; c < d; c++) g[c] = z[c] - target[c];
        return;
    }
    double *xhat = zeros((size_t)d), mean = 0.0, dot = 0.0, s = normalize(d, z, xhat);
    for (int c = 0; c < d; c++) {
        g[c] = (r->gamma[c] * xhat[c] + r->beta[c] - target[c]) * r->gamma[c];
        mean += g[c] / d;
        dot += g[c] * xhat[c] / d;
    }
    for (int c = 0; c < d; c++) g[c] = (g[c] - mean - xhat[c] * dot) / s;
    free(xhat);
}

/* The fast weights of a head: one layer or two, or a gradient of the same shape. */
typedef struct fast {
    int layers;
    int in[2], out[2];
    double *w[2], *bias[2];
    size_t count;
    double *block;
} fast;

static fast fast_new(const ref64_rule *r) {
    int h = r->mlp ? 4 * r->d : r->d;
    fast f = {.layers = r->mlp ? 2 : 1, .in = {r->d, h}, .out = {h, r->d}};
    for (int l = 0; l < f.layers; l++) f.count += (size_t)(f.in[l] + 1) * (size_t)f.out[l];
    double *at = f.block = zeros(f.count);
    for (int l = 0; l < f.layers; l++) {
        f.w[l] = at;
        f.bias[l] = at + f.in[l] * f.out[l];
        at = f.bias[l] + f.out[l];
    }
    return f;
}

size_t ref64_state_count(const ref64_rule *rule) {
    fast f = fast_new(rule);
    free(f.block);
    return f.count;
}

static void fast_start(const ref64_rule *r, fast *f) {
    const double *w[2] = {r->w1, r->w2}, *bias[2] = {r->b1, r->b2};
    for (int l = 0; l < f->layers; l++) {
        memcpy(f->w[l], w[l], (size_t)(f->in[l] * f->out[l]) * sizeof(double));
        if (!r->no_bias) memcpy(f->bias[l], bias[l], (size_t)f->out[l] * sizeof(double));
    }
}

/* total += scale * (gradient of the layer's weights: x^T g, and g for the bias) */
static void add_outer(const ref64_rule *r, fast *total, int layer, double scale, const double *x, const double *g) {
    int in = total->in[layer], out = total->out[layer];
    for (int i = 0; i < in; i++)
        for (int c = 0; c < out; c++) total->w[layer][i * out + c] += scale * x[i] * g[c];
    for (int c = 0; c < out && !r->no_bias; c++) total->bias[layer][c] += scale * g[c];
}

/* total += lr * d loss(token) / d weights at w */
static void add_gradient(const ref64_rule *r, const fast *w, double lr, const double *k, const double *v, fast *total) {
    int d = r->d, h = w->out[0];
    double *target = zeros((size_t)d), *z1 = zeros((size_t)h), *x2 = zeros((size_t)h), *z2 = zeros((size_t)d);
    double *g = zeros((size_t)d), *g1 = zeros((size_t)h);
    for (int c = 0; c < d; c++) target[c] = v[c] - (r->no_residual ? 0.0 : k[c]);
    affine(d, h, k, w->w[0], w->bias[0], z1);
    if (!r->mlp) {
        loss_gradient(r, z1, target, g);
        add_outer(r, total, 0, lr, k, g);
    } else {
        for (int c = 0; c < h; c++) x2[c] = gelu(z1[c]);
        affine(h, d, x2, w->w[1], w->bias[1], z2);
        loss_gradient(r, z2, target, g);
        for (int i = 0; i < h; i++) {
            for (int c = 0; c < d; c++) g1[i] += g[c] * w->w[1][i * d + c];
            g1[i] *= gelu_slope(z1[i]);
        }
        add_outer(r, total, 0, lr, k, g1);
        add_outer(r, total, 1, lr, x2, g);
    }
    free(target), free(z1), free(x2), free(z2), free(g), free(g1);
}

/* out = q + norm(network(q)) */
static void answer(const ref64_rule *r, const fast *w, const double *q, double *out) {
    int d = r->d, h = w->out[0];
    double *z1 = zeros((size_t)h), *z = zeros((size_t)d), *xhat = zeros((size_t)d);
    affine(d, h, q, w->w[0], w->bias[0], z1);
    if (r->mlp) {
        for (int c = 0; c < h; c++) z1[c] = gelu(z1[c]);
        affine(h, d, z1, w->w[1], w->bias[1], z);
    } else {
        memcpy(z, z1, (size_t)d * sizeof *z);
    }
    if (!r->no_ln) normalize(d, z, xhat);
    for (int c = 0; c < d; c++) {
        out[c] = r->no_ln ? z[c] : r->gamma[c] * xhat[c] + r->beta[c];
        if (!r->no_residual) out[c] += q[c];
    }
    free(z1), free(z), free(xhat);
}

void ref64_inner(const ref64_rule *r, int n, const double *q, const double *k, const double *v, const double *gate,
                 double *out, double *state) {
    fast start = fast_new(r), total = fast_new(r), now = fast_new(r), first = fast_new(r);
    double keep = r->decay ? sigmoid(6.0 + 2.0 * *r->decay) : 1.0, rate = r->tok[r->b - 1];
    if (r->step) rate = 8.0 * sigmoid(2.0 * *r->step - log(7.0)) / r->b;
    fast_start(r, &start);
    fast_start(r, &first);
    for (int t = 0; t < n; t++) {
        int i = t % r->b;
        double lr = r->lr_scale * sigmoid(gate[t]);
        if (i == 0) memset(total.block, 0, total.count * sizeof(double));
        add_gradient(r, &start, lr, k + t * r->d, v + t * r->d, &total);
        for (size_t e = 0; e < now.count; e++) now.block[e] = start.block[e] - r->tok[i] * total.block[e];
        answer(r, &now, q + t * r->d, out + t * r->d);
        if (i < r->b - 1) continue;
        for (size_t e = 0; e < start.count; e++)
            start.block[e] = first.block[e] + keep * (start.block[e] - first.block[e]) - rate * total.block[e];
    }
    if (state) memcpy(state, start.block, start.count * sizeof(double));
    free(start.block), free(total.block), free(now.block), free(first.block);
}

/* ---- weights by name ---- */

double *ref64_weights_add(ref64_weights *w, const char *name, size_t count) {
    ref64_tensor *grown = realloc(w->tensors, (w->n + 1) * sizeof *grown);
    if (!grown) give_up("out of memory for", name);
    w->tensors = grown;
    ref64_tensor *t = &w->tensors[w->n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->count = count;
    t->data = zeros(count);
    return t->data;
}

double *ref64_weights_add_f32(ref64_weights *w, const char *name, size_t count, const float *data) {
    double *to = ref64_weights_add(w, name, count);
    for (size_t i = 0; i < count; i++) to[i] = (double)data[i];
    return to;
}

double *ref64_weights_get(const ref64_weights *w, const char *name, size_t *count) {
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->tensors[i].name, name)) {
            if (count) *count = w->tensors[i].count;
            return w->tensors[i].data;
        }
    return NULL;
}

void ref64_weights_free(ref64_weights *w) {
    for (size_t i = 0; i < w->n; i++) free(w->tensors[i].data);
    free(w->tensors);
    *w = (ref64_weights){0};
}

/* ---- the whole model ---- */

static const double *weight(const ref64_model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const double *weight(const ref64_model *m, const char *format, ...) {
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const double *data = m->lookup ? m->lookup(m->user, name) : ref64_weights_get(m->user, name, NULL);
    if (!data) give_up("the model has no tensor", name);
    return data;
}

/* y [n, out] = x [n, in] W^T, W [out, in] */
static double *project(int n, int in, int out, const double *x, const double *w) {
    double *y = zeros((size_t)n * (size_t)out);
    for (int t = 0; t < n; t++)
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++) y[t * out + o] += x[t * in + i] * w[o * in + i];
    return y;
}

static double *rms_norm(const il_config *c, int n, const double *x, const double *w) {
    int width = c->width;
    double eps = c->rms_norm_eps, more = c->norm_offset ? 1.0 : 0.0;
    double *y = zeros((size_t)n * (size_t)width);
    for (int t = 0; t < n; t++) {
        const double *from = x + t * width;
        double square = 0.0;
        for (int i = 0; i < width; i++) square += from[i] * from[i] / width;
        for (int i = 0; i < width; i++) y[t * width + i] = (w[i] + more) * from[i] / sqrt(square + eps);
    }
    return y;
}

/* y[t] = bias + sum_k w[:,0,k] x[t-taps+1+k], x = 0 before the first token; bias NULL: none */
static double *convolve(int n, int width, int taps, const double *x, const double *w, const double *bias) {
    double *y = zeros((size_t)n * (size_t)width);
    for (int t = 0; t < n; t++)
        for (int c = 0; c < width; c++) {
            y[t * width + c] = bias ? bias[c] : 0.0;
            for (int k = 0; k < taps; k++) {
                int from = t - taps + 1 + k;
                if (from >= 0) y[t * width + c] += w[c * taps + k] * x[from * width + c];
            }
        }
    return y;
}

static void add(size_t n, double *x, const double *y) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

/* Rotates the pair (x[a], x[b]) number m of d/2 by position * theta^(-2m/d). */
static void rotate(const il_config *c, int d, int position, int m, double *a, double *b) {
    double angle = position * pow(c->rope_theta, -2.0 * m / d), x = *a, y = *b;
    *a = x * cos(angle) - y * sin(angle);
    *b = x * sin(angle) + y * cos(angle);
}

static int kind_of(const il_config *c, int layer) { return c->n_layer_types ? c->layer_types[layer] : (int)c->mixer; }

/* x [n, D]: x is the mixer's normed input -> the heads' outputs after post norm and gate, before the output
 * projection */
static double *ttt_mixer(const ref64_model *m, int layer, int n, const double *x) {
    const il_config *c = &m->config;
    int width = c->width, heads = c->heads, d = width / heads, b = c->mini_batch, taps = c->conv_kernel;
    size_t total = (size_t)n * (size_t)width;
    char p[64];
    snprintf(p, sizeof p, "model.layers.%d.seq_modeling_block", layer);
    double *xq = project(n, width, width, x, weight(m, "%s.q_proj.weight", p)), *q, *k;
    if (c->share_qk) {
        q = convolve(n, width, taps, xq, weight(m, "%s.conv_q.weight", p), weight(m, "%s.conv_q.bias", p));
        k = convolve(n, width, taps, xq, weight(m, "%s.conv_k.weight", p), weight(m, "%s.conv_k.bias", p));
    } else {
        q = copy(xq, total);
        k = project(n, width, width, x, weight(m, "%s.k_proj.weight", p));
    }
    double *v = project(n, width, width, x, weight(m, "%s.v_proj.weight", p));
    double *gate = project(n, width, heads, x, weight(m, "%s.learnable_ttt_lr_weight", p));
    const double *gate_bias = weight(m, "%s.learnable_ttt_lr_bias", p), *idx = weight(m, "%s.learnable_token_idx", p);
    double *tok = zeros((size_t)b), *z = zeros(total);
    for (int i = 0; i < b; i++) tok[i] = fmax(0.0, 1.0 / (i + 1) + idx[i]);

    int mlp = kind_of(c, layer) == IL_MIXER_TTT_MLP, h = mlp ? 4 * d : d;
    size_t per_head = (size_t)n * (size_t)d;
    double *hq = zeros(per_head), *hk = zeros(per_head), *hv = zeros(per_head), *hg = zeros((size_t)n);
    double *hz = zeros(per_head);
    for (int head = 0; head < heads; head++) {
        for (int t = 0; t < n; t++) {
            for (int e = 0; e < d; e++) {
                hq[t * d + e] = q[t * width + head * d + e];
                hk[t * d + e] = k[t * width + head * d + e];
                hv[t * d + e] = v[t * width + head * d + e];
            }
            for (int e = 0; e < d / 2; e++) { /* interleaved pairs, position inside the mini-batch */
                rotate(c, d, t % b, e, &hq[t * d + 2 * e], &hq[t * d + 2 * e + 1]);
                rotate(c, d, t % b, e, &hk[t * d + 2 * e], &hk[t * d + 2 * e + 1]);
            }
            hg[t] = gate[t * heads + head] + gate_bias[head];
        }
        ref64_rule r = {.mlp = mlp, .d = d, .b = b, .lr_scale = m->inner_lr * c->ttt_base_lr / d, .tok = tok};
        r.w1 = weight(m, "%s.W1", p) + head * d * h;
        r.b1 = weight(m, "%s.b1", p) + head * h;
        r.w2 = mlp ? weight(m, "%s.W2", p) + head * h * d : NULL;
        r.b2 = mlp ? weight(m, "%s.b2", p) + head * d : NULL;
        r.decay = kind_of(c, layer) == IL_MIXER_TTT_LINEAR_DECAY ? weight(m, "%s.ttt_decay", p) + head : NULL;
        r.step = r.decay ? weight(m, "%s.ttt_step", p) + head : NULL;
        r.gamma = weight(m, "%s.ttt_norm_weight", p) + head * d;
        r.beta = weight(m, "%s.ttt_norm_bias", p) + head * d;
        ref64_inner(&r, n, hq, hk, hv, hg, hz, NULL);
        for (int t = 0; t < n; t++) memcpy(z + t * width + head * d, hz + t * d, (size_t)d * sizeof *z);
    }

    const double *norm_w = weight(m, "%s.post_norm.weight", p), *norm_b = weight(m, "%s.post_norm.bias", p);
    double *xhat = zeros((size_t)width);
    for (int t = 0; t < n; t++) {
        normalize(width, z + t * width, xhat);
        for (int e = 0; e < width; e++) z[t * width + e] = norm_w[e] * xhat[e] + norm_b[e];
    }
    if (c->use_gate) {
        double *g = project(n, width, width, x, weight(m, "%s.g_proj.weight", p));
        for (size_t i = 0; i < total; i++) z[i] *= gelu(g[i]);
        free(g);
    }
    free(xq), free(q), free(k), free(v), free(gate), free(tok), free(hq), free(hk), free(hv), free(hg), free(hz);
    free(xhat);
    return z;
}

/* Frequency m of a head of attention, of which `turned` numbers turn. */
static double frequency(const il_config *c, int turned, int m) {
    double f = pow(c->rope_theta, -2.0 * m / turned), wave = 2.0 * acos(-1.0) / f, n = c->rope_positions;
    double low = c->rope_low_frequency, high = c->rope_high_frequency;
    if (c->rope_scaling == IL_ROPE_LINEAR) return f / c->rope_factor;
    if (c->rope_scaling == IL_ROPE_PLAIN || wave < n / high) return f;
    if (wave > n / low) return f / c->rope_factor;
    double s = (n / wave - low) / (high - low);
    return (1.0 - s) * f / c->rope_factor + s * f;
}

/* y [n, heads stride] : what the projection gives, with its bias if there is one. */
static double *biased(const ref64_model *m, int layer, const char *name, int bias, int n, int out, const double *x) {
    double *y = project(n, m->config.width, out, x, weight(m, "model.layers.%d.self_attn.%s.weight", layer, name));
    const double *b = bias ? weight(m, "model.layers.%d.self_attn.%s.bias", layer, name) : NULL;
    for (int i = 0; b && i < n * out; i++) y[i] += b[i % out];
    return y;
}

/* One head x [d] at a position, in place: norm, then RoPE on the first `turned` numbers. */
static void turn_head(const ref64_model *m, int layer, const char *norm, int d, int turned, int position, double *x) {
    const il_config *c = &m->config;
    if (c->qk_norm) {
        const double *w = weight(m, "model.layers.%d.self_attn.%s.weight", layer, norm);
        double square = 0.0;
        for (int e = 0; e < d; e++) square += x[e] * x[e] / d;
        for (int e = 0; e < d; e++) x[e] *= (w[e] + !!c->norm_offset) / sqrt(square + c->rms_norm_eps);
    }
    for (int e = 0; e < turned / 2; e++) { /* half-split pairs, position in the sequence */
        double angle = position * frequency(c, turned, e), a = x[e], b = x[e + turned / 2];
        x[e] = a * cos(angle) - b * sin(angle);
        x[e + turned / 2] = a * sin(angle) + b * cos(angle);
    }
}

/* z [n, heads d]: outputs before the output projection. */
static double *attention_mixer(const ref64_model *m, int layer, int n, const double *x) {
    const il_config *c = &m->config;
    int heads = c->heads, kv = c->kv_heads ? c->kv_heads : heads, d = c->head_width ? c->head_width : c->width / heads;
    int turned = c->rotary_width ? c->rotary_width : d, stride = c->attention_gate ? 2 * d : d;
    int window = kind_of(c, layer) == IL_MIXER_SLIDING_ATTENTION ? c->sliding_window : 0;
    double *q = biased(m, layer, "q_proj", c->attention_bias, n, heads * stride, x);
    double *k = biased(m, layer, "k_proj", c->attention_bias, n, kv * d, x);
    double *v = biased(m, layer, "v_proj", c->attention_bias, n, kv * d, x);
    double *z = zeros((size_t)n * (size_t)(heads * d)), *p = zeros((size_t)n);
    for (int t = 0; t < n; t++) {
        for (int h = 0; h < heads; h++) turn_head(m, layer, "q_norm", d, turned, t, q + (t * heads + h) * stride);
        for (int h = 0; h < kv; h++) turn_head(m, layer, "k_norm", d, turned, t, k + (t * kv + h) * d);
    }
    for (int head = 0; head < heads; head++)
        for (int t = 0; t < n; t++) {
            const double *query = q + (t * heads + head) * stride;
            double most = -HUGE_VAL, sum = 0.0, *out = z + (t * heads + head) * d;
            int first = window && t >= window ? t - window + 1 : 0;
            for (int s = first; s <= t; s++) {
                const double *key = k + (s * kv + head / (heads / kv)) * d;
                p[s] = 0.0;
                for (int e = 0; e < d; e++) p[s] += query[e] * key[e] / sqrt(d);
                most = fmax(most, p[s]);
            }
            for (int s = first; s <= t; s++) sum += p[s] = exp(p[s] - most);
            for (int s = first; s <= t; s++)
                for (int e = 0; e < d; e++) out[e] += p[s] / sum * v[(s * kv + head / (heads / kv)) * d + e];
            for (int e = 0; c->attention_gate && e < d; e++) out[e] *= sigmoid(query[d + e]);
        }
    free(q), free(k), free(v), free(p);
    return z;
}

/* y = x / sqrt(x·x + 1e-6) scale */
static void unit(int d, const double *x, double scale, double *y) {
    double sum = 1e-6;
    for (int e = 0; e < d; e++) sum += x[e] * x[e];
    for (int e = 0; e < d; e++) y[e] = x[e] / sqrt(sum) * scale;
}

/* The gated delta rule token by token, with norm and gate. */
static double *delta_mixer(const ref64_model *m, int layer, int n, const double *x) {
    const il_config *c = &m->config;
    int width = c->width, keys = c->delta_key_heads, heads = c->delta_value_heads, dk = c->delta_key_width;
    int dv = c->delta_value_width, values = heads * dv, channels = 2 * keys * dk + values, shared = heads / keys;
    char p[64];
    snprintf(p, sizeof p, "model.layers.%d.linear_attn", layer);
    double *u = project(n, width, channels, x, weight(m, "%s.in_proj_qkv.weight", p));
    double *y = convolve(n, channels, c->delta_taps, u, weight(m, "%s.conv1d.weight", p), NULL);
    for (size_t i = 0; i < (size_t)n * (size_t)channels; i++) y[i] *= sigmoid(y[i]);
    double *gate = project(n, width, values, x, weight(m, "%s.in_proj_z.weight", p));
    double *b = project(n, width, heads, x, weight(m, "%s.in_proj_b.weight", p));
    double *a = project(n, width, heads, x, weight(m, "%s.in_proj_a.weight", p));
    const double *decay = weight(m, "%s.A_log", p), *bias = weight(m, "%s.dt_bias", p);
    const double *norm = weight(m, "%s.norm.weight", p);
    double *z = zeros((size_t)n * (size_t)values), *q = zeros((size_t)dk), *k = zeros((size_t)dk);
    for (int h = 0; h < heads; h++) {
        double *S = zeros((size_t)dk * (size_t)dv);
        if (c->delta_learned_start) memcpy(S, weight(m, "%s.S0", p) + h * dk * dv, (size_t)(dk * dv) * sizeof *S);
        for (int t = 0; t < n; t++) {
            const double *row = y + t * channels, *v = row + 2 * keys * dk + h * dv;
            double rate = sigmoid(b[t * heads + h]), square = 0.0, *o = z + t * values + h * dv;
            double keep = exp(-exp(decay[h]) * log1p(exp(a[t * heads + h] + bias[h])));
            unit(dk, row + h / shared * dk, 1.0 / sqrt(dk), q);
            unit(dk, row + (keys + h / shared) * dk, 1.0, k);
            for (int i = 0; i < dk * dv; i++) S[i] *= keep;
            for (int e = 0; e < dv; e++) {
                double error = v[e];
                for (int i = 0; i < dk; i++) error -= k[i] * S[i * dv + e];
                for (int i = 0; i < dk; i++) {
                    S[i * dv + e] += k[i] * rate * error;
                    o[e] += q[i] * S[i * dv + e];
                }
                square += o[e] * o[e] / dv;
            }
            for (int e = 0; e < dv; e++) {
                double g = gate[t * values + h * dv + e];
                o[e] *= norm[e] / sqrt(square + c->rms_norm_eps) * g * sigmoid(g);
            }
        }
        free(S);
    }
    free(u), free(y), free(gate), free(b), free(a), free(q), free(k);
    return z;
}

void ref64_logits(const ref64_model *m, const int32_t *tokens, int n, double *logits) {
    const il_config *c = &m->config;
    int width = c->width, ffn = c->ffn_width;
    size_t total = (size_t)n * (size_t)width;
    const double *embed = weight(m, "model.embed_tokens.weight");
    double *x = zeros(total);
    for (int t = 0; t < n; t++) memcpy(x + t * width, embed + (ptrdiff_t)tokens[t] * width, (size_t)width * sizeof *x);
    for (int k = 0; k < c->n_taps; k++) {
        char name[48];
        snprintf(name, sizeof name, "model.embed_taps.%d", k);
        const double *tap = weight(m, "%s.weight", name);
        for (int t = c->taps[k] - 1; t < n; t++)
            add((size_t)width, x + t * width, tap + (ptrdiff_t)tokens[t + 1 - c->taps[k]] * width);
    }
    for (int l = 0; l < c->layers; l++) {
        char p[32];
        int delta = kind_of(c, l) == IL_MIXER_GATED_DELTA;
        int attention = kind_of(c, l) == IL_MIXER_SELF_ATTENTION || kind_of(c, l) == IL_MIXER_SLIDING_ATTENTION;
        int ttt = !attention && !delta, inner = delta ? c->delta_value_heads * c->delta_value_width : width;
        if (attention && c->head_width) inner = c->heads * c->head_width;
        snprintf(p, sizeof p, "model.layers.%d", l);
        if (c->pre_conv && ttt) {
            double *norm = rms_norm(c, n, x, weight(m, "%s.conv.norm.weight", p));
            double *y = convolve(n, width, c->conv_kernel, norm, weight(m, "%s.conv.conv.weight", p),
                                 weight(m, "%s.conv.conv.bias", p));
            add(total, x, y);
            free(norm), free(y);
        }
        double *norm = rms_norm(c, n, x, weight(m, "%s.%s.weight", p, ttt ? "seq_norm" : "input_layernorm"));
        double *z = attention ? attention_mixer(m, l, n, norm)
                    : delta   ? delta_mixer(m, l, n, norm)
                              : ttt_mixer(m, l, n, norm);
        double *y = project(n, inner, width, z,
                            weight(m, "%s.%s.weight", p,
                                   attention ? "self_attn.o_proj"
                                   : delta   ? "linear_attn.out_proj"
                                             : "seq_modeling_block.o_proj"));
        if (attention && c->attention_output_bias)
            for (size_t i = 0; i < total; i++) y[i] += weight(m, "%s.self_attn.o_proj.bias", p)[i % (size_t)width];
        add(total, x, y);
        free(norm), free(z), free(y);

        norm = rms_norm(c, n, x, weight(m, "%s.%s.weight", p, ttt ? "ffn_norm" : "post_attention_layernorm"));
        double *h1 = project(n, width, ffn, norm, weight(m, "%s.mlp.gate_proj.weight", p));
        double *h3 = project(n, width, ffn, norm, weight(m, "%s.mlp.up_proj.weight", p));
        for (size_t i = 0; i < (size_t)n * (size_t)ffn; i++) h1[i] *= sigmoid(h1[i]) * h3[i];
        y = project(n, ffn, width, h1, weight(m, "%s.mlp.down_proj.weight", p));
        add(total, x, y);
        free(norm), free(h1), free(h3), free(y);
    }
    double *norm = rms_norm(c, n, x, weight(m, "model.norm.weight"));
    double *y = project(n, width, c->vocab_size, norm, c->tie_word_embeddings ? embed : weight(m, "lm_head.weight"));
    memcpy(logits, y, (size_t)n * (size_t)c->vocab_size * sizeof *y);
    free(x), free(norm), free(y);
}

void ref64_nll(const ref64_model *m, const int32_t *tokens, int n, double *nll) {
    int vocab = m->config.vocab_size;
    double *logits = zeros((size_t)n * (size_t)vocab);
    ref64_logits(m, tokens, n, logits);
    for (int t = 0; t < n; t++) {
        const double *row = logits + t * vocab;
        double most = -HUGE_VAL, sum = 0.0;
        for (int o = 0; o < vocab; o++) most = fmax(most, row[o]);
        for (int o = 0; o < vocab; o++) sum += exp(row[o] - most);
        nll[t] = log(sum) + most - row[tokens[t + 1]];
    }
    free(logits);
}

double ref64_loss(const ref64_model *m, const int32_t *tokens, int sequences, int length) {
    double *nll = zeros((size_t)length), loss = 0.0;
    for (int s = 0; s < sequences; s++) {
        const int32_t *sequence = tokens + (ptrdiff_t)s * (length + 1);
        double sum = 0.0;
        int valid = 0;
        ref64_nll(m, sequence, length, nll);
        for (int t = 0; t < length; t++)
            if (sequence[t + 1] != m->config.bos_token) sum += nll[t], valid++;
        if (valid) loss += sum / valid / sequences;
    }
    free(nll);
    return loss;
}

double ref64_slope(const ref64_model *m, const int32_t *tokens, int sequences, int length, double *entry, double h) {
    double at = *entry;
    *entry = at + h;
    double up = ref64_loss(m, tokens, sequences, length);
    *entry = at - h;
    double down = ref64_loss(m, tokens, sequences, length);
    *entry = at;
    return (up - down) / (2.0 * h);
}
