/* head.c: from final hidden vectors to logits and losses; never all [tokens, V] logits at once. */
#include "model/forward.h"

void il_lm_head_logits(const il_model *model, int n, const float *hidden, ptrdiff_t ldh, float *logits) {
    il_dense_forward(model, &model->head, n, hidden, ldh, logits, model->config.vocab_size);
}

typedef struct nll_job {
    const il_kernels *kernels;
    int vocab;
    const float *logits; /* [rows, V] */
    const int32_t *targets;
    float *nll;
} nll_job;

static void nll_run(void *context, int row, int worker) {
    const nll_job *job = context;
    const float *logits = job->logits + (ptrdiff_t)row * job->vocab;
    (void)worker;
    job->kernels->log_sum_exp(1, job->vocab, logits, job->vocab, job->nll + row);
    job->nll[row] -= logits[job->targets[row]];
}

void il_lm_head_nll(const il_model *model, il_workspace *work, int n, const float *hidden, ptrdiff_t ldh,
                    const int32_t *targets, float *nll) {
    for (int from = 0; from < n; from += IL_LOGIT_ROWS) {
        int rows = n - from < IL_LOGIT_ROWS ? n - from : IL_LOGIT_ROWS;
        il_lm_head_logits(model, rows, hidden + from * ldh, ldh, work->logits);
        nll_job job = {model->engine->kernels, model->config.vocab_size, work->logits, targets + from, nll + from};
        il_pool_run(model->engine->pool, rows, nll_run, &job);
    }
}
