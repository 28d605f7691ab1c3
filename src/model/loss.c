/* loss.c: fused cross-entropy: logits, their softmax and both products that go back from it, a few rows at a
 * time. */
#include "model/loss.h"
#include "model/backward.h"

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

void il_head_loss(const il_model *model, il_workspace *work, int n, const float *hidden, const int32_t *targets,
                  const float *weight, float *nll, float *dhidden, float *grad) {
    int width = model->config.width, vocab = model->config.vocab_size;
    for (int first = 0; first < n; first += IL_LOGIT_ROWS) {
        int rows = n - first < IL_LOGIT_ROWS ? n - first : IL_LOGIT_ROWS;
        size_t at = (size_t)first * (size_t)width;
        il_head_logits(model, rows, hidden + at, width, work->logits);
        loss_job job = {model->engine->kernels, vocab, work->logits, targets + first, weight + first, nll + first};
        il_pool_run(model->engine->pool, rows, loss_run, &job);
        il_back_linear(model, &model->head, rows, hidden + at, width, work->logits, vocab, dhidden + at, width, 0,
                       grad);
    }
}
