/* loss.c: fused cross-entropy: logits, their softmax and both products that go back from it, a few rows at a
 * time. */
#include "model/loss.h"
#include "model/backward.h"
#include "model/bf16.h"
#include "model/pass.h"

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
    int most = pass->bf16 ? pass->bf16->logit_rows : IL_LOGIT_ROWS;
    for (int first = 0; first < pass->tokens; first += most) {
        int rows = pass->tokens - first < most ? pass->tokens - first : most;
        size_t at = (size_t)first * (size_t)model->config.width;
        const float *hidden = pass->work->hidden + at;
        il_pass_dense(pass, &model->head, rows, hidden, logits);
        loss_job job = {model->engine->kernels, model->config.vocab_size, logits,
                        targets + first,        weight + first,           nll + first};
        il_pool_run(model->engine->pool, rows, loss_run, &job);
        il_dense_backward(pass, &model->head, rows, hidden, logits, dhidden + at, 0, grad);
    }
}
