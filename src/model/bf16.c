/* bf16.c: see bf16.h. Owns the rounded copies; what is multiplied how is oneDNN's business. */
#include "model/bf16.h"

#include "base/error.h"
#include "engine/gemm.h"

/* Numbers that a thread rounds at a time. */
enum { PIECE = 1 << 14 };

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* As many rows of n bytes as there are, at least one. */
static int rows_in(size_t bytes, size_t n, int rows) {
    return bytes / n < (size_t)rows ? (int)(bytes / n) + !(bytes / n) : rows;
}

static void lay_out(il_bf16 *bf16, const il_model *model, int n, il_arena *arena) {
    size_t vocab = (size_t)model->config.vocab_size, tokens = (size_t)n;
    size_t wide = tokens * (size_t)il_model_most_width(model);
    bf16->dlogit_rows =
        rows_in(IL_BF16_DLOGIT_BYTES, vocab * sizeof *bf16->dy, n < IL_BF16_LOGIT_ROWS ? n : IL_BF16_LOGIT_ROWS);
    bf16->logit_rows = rows_in(IL_BF16_LOGIT_BYTES, vocab * sizeof *bf16->logits, bf16->dlogit_rows);
    bf16->weights = il_arena_take(arena, model->table.floats, sizeof *bf16->weights);
    bf16->x = il_arena_take(arena, wide, sizeof *bf16->x);
    bf16->dy = il_arena_take(arena, larger(wide, (size_t)bf16->dlogit_rows * vocab), sizeof *bf16->dy);
    bf16->logits = il_arena_take(arena, (size_t)bf16->logit_rows * vocab, sizeof *bf16->logits);
}

size_t il_bf16_bytes(const il_model *model, int tokens) {
    il_arena arena = {0};
    il_bf16 bf16;
    lay_out(&bf16, model, tokens, &arena);
    return arena.used;
}

il_status il_bf16_open(const il_model *model, int tokens, il_bf16 *bf16, il_error *error) {
    size_t bytes = il_bf16_bytes(model, tokens);
    *bf16 = (il_bf16){.allocator = &model->engine->memory};
    IL_TRY(il_onednn_bf16_open(bf16->allocator, &bf16->products, error));
    bf16->block = il_alloc_raw(bf16->allocator, bytes, 1);
    if (!bf16->block) {
        il_bf16_close(bf16);
        return il_fail(error, IL_ERR_NOMEM, "no memory for bf16 operands: %zu bytes", bytes);
    }
    il_arena arena = {.base = bf16->block};
    lay_out(bf16, model, tokens, &arena);
    return IL_OK;
}

void il_bf16_close(il_bf16 *bf16) {
    il_onednn_bf16_close(bf16->products);
    if (bf16->allocator) il_free(bf16->allocator, bf16->block);
    *bf16 = (il_bf16){0};
}

typedef struct round_job {
    const il_kernels *kernels;
    size_t n;
    const float *x;
    uint16_t *y;
} round_job;

static void round_run(void *context, int item, int worker) {
    const round_job *job = context;
    size_t at = (size_t)item * PIECE, left = job->n - at;
    (void)worker;
    job->kernels->f32_to_bf16(left < PIECE ? left : PIECE, job->x + at, job->y + at);
}

static void rounded(const il_model *model, size_t n, const float *x, uint16_t *y) {
    round_job job = {model->engine->kernels, n, x, y};
    il_pool_run(model->engine->pool, (int)((n + PIECE - 1) / PIECE), round_run, &job);
}

void il_bf16_refresh(il_bf16 *bf16, const il_model *model) {
    if (bf16->version == model->version) return;
    rounded(model, model->table.floats, model->weights, bf16->weights);
    bf16->version = model->version;
}

static void note(il_bf16 *bf16, il_status status) {
    if (!bf16->status) bf16->status = status;
}

void il_bf16_forward(il_bf16 *bf16, const il_model *model, const il_dense *l, int n, const float *x, float *y) {
    il_matrix_bf16 x_rows = {bf16->x, l->in, 1}, w_columns = {bf16->weights + l->at, 1, l->in};
    rounded(model, (size_t)n * (size_t)l->in, x, bf16->x);
    note(bf16, il_gemm_onednn(model->engine, bf16->products, n, l->out, l->in, x_rows, w_columns, y, l->out, 0));
}

void il_bf16_backward(il_bf16 *bf16, const il_model *model, const il_dense *l, int n, const float *x, const float *dy,
                      float *dx, int add, float *grad) {
    il_bf16_put(bf16, model, l, 0, n, dy);
    il_bf16_backward_put(bf16, model, l, n, x, dx, add, grad);
}

void il_bf16_put(il_bf16 *bf16, const il_model *model, const il_dense *l, int first, int n, const float *dy) {
    rounded(model, (size_t)n * (size_t)l->out, dy, bf16->dy + (size_t)first * (size_t)l->out);
}

void il_bf16_backward_put(il_bf16 *bf16, const il_model *model, const il_dense *l, int n, const float *x, float *dx,
                          int add, float *grad) {
    il_matrix_bf16 x_rows = {bf16->x, l->in, 1}, w_rows = {bf16->weights + l->at, l->in, 1};
    il_matrix_bf16 dy_rows = {bf16->dy, l->out, 1}, dy_columns = {bf16->dy, 1, l->out};
    rounded(model, (size_t)n * (size_t)l->in, x, bf16->x);
    note(bf16,
         il_gemm_onednn(model->engine, bf16->products, l->out, l->in, n, dy_columns, x_rows, grad + l->at, l->in, 1));
    note(bf16, il_gemm_onednn(model->engine, bf16->products, n, l->in, l->out, dy_rows, w_rows, dx, l->in, add));
}
