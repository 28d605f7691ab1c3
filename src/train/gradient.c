/* gradient.c: passes over a batch, forward and backward, summed into one loss and one gradient. */
#include "train/gradient.h"

#include "base/error.h"
#include "model/backward.h"
#include "model/forward.h"
#include "model/lm_head.h"
#include "model/mixer.h"
#include "model/tape.h"
#include <math.h>
#include <string.h>

static void lay_out(il_gradient *g, il_arena *arena) {
    size_t tokens = (size_t)g->micro * (size_t)g->length;
    if (g->kind != IL_LOSS_ONLY) g->gradient = il_arena_take(arena, g->model->table.floats, sizeof(float));
    g->losses = il_arena_take(arena, (size_t)g->sequences, sizeof(double));
    g->weight = il_arena_take(arena, tokens, sizeof(float));
    g->nll = il_arena_take(arena, tokens, sizeof(float));
    g->inputs = il_arena_take(arena, tokens, sizeof(int32_t));
    g->targets = il_arena_take(arena, tokens, sizeof(int32_t));
    g->segments = il_arena_take(arena, (size_t)g->micro, sizeof *g->segments);
    g->states = il_arena_take(arena, (size_t)g->n_states, sizeof *g->states);
}

static int is_of_constant_size(const il_model *model) {
    for (int i = 0; i < model->config.layers; i++)
        if (model->layers[i].mixer->page_floats) return 0;
    return 1;
}

/* Tables, and packs if they are worth it, of the weights as they are now. */
static il_status refresh(il_gradient *g, il_error *error) {
    pthread_mutex_lock(&g->model->lock);
    il_status status = il_model_refresh(g->model, g->packs, error);
    pthread_mutex_unlock(&g->model->lock);
    return status;
}

static il_status open_tape(il_gradient *g, int recomputes, il_error *error) {
    int tokens = g->micro * g->length, ffn_tokens = il_tape_ffn_tokens(g->micro, g->length, recomputes);
    IL_TRY(il_workspace_open_taped(g->model, tokens, ffn_tokens, &g->work, error));
    IL_TRY(il_tape_open(g->model, g->micro, g->length, recomputes, &g->tape, error));
    return il_backspace_open(g->model, tokens, &g->space, error);
}

/* Layers take turns with the pages of a sequence wherever nothing reads them after the layer's turn. */
static int shares_pages(const il_gradient *g, int recomputes) {
    return !g->stateful && (recomputes || g->kind == IL_LOSS_ONLY);
}

/* All that is allocated, packs of the weights included. */
static uint64_t bytes_of(const il_gradient *gradient, int recomputes) {
    il_gradient g = *gradient;
    il_arena arena = {0};
    int tokens = g.micro * g.length, ffn_tokens = il_tape_ffn_tokens(g.micro, g.length, recomputes);
    size_t state = il_state_bytes_of(g.model, (uint64_t)g.length, shares_pages(&g, recomputes));
    lay_out(&g, &arena);
    uint64_t bytes = (uint64_t)arena.used + (uint64_t)g.n_states * state + (uint64_t)g.pack_bytes;
    if (g.kind == IL_LOSS_ONLY) return bytes + il_workspace_bytes(g.model, tokens);
    bytes += il_workspace_taped_bytes(g.model, tokens, ffn_tokens) + il_backspace_bytes(g.model, tokens);
    if (g.kind == IL_GRADIENT_BF16) bytes += il_bf16_bytes(g.model, tokens);
    return bytes + il_tape_bytes(g.model, g.micro, g.length, recomputes);
}

/* What to do about it: sequences that would fit, as far as memory is linear in their length. */
static il_status too_large(const il_gradient *g, uint64_t memory, uint64_t bytes, il_error *error) {
    il_gradient half = *g;
    half.length = (g->length + 1) / 2;
    uint64_t less = bytes_of(&half, 1), fits = 0, b = (uint64_t)g->model->config.mini_batch;
    if (g->micro == 1 && less < bytes) {
        double each = (double)(bytes - less) / (double)(g->length - half.length);
        double room = (double)memory - ((double)less - each * (double)half.length);
        if (room > 0) fits = (uint64_t)(room / each) / b * b;
    }
    const double mega = 1e6;
    if (!fits)
        return il_fail(error, IL_ERR_NOMEM, "gradients need %.0f MB beside the weights, and %.0f MB are allowed",
                       (double)bytes / mega, (double)memory / mega);
    return il_fail(error, IL_ERR_NOMEM,
                   "sequences of %d tokens need %.0f MB beside the weights even with recomputation, and %.0f MB are "
                   "allowed: %llu tokens would fit",
                   g->length, (double)bytes / mega, (double)memory / mega, (unsigned long long)fits);
}

