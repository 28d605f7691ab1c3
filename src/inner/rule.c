/* rule.c: see rule.h. */
#include "inner/rule.h"

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
