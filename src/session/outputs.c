/* outputs.c: logits and losses of a pass without a fast head: products of as many rows as there are. */
#include "session/outputs.h"

#include "model/lm_head.h"
#include "session/fast_outputs.h"
#include <math.h>
#include <string.h>

/* Where a part's losses go, from its first token on; without a fast head both kinds are the same. NULL: not wanted. */
static float *losses_of(const il_part *p) {
    float *nll = p->feed->nll ? p->feed->nll : p->feed->slow_nll;
    return nll ? nll + p->feed->consumed : NULL;
}

/* The loss of a part's first token, which the hidden vector before it predicts. */
static void first_nll(il_model *model, il_workspace *work, const il_part *p) {
    const il_state *state = &p->feed->session->state;
    float *nll = losses_of(p);
    if (!nll) return;
    if (state->position) {
        il_lm_head_nll(model, work, 1, il_state_hidden(state, state->position - 1), model->config.width,
                       p->feed->tokens + p->feed->consumed, nll);
    } else {
        *nll = NAN;
    }
}

/* Losses of a part after its first token. */
static void later_nll(il_model *model, il_workspace *work, const il_part *p) {
    const il_feed *f = p->feed;
    int width = model->config.width;
    float *nll = losses_of(p);
    if (!nll) return;
    il_lm_head_nll(model, work, (int)p->n - 1, work->hidden + (ptrdiff_t)p->first * width, width,
                   f->tokens + f->consumed + 1, nll + 1);
    if (f->nll && f->slow_nll) memcpy(f->slow_nll + f->consumed, nll, p->n * sizeof *nll);
}

static float *logits_of(const il_part *p) {
    const il_feed *f = p->feed;
    return f->logits ? f->logits + f->consumed * (size_t)f->session->model->config.vocab_size : NULL;
}

/* Logits of the parts from the hidden vectors of the pass. Parts of few tokens share a product, which reads the head
 * once for all of them: in place when their logits lie one after another, else through the workspace. */
static void all_logits(il_model *model, il_workspace *work, const il_part *parts, int n_parts) {
    const size_t width = (size_t)model->config.width, vocab = (size_t)model->config.vocab_size;
    const float *hidden = work->hidden;
    const size_t most = (size_t)work->logit_rows;
    for (int i = 0, j; i < n_parts; i = j) {
        size_t rows = parts[i].n;
        float *to = logits_of(&parts[i]), *next;
        int adjacent = 1;
        for (j = i + 1; to && j < n_parts && rows + parts[j].n <= most; j++) {
            if (!(next = logits_of(&parts[j]))) break;
            adjacent = adjacent && next == to + rows * vocab;
            rows += parts[j].n;
        }
        if (to) {
            float *from = adjacent ? to : work->logits;
            il_lm_head_logits(model, work, (int)rows, hidden, (ptrdiff_t)width, from);
            for (int p = i; p < j && !adjacent; from += parts[p++].n * vocab)
                memcpy(logits_of(&parts[p]), from, parts[p].n * vocab * sizeof *from);
        }
        hidden += rows * width;
    }
}

typedef struct sink_job {
    il_model *model;
    il_workspace *work;
    const il_part *parts;
    int first; /* row of the pass that the first logits are of */
} sink_job;

static void sink_run(void *context, int item, int worker) {
    const sink_job *job = context;
    const il_kernels *kernels = job->model->engine->kernels;
    const int vocab = job->model->config.vocab_size, row = job->first + item;
    const il_part *p = job->parts;
    float *logits = job->work->logits + (ptrdiff_t)item * vocab, lse;
    (void)worker;
    while (row >= p->first + (int)p->n) p++;
    kernels->log_sum_exp(1, vocab, logits, vocab, &lse);
    kernels->exp_shift(1, vocab, logits, vocab, &lse);
    p->sink->row(p->sink->context, p->index, p->feed->consumed + (size_t)(row - p->first), logits, lse);
}

/* For a sink, a few rows at a time, while their logits are in the cache. */
static void sink_all(il_model *model, il_workspace *work, const il_part *parts, int n_parts) {
    const int width = model->config.width, total = parts[n_parts - 1].first + (int)parts[n_parts - 1].n;
    const int most = work->logit_rows;
    if (!parts->sink) return;
    for (int first = 0; first < total; first += most) {
        int rows = total - first < most ? total - first : most;
        il_lm_head_logits(model, work, rows, work->hidden + (ptrdiff_t)first * width, width, work->logits);
        il_pool_run(model->engine->pool, rows, sink_run, &(sink_job){model, work, parts, first});
    }
}

void il_outputs_before(il_model *model, il_workspace *work, const il_part *parts, int n_parts) {
    if (model->config.fast_head_size) {
        il_fast_outputs_before(parts, n_parts);
        return;
    }
    for (int i = 0; i < n_parts; i++) first_nll(model, work, &parts[i]);
}

static void copy_hidden(const il_workspace *work, const il_part *p) {
    const size_t width = (size_t)p->feed->session->model->config.width;
    float *to = p->feed->hidden;
    if (to) memcpy(to + p->feed->consumed * width, work->hidden + (size_t)p->first * width, p->n * width * sizeof *to);
}

void il_outputs_after(il_model *model, il_workspace *work, const il_part *parts, int n_parts) {
    for (int i = 0; i < n_parts; i++) copy_hidden(work, &parts[i]);
    if (model->config.fast_head_size) {
        il_fast_outputs_after(model, work, parts, n_parts);
        return;
    }
    all_logits(model, work, parts, n_parts);
    sink_all(model, work, parts, n_parts);
    for (int i = 0; i < n_parts; i++) later_nll(model, work, &parts[i]);
}
