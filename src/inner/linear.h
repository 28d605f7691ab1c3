/* linear.h: what rules whose inner network is TTT-Linear's share of linear.c. They differ in what becomes of the fast
 * weights after a mini-batch, and in nothing that a token reads. Their first tensors are linear's, in its order. */
#ifndef IL_INNER_LINEAR_H
#define IL_INNER_LINEAR_H

#include "inner/rule.h"

extern const il_rule il_rule_linear;
/* Its functions, by il_rule's names. */
void il_ttt_linear_begin(const il_inner_head *head, float *carry);
void il_ttt_linear_trim(int d, int b, float *rows, int n);
void il_ttt_linear_rows(const il_inner_head *head, const float *carry, float *rows, int r0, const il_rows_in *in,
                        float *out, ptrdiff_t ld_out, float *scratch);
double il_ttt_linear_loss(const il_inner_head *head, const float *carry, const float *rows, int n, const float *v,
                          ptrdiff_t ld_v, float *scratch);
void il_ttt_linear_begin_backward(const il_inner_head *head, const float *dcarry,
                                  float *const dparam[IL_RULE_TENSORS_MAX]);

/* to = from - rate sum_j lr_j [K_j, 1]^T G_j, of a full mini-batch of rows; to may be from. */
void il_ttt_linear_step(const il_inner_head *head, const float *rows, float rate, const float *from, float *to,
                        float *scratch);

/* The step of a commit, for its backward. */
typedef struct il_ttt_linear_commit {
    const float *dnext; /* with respect to the carry after the step; may be dcarry itself. NULL: no commit */
    float rate;
    float *drate; /* [1] += */
} il_ttt_linear_commit;

/* il_rule.backward, but for what dcarry means: in, the gradient that reaches the old carry past the rows (through what
 * the commit kept of it); out, the whole gradient of the old carry. */
void il_ttt_linear_backward(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                            const il_ttt_linear_commit *commit, const float *dout, ptrdiff_t ld_dout, float *dcarry,
                            const il_rows_grad *grad, float *const dparam[IL_RULE_TENSORS_MAX], float *dtok,
                            float *scratch);

#endif
