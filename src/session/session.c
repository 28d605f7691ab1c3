/* session.c: the life of a session: open, fork, rewind, logits, statistics. Feeding is feed.c. */
#include "session/session.h"

#include "base/error.h"
#include "model/fast_head.h"
#include <math.h>

void il_session_options_default(il_session_options *options) { *options = (il_session_options){0}; }

/* The model's shared workspace and its packs are made when the first session is opened, so that feeding
 * allocates nothing. */
static il_status prepare(il_model *model, il_error *error) {
    pthread_mutex_lock(&model->lock);
    il_status status = il_model_refresh(model, 1, error);
    if (status == IL_OK && !model->work) {
        il_workspace *work = il_alloc(&model->engine->memory, 1, sizeof *work);
        status = work ? il_workspace_open(model, IL_FEED_CHUNK, work, error)
                      : il_fail(error, IL_ERR_NOMEM, "no memory for a workspace");
        if (status == IL_OK)
            model->work = work;
        else
            il_free(&model->engine->memory, work);
    }
    pthread_mutex_unlock(&model->lock);
    return status;
}

il_status il_session_open(il_model *model, const il_session_options *options, il_session **session, il_error *error) {
    *session = NULL;
    il_session_options defaults;
    il_session_options_default(&defaults);
    if (!options) options = &defaults;
    IL_TRY(prepare(model, error));
    il_session *s = il_alloc(&model->engine->memory, 1, sizeof *s);
    if (!s) return il_fail(error, IL_ERR_NOMEM, "no memory for a session");
    s->model = il_model_ref(model);
    il_status status = il_state_open(model, options->frozen, &s->state, error);
    /* Of what it keeps a fast head is no part, so frozen, without room for one, will do. */
    if (status == IL_OK) status = il_state_open(model, 1, &s->before, error);
    if (status != IL_OK) {
        il_session_close(s);
        return status;
    }
    *session = s;
    return IL_OK;
}

void il_session_close(il_session *session) {
    if (!session) return;
    il_model *model = session->model;
    il_state_close(&session->state);
    il_state_close(&session->before);
    il_free(&model->engine->memory, session);
    il_model_unref(model);
}

il_status il_session_fork(const il_session *session, il_session **copy, il_error *error) {
    il_session_options options = {.frozen = session->state.frozen};
    IL_TRY(il_session_open(session->model, &options, copy, error));
    il_status status = il_state_copy(&(*copy)->state, &session->state, error);
    if (status != IL_OK) {
        il_session_close(*copy);
        *copy = NULL;
    }
    return status;
}

uint64_t il_session_position(const il_session *session) { return session->state.position; }
uint64_t il_session_rewind_limit(const il_session *session) { return il_state_rewind_limit(&session->state); }

il_status il_session_rewind(il_session *session, uint64_t position, il_error *error) {
    uint64_t now = session->state.position, limit = il_state_rewind_limit(&session->state);
    if (position > now || position < limit)
        return il_fail(error, IL_ERR_ARG, "cannot rewind to position %llu: only %llu to %llu are kept",
                       (unsigned long long)position, (unsigned long long)limit, (unsigned long long)now);
    il_state_rewind(&session->state, position);
    return IL_OK;
}

il_status il_session_logits(il_session *session, float *logits, il_error *error) {
    const il_state *state = &session->state;
    if (!state->position) return il_fail(error, IL_ERR_ARG, "no logits before the first token");
    il_model *model = session->model;
    pthread_mutex_lock(&model->lock);
    il_status status = il_model_refresh(model, 1, error);
    size_t at = (size_t)((state->position - 1) % (uint64_t)state->ring_hidden) * (size_t)model->config.width;
    if (status == IL_OK) il_lm_head_logits(model, 1, state->hidden + at, model->config.width, logits);
    if (status == IL_OK && state->fast) {
        float features[IL_FAST_HEAD_MAX];
        il_fast_head_features(model, 1, state->hidden + at, model->config.width, features);
        il_fast_head_add(state, state->position / (uint64_t)model->config.mini_batch, 1, features, 0,
                         model->config.vocab_size, logits);
    }
    pthread_mutex_unlock(&model->lock);
    return status;
}

