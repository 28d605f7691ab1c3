/* lm_head.c: see lm_head.h. */
#include "model/lm_head.h"

#include "model/bf16.h"
#include "model/steps.h"

void il_lm_head_logits(const il_model *model, const il_workspace *work, int n, const float *hidden, ptrdiff_t ldh,
                       float *logits) {
    il_model_product(model, &model->head, n, hidden, ldh, work->quantized, logits, model->config.vocab_size);
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
    for (int from = 0; from < n; from += work->logit_rows) {
        int rows = n - from < work->logit_rows ? n - from : work->logit_rows;
        il_lm_head_logits(model, work, rows, hidden + from * ldh, ldh, work->logits);
        nll_job job = {model->engine->kernels, model->config.vocab_size, work->logits, targets + from, nll + from};
        il_pool_run(model->engine->pool, rows, nll_run, &job);
    }
}

typedef struct loss_job {
    const il_kernels *kernels;
    int vocab;
    float *logits; /* [rows, V] in, dlogits out */
    const int32_t *targets;
    const float *weight;
    float *nll;
} loss_job;

/* One row: nll, then dlogits = weight (softmax - onehot). */
static void loss_run(void *context, int item, int worker) {
    const loss_job *job = context;
    float *row = job->logits + (size_t)item * (size_t)job->vocab, lse, target = row[job->targets[item]];
    (void)worker;
    job->kernels->log_sum_exp(1, job->vocab, row, job->vocab, &lse);
    job->nll[item] = lse - target;
    job->kernels->exp_shift(1, job->vocab, row, job->vocab, &lse);
    row[job->targets[item]] -= 1.0f;
    job->kernels->scale((size_t)job->vocab, job->weight[item], row, row);
}

void il_lm_head_loss(const il_pass *pass, const int32_t *targets, const float *weight, float *nll, float *dhidden,
                     float *grad) {
    const il_model *model = pass->model;
    float *logits = pass->bf16 ? pass->bf16->logits : pass->work->logits;
    int most = pass->bf16 ? pass->bf16->logit_rows : pass->work->logit_rows;
    for (int first = 0; first < pass->tokens; first += most) {
        int rows = pass->tokens - first < most ? pass->tokens - first : most;
        size_t at = (size_t)first * (size_t)model->config.width;
        const float *hidden = pass->work->hidden + at;
        il_dense_forward(pass, &model->head, rows, hidden, logits);
        loss_job job = {model->engine->kernels, model->config.vocab_size, logits,
                        targets + first,        weight + first,           nll + first};
        il_pool_run(model->engine->pool, rows, loss_run, &job);
        il_dense_backward(pass, &model->head, rows, hidden, logits, dhidden + at, 0, grad);
    }
}
