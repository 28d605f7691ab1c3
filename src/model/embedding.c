/* embedding.c: see embedding.h. */
#include "model/embedding.h"

#include <string.h>

enum { COLUMNS = 64 }; /* of an embedding, that a thread gets at a time in the backward pass */

/* ---- the tokens that taps look at ---- */

/* Those of row i of a segment, which begins at `position`, and of the state what came before it. */
static int32_t tapped(const il_segment *segment, const int32_t *tokens, int i, int tap) {
    const il_state *state = segment->state;
    int back = tap - 1;
    if (back <= i) return tokens[segment->first + i - back];
    uint64_t position = state->position + (uint64_t)i;
    if (position < (uint64_t)back) return -1;
    return state->tapped[(position - (uint64_t)back) % (uint64_t)state->ring_tapped];
}

static void find_tapped(const il_pass *pass, const int32_t *tokens) {
    const il_config *c = &pass->model->config;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *segment = &pass->segments[s];
        il_state *state = segment->state;
        for (int k = 0; k < c->n_taps; k++)
            for (int i = 0; i < segment->n; i++)
                pass->work->tapped[k * pass->tokens + segment->first + i] = tapped(segment, tokens, i, c->taps[k]);
        for (int i = segment->n > state->ring_tapped ? segment->n - state->ring_tapped : 0; i < segment->n; i++)
            state->tapped[(state->position + (uint64_t)i) % (uint64_t)state->ring_tapped] = tokens[segment->first + i];
    }
}

/* ---- forward ---- */

static void get_row(const il_model *model, const il_dense *embedding, int32_t token, float *x) {
    size_t width = (size_t)embedding->in;
    if (embedding->type == IL_WEIGHTS_F32) {
        memcpy(x, model->weights + embedding->at + (size_t)token * width, width * sizeof *x);
        return;
    }
    il_lp_matrix rows = {embedding->type, embedding->out, embedding->in, model->lp + embedding->packed};
    il_lp_get(&rows, (size_t)token, x);
}

typedef struct forward_job {
    const il_pass *pass;
    const int32_t *tokens;
    float *x0;
} forward_job;

static void forward_run(void *context, int piece, int worker) {
    const forward_job *job = context;
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    size_t width = (size_t)model->config.width;
    int from = piece * IL_PIECE, to = from + il_piece_rows(pass, piece);
    (void)worker;
    for (int t = from; t < to; t++) {
        float *x = job->x0 + (size_t)t * width, *row = pass->work->mix + (size_t)t * width;
        get_row(model, &model->embedding, job->tokens[t], x);
        for (int k = 0; k < model->config.n_taps; k++) {
            int32_t token = pass->work->tapped[k * pass->tokens + t];
            if (token < 0) continue;
            get_row(model, &model->taps[k], token, row);
            model->engine->kernels->add(width, x, row, x);
        }
    }
}

void il_embed_forward(const il_pass *pass, const int32_t *tokens, float *x0) {
    const il_config *c = &pass->model->config;
    forward_job job = {pass, tokens, x0};
    if (c->n_taps) find_tapped(pass, tokens);
    il_pass_share(pass, (pass->tokens + IL_PIECE - 1) / IL_PIECE, (double)pass->tokens * c->width * (1 + c->n_taps),
                  forward_run, &job);
}

/* ---- backward ---- */

typedef struct backward_job {
    const il_pass *pass;
    const int32_t *tokens;
    const float *dx0;
    float *grad;
    int pieces; /* of columns */
} backward_job;

/* Some columns of one embedding, tokens ascending: each row's sum has one order. */
static void backward_run(void *context, int item, int worker) {
    const backward_job *job = context;
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    int tap = item / job->pieces - 1; /* -1: the token's own */
    size_t width = (size_t)model->config.width, at = (size_t)(item % job->pieces) * COLUMNS, left = width - at;
    const int32_t *tokens = tap < 0 ? job->tokens : pass->work->tapped + tap * pass->tokens;
    float *dembed = job->grad + (tap < 0 ? model->embedding.at : model->taps[tap].at) + at;
    (void)worker;
    for (int t = 0; t < pass->tokens; t++) {
        if (tokens[t] < 0) continue;
        float *row = dembed + (size_t)tokens[t] * width;
        model->engine->kernels->add(left < COLUMNS ? left : COLUMNS, row, job->dx0 + (size_t)t * width + at, row);
    }
}

void il_embed_backward(const il_pass *pass, const int32_t *tokens, const float *dx0, float *grad) {
    const il_config *c = &pass->model->config;
    backward_job job = {pass, tokens, dx0, grad, (c->width + COLUMNS - 1) / COLUMNS};
    il_pool_run(pass->model->engine->pool, job.pieces * (1 + c->n_taps), backward_run, &job);
}