void il_session_cancel(il_session *session) { atomic_store(&session->cancelled, 1); }

typedef struct layer_work {
    void *block;
    float *initial, *scratch;
} layer_work;

static void lay_out(const il_model *m, il_arena *arena, layer_work *w) {
    w->initial = il_arena_take(arena, m->shape.carry, sizeof(float));
    w->scratch = il_arena_take(arena, m->shape.scratch, sizeof(float));
}

static void head_stats(const il_state *s, int layer, int h, int complete, const layer_work *w, il_layer_stats *stats) {
    const il_model *m = s->model;
    const il_kernels *k = m->engine->kernels;
    const il_config *c = &m->config;
    il_inner_head head = il_model_inner_head(m, layer, h, 1.0F);
    uint64_t b = (uint64_t)c->mini_batch, now = s->position / b;
    const float *carry = il_state_carry(s, s->frozen ? 0 : now, layer, h);
    m->rule->begin(&head, w->initial);
    k->axpy(m->shape.carry, -1.0F, carry, w->initial);
    stats->weight_norm += k->sum_squares(m->shape.carry, carry);
    stats->change_norm += k->sum_squares(m->shape.carry, w->initial);
    if (!complete) return;
    const float *before = il_state_carry(s, s->frozen ? 0 : now - 1, layer, h);
    const float *rows = il_state_rows(s, now - 1, layer, h);
    const float *v = il_state_v(s, (now - 1) * b, layer) + (ptrdiff_t)h * head.d;
    stats->loss_before += m->rule->loss(&head, before, rows, head.b, v, c->width, w->scratch);
    stats->loss_after += m->rule->loss(&head, carry, rows, head.b, v, c->width, w->scratch);
}

il_status il_session_layer_stats(const il_session *session, int layer, il_layer_stats *stats, il_error *error) {
    const il_state *s = &session->state;
    il_model *m = session->model;
    *stats = (il_layer_stats){NAN, NAN, NAN, NAN};
    if (!m->rule) return il_fail(error, IL_ERR_UNSUPPORTED, "self-attention layers have no fast weights");
    if (layer < 0 || layer >= m->config.layers)
        return il_fail(error, IL_ERR_ARG, "layer %d: layers go from 0 to %d", layer, m->config.layers - 1);
    layer_work w;
    il_arena arena = {0};
    lay_out(m, &arena, &w);
    w.block = il_alloc_raw(&m->engine->memory, arena.used, 1);
    if (!w.block) return il_fail(error, IL_ERR_NOMEM, "no memory for a layer's statistics");
    arena = (il_arena){.base = w.block};
    lay_out(m, &arena, &w);
    uint64_t b = (uint64_t)m->config.mini_batch, now = s->position / b;
    int complete = now && il_state_rewind_limit(s) <= (now - 1) * b;
    double tokens = complete ? (double)m->config.mini_batch * m->config.heads : NAN;
    *stats = (il_layer_stats){0};
    for (int h = 0; h < m->config.heads; h++) head_stats(s, layer, h, complete, &w, stats);
    stats->weight_norm = sqrt(stats->weight_norm);
    stats->change_norm = sqrt(stats->change_norm);
    stats->loss_before /= tokens;
    stats->loss_after /= tokens;
    il_free(&m->engine->memory, w.block);
    return IL_OK;
}

void il_session_get_stats(const il_session *session, il_session_stats *stats) {
    *stats = (il_session_stats){.position = session->state.position, .tokens_fed = session->tokens_fed};
    stats->state_bytes = il_state_bytes(&session->state);
    stats->frozen = session->state.frozen;
}