il_status il_gradient_open(il_model *model, int sequences, int length, int stateful, il_gradient_kind kind,
                           il_gradient *gradient, il_error *error) {
    return il_gradient_open_within(model, sequences, sequences, length, stateful, kind, 0, gradient, error);
}

il_status il_gradient_open_within(il_model *model, int sequences, int lane, int length, int stateful,
                                  il_gradient_kind kind, uint64_t memory, il_gradient *gradient, il_error *error) {
    il_gradient *g = gradient;
    *g = (il_gradient){.model = model, .sequences = sequences, .length = length, .stateful = stateful, .kind = kind};
    IL_TRY(il_model_check_trainable(model, error));
    if (stateful && !is_of_constant_size(model))
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "stateful data needs a recurrent mixer: self-attention has no state of constant size");
    if (stateful && length % model->config.mini_batch)
        return il_fail(error, IL_ERR_ARG,
                       "stateful data needs sequences of whole mini-batches: %d is not a multiple of %d", length,
                       model->config.mini_batch);
    g->micro = length < IL_MICRO_TOKENS ? IL_MICRO_TOKENS / length : 1;
    if (g->micro > lane) g->micro = lane;
    g->n_states = stateful ? sequences : g->micro;
    int tokens = g->micro * length, recomputes = 0;
    pthread_mutex_lock(&model->lock);
    g->packs = sequences > g->micro && kind != IL_GRADIENT_BF16;
    g->pack_bytes = g->packs ? il_model_packed_bytes(model) : 0;
    pthread_mutex_unlock(&model->lock);
    g->bytes = bytes_of(g, 0);
    if (memory && g->bytes > memory && kind != IL_LOSS_ONLY) g->bytes = bytes_of(g, recomputes = 1);
    if (memory && g->bytes > memory) return too_large(g, memory, g->bytes, error);

    il_arena arena = {0};
    lay_out(g, &arena);
    g->block = il_alloc(&model->engine->memory, arena.used, 1);
    if (!g->block) return il_fail(error, IL_ERR_NOMEM, "no memory for gradients: %zu bytes", arena.used);
    arena = (il_arena){.base = g->block};
    lay_out(g, &arena);

    il_status status = refresh(g, error); /* opening a state reads the tok table */
    if (status == IL_OK && kind == IL_LOSS_ONLY) status = il_workspace_open(model, tokens, &g->work, error);
    if (status == IL_OK && kind != IL_LOSS_ONLY) status = open_tape(g, recomputes, error);
    if (status == IL_OK && kind == IL_GRADIENT_BF16) status = il_bf16_open(model, tokens, &g->bf16, error);
    for (int i = 0; i < g->n_states && status == IL_OK; i++) {
        status = il_state_open(model, 0, &g->states[i], error);
        if (status == IL_OK && shares_pages(g, recomputes)) il_state_share_pages(&g->states[i]);
        if (status == IL_OK) status = il_state_reserve(&g->states[i], (uint64_t)length, error);
    }
    if (status != IL_OK) il_gradient_close(g);
    return status;
}

void il_gradient_close(il_gradient *gradient) {
    il_gradient *g = gradient;
    if (g->states)
        for (int i = 0; i < g->n_states; i++) il_state_close(&g->states[i]);
    il_bf16_close(&g->bf16);
    il_backspace_close(&g->space);
    il_tape_close(&g->tape);
    il_workspace_close(&g->work);
    if (g->model) il_free(&g->model->engine->memory, g->block);
    *g = (il_gradient){0};
}

