/* rules.c: the table of inner rules, and what every rule needs of its inputs: learning rates, stacked keys
 * and queries, targets. Refuses to know any one rule's mathematics. */
#include "inner/dual.h"
#include <string.h>

const il_rule *il_rule_of(il_mixer_kind mixer) {
    switch (mixer) {
    case IL_MIXER_TTT_LINEAR: return &il_rule_linear;
    case IL_MIXER_TTT_LINEAR_DECAY: return &il_rule_linear_decay;
    case IL_MIXER_TTT_MLP: return &il_rule_mlp;
    case IL_MIXER_SELF_ATTENTION: break;
    }
    return NULL;
}

void il_rule_rates(const il_inner_head *head, const il_rows_in *in, float *lr) {
    size_t n = (size_t)in->n;
    for (int i = 0; i < in->n; i++) lr[i] = in->gate[i * in->ld_gate];
    head->kernels->sigmoid(n, lr, lr);
    head->kernels->scale(n, head->lr_scale, lr, lr);
}

/* lr = s·σ(gate), so dlr/dgate = s·σ(1-σ) = lr (1 - lr/s). */
void il_rule_rates_backward(const il_inner_head *head, int n, const float *lr, const float *dlr, float *dgate,
                            ptrdiff_t ld_gate) {
    float s = head->lr_scale;
    for (int i = 0; i < n; i++) dgate[i * ld_gate] = s > 0.0f ? dlr[i] * lr[i] * (1.0f - lr[i] / s) : 0.0f;
}

void il_rule_stack(const il_rows_in *in, int d, float *kq) {
    size_t row = (size_t)d * sizeof *kq;
    for (int i = 0; i < in->n; i++) {
        memcpy(kq + i * d, in->k + i * in->ld, row);
        memcpy(kq + (in->n + i) * d, in->q + i * in->ld, row);
    }
}

/* y = a - b; fma(-1, b, a) rounds once, as a - b does. */
static void subtract(const il_kernels *k, int n, const float *a, const float *b, float *y) {
    memcpy(y, a, (size_t)n * sizeof *y);
    k->axpy((size_t)n, -1.0f, b, y);
}

void il_rule_targets(const il_kernels *k, const il_rows_in *in, int d, float *target) {
    for (int i = 0; i < in->n; i++) subtract(k, d, in->v + i * in->ld, in->k + i * in->ld, target + i * d);
}

void il_rule_scatter(const il_kernels *k, const il_rows_in *in, int d, const float *dk, const float *dq,
                     const float *dtarget, const il_rows_grad *grad) {
    size_t row = (size_t)d * sizeof *dq;
    for (int i = 0; i < in->n; i++) {
        memcpy(grad->dq + i * in->ld, dq + i * d, row);
        subtract(k, d, dk + i * d, dtarget + i * d, grad->dk + i * in->ld);
        memcpy(grad->dv + i * in->ld, dtarget + i * d, row);
    }
}

void il_rule_fill(float *to, const float *from, size_t n, size_t total) {
    memcpy(to, from, n * sizeof *to);
    if (total > n) memset(to + n, 0, (total - n) * sizeof *to);
}

void il_rule_trim(float *x, int rows, int n, int ld) {
    for (int r = 0; r < rows; r++) memset(x + (ptrdiff_t)r * ld + n, 0, (size_t)(ld - n) * sizeof *x);
}

double il_rule_loss(const il_kernels *k, int n, int d, float *f, const float *key, const float *v, ptrdiff_t ld_v) {
    double total = 0;
    for (int i = 0; i < n; i++) {
        float *row = f + i * d;
        k->add((size_t)d, row, key + i * d, row);
        k->axpy((size_t)d, -1.0f, v + i * ld_v, row);
        total += 0.5 * k->sum_squares((size_t)d, row);
    }
    return total;
}
