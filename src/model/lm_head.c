/* lm_head.c: see lm_head.h. */
#include "model/lm_head.h"

#include "model/bf16.h"
#include "model/steps.h"

static int smaller(int a, int b) { return a < b ? a : b; }

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

typedef struct losing {
    const il_pass *pass;
    const int32_t *targets; /* and so on: of all tokens of the pass */
    const float *weight;
    float *nll, *dhidden, *grad;
} losing;

/* The gradient of the logits of rows first .. first+rows-1 in place of them. */
static void make_dlogits(const losing *l, int first, int rows, float *logits) {
    const il_model *model = l->pass->model;
    size_t at = (size_t)first * (size_t)model->config.width;
    il_dense_forward(l->pass, &model->head, rows, l->pass->work->hidden + at, logits);
    loss_job job = {model->engine->kernels, model->config.vocab_size, logits,
                    l->targets + first,     l->weight + first,        l->nll + first};
    il_pool_run(model->engine->pool, rows, loss_run, &job);
}

/* Those of a product are rounded piece by piece: in bf16 there is room for more rows of them. */
static void lose_bf16(const losing *l) {
    const il_model *model = l->pass->model;
    il_bf16 *bf16 = l->pass->bf16;
    for (int first = 0, rows; first < l->pass->tokens; first += rows) {
        size_t at = (size_t)first * (size_t)model->config.width;
        rows = smaller(l->pass->tokens - first, bf16->dlogit_rows);
        for (int done = 0, n; done < rows; done += n) {
            n = smaller(rows - done, bf16->logit_rows);
            make_dlogits(l, first + done, n, bf16->logits);
            il_bf16_put(bf16, model, &model->head, done, n, bf16->logits);
        }
        il_bf16_backward_put(bf16, model, &model->head, rows, l->pass->work->hidden + at, l->dhidden + at, 0, l->grad);
    }
}

void il_lm_head_loss(const il_pass *pass, const int32_t *targets, const float *weight, float *nll, float *dhidden,
                     float *grad) {
    const losing l = {pass, targets, weight, nll, dhidden, grad};
    il_workspace *work = pass->work;
    if (pass->bf16) {
        lose_bf16(&l);
        return;
    }
    for (int first = 0, rows; first < pass->tokens; first += rows) {
        size_t at = (size_t)first * (size_t)pass->model->config.width;
        rows = smaller(pass->tokens - first, work->logit_rows);
        make_dlogits(&l, first, rows, work->logits);
        il_dense_backward(pass, &pass->model->head, rows, work->hidden + at, work->logits, dhidden + at, 0, grad);
    }
}