/* Inputs, targets and weights of sequences first .. first+n-1, and their states. */
static il_pass prepare(il_gradient *g, const int32_t *tokens, const unsigned char *fresh, int first, int n,
                       int sequences) {
    int length = g->length, bos = g->model->config.bos_token;
    for (int s = 0; s < n; s++) {
        const int32_t *sequence = tokens + (size_t)(first + s) * (size_t)(length + 1);
        il_state *state = &g->states[g->stateful ? first + s : s];
        if (!g->stateful || !fresh || fresh[first + s]) il_state_reset(state);
        g->segments[s] = (il_segment){.first = s * length, .n = length, .state = state};
        memcpy(g->inputs + (size_t)s * (size_t)length, sequence, (size_t)length * sizeof *sequence);
        memcpy(g->targets + (size_t)s * (size_t)length, sequence + 1, (size_t)length * sizeof *sequence);
        int valid = 0;
        for (int t = 1; t <= length; t++) valid += sequence[t] != bos;
        float weight = valid ? (float)(1.0 / ((double)valid * (double)sequences)) : 0;
        for (int t = 1; t <= length; t++) g->weight[s * length + t - 1] = sequence[t] != bos ? weight : 0;
    }
    return (il_pass){.model = g->model,
                     .work = &g->work,
                     .segments = g->segments,
                     .n_segments = n,
                     .tokens = n * length,
                     .inner_lr = 1.0F};
}

/* The parts of the sequences of a pass in the loss, from nll. Returns whether they are finite. */
static int take_losses(const il_gradient *g, int first, int n, int sequences) {
    int finite = 1;
    for (int s = 0; s < n; s++) {
        double total = 0;
        int valid = 0;
        for (int t = s * g->length; t < (s + 1) * g->length; t++) {
            if (g->weight[t] == 0) continue;
            total += (double)g->nll[t];
            valid++;
        }
        g->losses[first + s] = valid ? total / (double)valid / (double)sequences : 0;
        finite &= isfinite(g->losses[first + s]) != 0;
    }
    return finite;
}

/* Where the first non-finite number of a forward pass stands. */
static il_status blame_forward(const il_gradient *g, il_pass *pass, il_error *error) {
    const il_kernels *kernels = g->model->engine->kernels;
    int tokens = pass->tokens;
    size_t n = (size_t)tokens * (size_t)g->model->config.width;
    int layers = g->model->config.layers;
    for (int i = 0; i < layers; i++) {
        const il_acts *a = &g->tape.layers[i];
        const char *place = NULL;
        if (g->tape.recomputes) il_forward_again(pass, i);
        if (!kernels->all_finite(n, a->x0))
            place = i ? NULL : "the embedding";
        else if (!kernels->all_finite(n, a->xn))
            place = "before the mixer";
        else if (!kernels->all_finite((size_t)tokens * (size_t)g->model->layers[i].wo.in, a->z))
            place = "the inner loop";
        else if (!kernels->all_finite(n, a->x2))
            place = "the mixer's output";
        else if (!kernels->all_finite(n, i + 1 < layers ? g->tape.layers[i + 1].x0 : g->tape.x_last))
            place = "the feed-forward part";
        if (place) return il_fail(error, IL_ERR_NONFINITE, "the loss is not finite: layer %d, %s", i, place);
    }
    return il_fail(error, IL_ERR_NONFINITE, "the loss is not finite: output head, after layer %d", layers - 1);
}

il_status il_gradient_begin(il_gradient *g, il_error *error) {
    IL_TRY(refresh(g, error));
    if (g->kind == IL_GRADIENT_BF16) il_bf16_refresh(&g->bf16, g->model);
    g->bf16.status = IL_OK;
    return IL_OK;
}

