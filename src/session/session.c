/* session.c: the life of a session: open, fork, rewind, logits, statistics. Feeding is feed.c. */
#include "session/session.h"

#include "session/mixed.h"

#include "base/error.h"
#include "base/utf8.h"
#include "model/fast_head.h"
#include "model/lm_head.h"
#include "model/mixer.h"
#include "model/undo.h"
#include <math.h>
#include <string.h>

void il_session_options_default(il_session_options *options) { *options = (il_session_options){0}; }

/* The model's shared workspace and its packs are made when the first session is opened, so that feeding a session
 * allocates nothing (a batch of them may, the first time). */
static il_status prepare(il_model *model, il_error *error) {
    pthread_mutex_lock(&model->lock);
    il_status status = il_model_refresh(model, 1, error);
    if (status == IL_OK && !model->work) {
        il_workspace *work = il_alloc(&model->engine->memory, 1, sizeof *work);
        status = work ? il_workspace_open(model, il_workspace_tokens(model, IL_FEED_CHUNK), work, error)
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
    if (status == IL_OK) {
        pthread_mutex_lock(&model->lock);
        status = il_workspace_undo_room(model->work, il_undo_bytes_max(&s->state), error);
        pthread_mutex_unlock(&model->lock);
    }
    if (status == IL_OK && options->mix) status = il_mixed_open(model, &s->mixed, error);
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
    il_mixed_close(session->mixed);
    il_free(&model->engine->memory, session->note);
    il_free(&model->engine->memory, session);
    il_model_unref(model);
}

il_status il_session_fork(const il_session *session, il_session **copy, il_error *error) {
    il_session_options options = {.frozen = session->state.frozen, .mix = session->mixed != NULL};
    IL_TRY(il_session_open(session->model, &options, copy, error));
    il_status status = il_state_copy(&(*copy)->state, &session->state, error);
    if (session->mixed) il_mixed_copy((*copy)->mixed, session->mixed);
    if (status == IL_OK) status = il_session_set_note(*copy, session->note, error);
    if (status != IL_OK) {
        il_session_close(*copy);
        *copy = NULL;
    }
    return status;
}

il_status il_session_set_note(il_session *session, const char *note, il_error *error) {
    const il_allocator *memory = &session->model->engine->memory;
    size_t bytes = note ? strlen(note) : 0;
    char *copy = NULL;
    for (size_t at = 0, length; at < bytes; at += length)
        if (!(length = (size_t)il_utf8_length(note + at, bytes - at)))
            return il_fail(error, IL_ERR_ARG, "the note is not UTF-8 at byte %zu", at);
    if (bytes > IL_NOTE_BYTES_MAX)
        return il_fail(error, IL_ERR_ARG, "a note of %zu bytes: at most %d are kept", bytes, IL_NOTE_BYTES_MAX);
    if (note && !(copy = il_strdup(memory, note))) return il_fail(error, IL_ERR_NOMEM, "no memory for a note");
    il_free(memory, session->note);
    session->note = copy;
    return IL_OK;
}

const char *il_session_note(const il_session *session) { return session->note; }

uint64_t il_session_position(const il_session *session) { return session->state.position; }
uint64_t il_session_rewind_limit(const il_session *session) { return il_state_rewind_limit(&session->state); }

il_status il_session_rewind(il_session *session, uint64_t position, il_error *error) {
    uint64_t now = session->state.position, limit = il_state_rewind_limit(&session->state);
    if (position > now || position < limit)
        return il_fail(error, IL_ERR_ARG, "cannot rewind to position %llu: only %llu to %llu are kept",
                       (unsigned long long)position, (unsigned long long)limit, (unsigned long long)now);
    il_state_rewind(&session->state, position);
    if (session->mixed) il_mixed_rewind(session);
    return IL_OK;
}

il_status il_session_own_logits(il_session *session, float *logits, il_error *error) {
    const il_state *state = &session->state;
    if (!state->position) return il_fail(error, IL_ERR_ARG, "no logits before the first token");
    il_model *model = session->model;
    pthread_mutex_lock(&model->lock);
    il_status status = il_model_refresh(model, 1, error);
    const float *hidden = il_state_hidden(state, state->position - 1);
    if (status == IL_OK) il_lm_head_logits(model, model->work, 1, hidden, model->config.width, logits);
    if (status == IL_OK && state->fast.weights) {
        float features[IL_FAST_HEAD_MAX];
        il_fast_head_features(model, 1, hidden, model->config.width, features);
        il_fast_head_add(state, state->position / (uint64_t)model->config.mini_batch, 1, features, 0,
                         il_fast_head_columns(&model->config), logits, model->work->learned);
    }
    if (status == IL_OK && !model->engine->kernels->all_finite((size_t)model->config.vocab_size, logits))
        status = il_fail(error, IL_ERR_NONFINITE,
                         "the prediction of the token at position %llu is not finite: the output head's logits are too "
                         "large",
                         (unsigned long long)state->position);
    pthread_mutex_unlock(&model->lock);
    return status;
}

il_status il_session_logits(il_session *session, float *logits, il_error *error) {
    IL_TRY(il_session_own_logits(session, logits, error));
    if (session->mixed) il_mixed_logits(session, logits);
    return IL_OK;
}

void il_session_cancel(il_session *session) {
    int feeding = IL_SESSION_FEEDING;
    atomic_compare_exchange_strong(&session->activity, &feeding, IL_SESSION_CANCELLED);
}

il_status il_session_layer_stats(const il_session *session, int layer, il_layer_stats *stats, il_error *error) {
    const il_state *s = &session->state;
    const il_model *m = session->model;
    *stats = (il_layer_stats){NAN, NAN, NAN, NAN};
    if (layer < 0 || layer >= m->config.layers)
        return il_fail(error, IL_ERR_ARG, "layer %d: layers go from 0 to %d", layer, m->config.layers - 1);
    if (!m->layers[layer].mixer->stats)
        return il_fail(error, IL_ERR_UNSUPPORTED, "self-attention layers have no fast weights");
    return m->layers[layer].mixer->stats(s, layer, stats, error);
}

void il_session_get_stats(const il_session *session, il_session_stats *stats) {
    *stats = (il_session_stats){.position = session->state.position, .tokens_fed = session->tokens_fed};
    stats->state_bytes = il_state_bytes(&session->state) + (session->mixed ? il_mixed_bytes(session->mixed) : 0);
    stats->mixed = session->mixed != NULL;
    stats->frozen = session->state.frozen;
}
