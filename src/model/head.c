/* head.c: from final hidden vectors to logits and losses; never all [tokens, V] logits at once. */
#include "model/forward.h"

void il_head_logits(const il_model *model, int n, const float *hidden, ptrdiff_t ldh, float *logits) {
    il_linear_forward(model, &model->head, n, hidden, ldh, logits, model->config.vocab_size);
}

void il_head_nll(const il_model *model, il_workspace *work, int n, const float *hidden, ptrdiff_t ldh,
                 const int32_t *targets, float *nll) {
    int vocab = model->config.vocab_size;
    for (int from = 0; from < n; from += IL_LOGIT_ROWS) {
        int rows = n - from < IL_LOGIT_ROWS ? n - from : IL_LOGIT_ROWS;
        il_head_logits(model, rows, hidden + from * ldh, ldh, work->logits);
        model->engine->kernels->log_sum_exp(rows, vocab, work->logits, vocab, nll + from);
        for (int r = 0; r < rows; r++) nll[from + r] -= work->logits[(ptrdiff_t)r * vocab + targets[from + r]];
    }
}