il_status il_gradient_lane(il_gradient *gradient, const il_lane *lane, float *sum, il_error *error) {
    il_gradient *g = gradient;
    memset(sum, 0, g->model->table.floats * sizeof(float));
    for (int done = 0; done < lane->n; done += g->micro) {
        int first = lane->first + done, n = lane->n - done < g->micro ? lane->n - done : g->micro;
        il_pass pass = prepare(g, lane->tokens, lane->fresh, first, n, lane->batch);
        pass.tape = &g->tape;
        pass.inner_lr = lane->inner_lr;
        if (g->kind == IL_GRADIENT_BF16) pass.bf16 = &g->bf16;
        if (done + n == lane->n) pass.passed = lane->passed, pass.user = lane->user;
        il_forward(&pass, g->inputs);
        il_lm_head_loss(&pass, g->targets, g->weight, g->nll, g->work.hidden, sum); /* in their place */
        int finite = take_losses(g, first, n, lane->batch);
        if (!g->bf16.status && !finite) return blame_forward(g, &pass, error);
        il_backward(&pass, g->inputs, g->work.hidden, sum, &g->space);
        if (g->bf16.status) return il_fail(error, g->bf16.status, "a bf16 product failed in oneDNN: out of memory");
    }
    return IL_OK;
}

static double total(const il_gradient *g, int sequences) {
    double loss = 0;
    for (int i = 0; i < sequences; i++) loss += g->losses[i];
    return loss;
}

il_status il_gradient_batch(il_gradient *gradient, const int32_t *tokens, const unsigned char *fresh, int sequences,
                            float inner_lr, double *loss, il_error *error) {
    il_lane all = {.tokens = tokens, .fresh = fresh, .n = sequences, .batch = sequences, .inner_lr = inner_lr};
    IL_TRY(il_gradient_begin(gradient, error));
    IL_TRY(il_gradient_lane(gradient, &all, gradient->gradient, error));
    *loss = total(gradient, sequences);
    return IL_OK;
}

il_status il_gradient_check(const il_gradient *gradient, il_error *error) {
    const il_table *table = &gradient->model->table;
    for (size_t i = table->n; i-- > 0;) { /* from the output back, as the gradient went */
        const il_table_entry *e = &table->entries[i];
        if (!gradient->model->engine->kernels->all_finite(e->count, gradient->gradient + e->offset))
            return il_fail(error, IL_ERR_NONFINITE, "the gradient of %s is not finite", e->name);
    }
    return IL_OK;
}

il_status il_gradient_loss(il_gradient *gradient, const int32_t *tokens, const unsigned char *fresh, int sequences,
                           double *loss, il_error *error) {
    il_gradient *g = gradient;
    IL_TRY(refresh(g, error));
    for (int first = 0; first < sequences; first += g->micro) {
        int n = sequences - first < g->micro ? sequences - first : g->micro;
        il_pass pass = prepare(g, tokens, fresh, first, n, sequences);
        if (g->kind != IL_LOSS_ONLY) pass.tape = &g->tape;
        il_forward(&pass, g->inputs);
        il_lm_head_nll(g->model, &g->work, pass.tokens, g->work.hidden, g->model->config.width, g->targets, g->nll);
        take_losses(g, first, n, sequences);
    }
    *loss = total(g, sequences);
    return isfinite(*loss) ? IL_OK : il_fail(error, IL_ERR_NONFINITE, "the loss of validation is not finite");
}

il_status il_model_gradient(il_model *model, const int32_t *tokens, size_t sequences, size_t length, double *loss,
                            float *gradient, il_error *error) {
    const il_table *table = &model->table;
    if (!sequences || !length || sequences > 1 << 20 || length > 1 << 20)
        return il_fail(error, IL_ERR_ARG, "%zu sequences of length %zu: both go from 1 to 2^20", sequences, length);
    for (size_t i = 0; i < sequences * (length + 1); i++)
        if (tokens[i] < 0 || tokens[i] >= model->config.vocab_size)
            return il_fail(error, IL_ERR_ARG, "token %zu is %d: ids go from 0 to %d", i, tokens[i],
                           model->config.vocab_size - 1);
    il_gradient g;
    IL_TRY(il_gradient_open(model, (int)sequences, (int)length, 0, IL_GRADIENT, &g, error));
    il_status status = il_gradient_batch(&g, tokens, NULL, (int)sequences, 1.0F, loss, error);
    if (status == IL_OK) status = il_gradient_check(&g, error);
    for (size_t i = 0; i < table->n && status == IL_OK; i++) {
        memcpy(gradient, g.gradient + table->entries[i].offset, table->entries[i].count * sizeof(float));
        gradient += table->entries[i].count;
    }
    il_gradient_close(&g);
    return status;
}
