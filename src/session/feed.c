/* feed.c: reading tokens, one sequence or a ragged batch of them, in chunks of constant memory. */
#include "session/feed.h"

#include "base/error.h"
#include "model/forward.h"
#include "model/mini_batches.h"
#include "model/undo.h"
#include "session/mixed.h"
#include "session/outputs.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

il_status il_feed_check(const il_feed *feeds, size_t n, il_error *error) {
    for (size_t i = 0; i < n; i++) {
        const il_feed *f = &feeds[i];
        if (f->session->model != feeds[0].session->model)
            return il_fail(error, IL_ERR_ARG, "feed %zu: its session belongs to a different model than feed 0's", i);
        for (size_t j = 0; j < i; j++)
            if (feeds[j].session == f->session)
                return il_fail(error, IL_ERR_ARG, "feeds %zu and %zu have the same session", j, i);
        int vocab = f->session->model->config.vocab_size;
        for (size_t t = 0; t < f->n; t++)
            if (f->tokens[t] < 0 || f->tokens[t] >= vocab)
                return il_fail(error, IL_ERR_ARG, "token %zu is %d: ids go from 0 to %d", t, f->tokens[t], vocab - 1);
    }
    return IL_OK;
}

/* What came out of the passes of a call that is not finite. */
typedef struct trouble {
    int layer;         /* that keeps a number which is not; -1: none does, but one came out after the last layer */
    int found;         /* a loss or logits are not finite: the prediction */
    size_t feed;       /* of that feed */
    uint64_t position; /* of the token there */
} trouble;

/* One forward pass over the parts: tokens read, states moved on. Whether every number it left is finite. */
static int run(il_model *model, il_workspace *work, const il_part *parts, int n_parts, trouble *t) {
    const il_kernels *kernels = model->engine->kernels;
    int32_t tokens[IL_FEED_CHUNK];
    il_segment segments[IL_PARTS];
    int total = 0;
    for (int i = 0; i < n_parts; i++) {
        const il_feed *f = parts[i].feed;
        segments[i] = (il_segment){.first = total, .n = (int)parts[i].n, .state = &f->session->state};
        memcpy(tokens + total, f->tokens + f->consumed, parts[i].n * sizeof *tokens);
        total += (int)parts[i].n;
    }
    il_pass pass = {.model = model,
                    .work = work,
                    .segments = segments,
                    .n_segments = n_parts,
                    .tokens = total,
                    .inner_lr = 1.0F,
                    .undoable = 1};
    il_forward(&pass, tokens);
    /* Whatever goes wrong inside a layer reaches its tokens' hidden vectors, or what its mixer keeps. */
    for (int layer = 0; layer < model->config.layers; layer++) {
        const il_mixer *mixer = model->layers[layer].mixer;
        for (int i = 0; i < n_parts && mixer->all_finite; i++) {
            t->layer = layer;
            if (!mixer->all_finite(segments[i].state, layer, parts[i].start)) return 0;
        }
    }
    t->layer = -1;
    if (!kernels->all_finite((size_t)total * (size_t)model->config.width, work->hidden)) return 0;
    if (!il_settles_finite(&pass)) return 0;
    il_settle(&pass);
    return 1;
}

typedef struct logits_job {
    const il_model *model;
    const il_part *parts;
    unsigned char wrong[IL_FEED_CHUNK]; /* by row of the pass: whether its logits are not finite */
} logits_job;

static void logits_run(void *context, int row, int worker) {
    logits_job *job = context;
    const il_part *p = job->parts;
    size_t vocab = (size_t)job->model->config.vocab_size;
    (void)worker;
    while (row >= p->first + (int)p->n) p++;
    const float *logits = p->feed->logits;
    size_t at = p->feed->consumed + (size_t)(row - p->first);
    job->wrong[row] = logits && !job->model->engine->kernels->all_finite(vocab, logits + at * vocab);
}

/* The layers were finite, but the product with the output head may still overflow. */
static void check_outputs(const il_model *model, const il_part *parts, int n_parts, trouble *t) {
    logits_job job = {.model = model, .parts = parts};
    const il_part *last = &parts[n_parts - 1];
    int wanted = 0;
    for (int i = 0; i < n_parts; i++) wanted |= parts[i].feed->logits != NULL;
    if (wanted) il_pool_run(model->engine->pool, last->first + (int)last->n, logits_run, &job);
    for (int i = 0; i < n_parts; i++) {
        const il_part *p = &parts[i];
        const float *nll = p->feed->nll, *slow_nll = p->feed->slow_nll;
        if (t->found && t->feed <= p->index) continue; /* the first of the first feed is told */
        for (size_t row = 0; row < p->n; row++) {
            size_t at = p->feed->consumed + row;
            int predicted = p->start + row > 0;
            int wrong = predicted && ((nll && !isfinite(nll[at])) || (slow_nll && !isfinite(slow_nll[at])));
            if (!wrong && !job.wrong[(size_t)p->first + row]) continue;
            *t = (trouble){.layer = -1, .found = 1, .feed = p->index, .position = p->start + row + !wrong};
            break;
        }
    }
}

/* A pass and its outputs; 0 if a number came out non-finite, with nothing counted as consumed. */
static int step(il_model *model, il_workspace *work, il_part *parts, int n_parts, trouble *t) {
    for (int i = 0, first = 0; i < n_parts; i++) {
        parts[i].start = parts[i].feed->session->state.position;
        parts[i].first = first;
        first += (int)parts[i].n;
    }
    il_outputs_before(model, work, parts, n_parts);
    if (!run(model, work, parts, n_parts, t)) return 0;
    il_outputs_after(model, work, parts, n_parts);
    check_outputs(model, parts, n_parts, t);
    for (int i = 0; i < n_parts; i++) {
        parts[i].feed->consumed += parts[i].n;
        parts[i].feed->session->tokens_fed += parts[i].n;
    }
    return 1;
}

/* Tokens of this part up to the end of the mini-batch it starts in. */
static size_t to_boundary(const il_part *p) {
    size_t b = (size_t)p->feed->session->model->config.mini_batch;
    size_t left = b - (size_t)(p->feed->session->state.position % b);
    return left < p->n ? left : p->n;
}

/* Makes sure that the pass can be undone. Memory that grows with the sequence is only ever appended to. */
static il_status keep(il_workspace *work, il_part *parts, int n_parts, il_error *error) {
    size_t room = 0;
    for (int i = 0; i < n_parts; i++) room += il_undo_bytes(&parts[i].feed->session->state, parts[i].n);
    if (!room) return IL_OK;
    IL_TRY(il_workspace_undo_room(work, room, error));
    char *undo = work->undo;
    for (int i = 0; i < n_parts; i++) {
        il_state *state = &parts[i].feed->session->state;
        size_t bytes = il_undo_bytes(state, parts[i].n);
        if (!bytes) continue;
        parts[i].undo = undo;
        undo += bytes;
        il_undo_keep(state, parts[i].undo);
    }
    return IL_OK;
}

/* After a pass went wrong and was undone: reads the part again, one mini-batch at a time, and stops before
 * the one that goes wrong. */
static il_status crawl(il_model *model, il_workspace *work, const il_part *whole, trouble *t, il_error *error) {
    il_session *s = whole->feed->session;
    for (size_t done = 0; done < whole->n;) {
        il_part next = {.feed = whole->feed, .n = whole->n - done, .index = whole->index, .sink = whole->sink};
        next.n = to_boundary(&next);
        uint64_t start = s->state.position - s->state.position % (uint64_t)model->config.mini_batch;
        if (!step(model, work, &next, 1, t)) {
            char where[32] = "after the last layer";
            if (t->layer >= 0) snprintf(where, sizeof where, "in layer %d", t->layer);
            il_state_rewind(&s->state, start);
            return il_fail(error, IL_ERR_NONFINITE,
                           "feed %zu: non-finite numbers %s in the mini-batch at position %llu; the session is "
                           "back at its start",
                           whole->index, where, (unsigned long long)start);
        }
        done += next.n;
    }
    return IL_OK;
}

static void set_activity(const il_feed *feeds, size_t n, int activity) {
    for (size_t i = 0; i < n; i++) atomic_store(&feeds[i].session->activity, activity);
}

/* Whether one of the sessions was cancelled while something is left to read. */
static il_status check_cancelled(const il_feed *feeds, size_t n, il_error *error) {
    size_t left = 0;
    for (size_t i = 0; i < n && !left; i++) left = feeds[i].n - feeds[i].consumed;
    for (size_t i = 0; i < n && left; i++)
        if (atomic_load(&feeds[i].session->activity) == IL_SESSION_CANCELLED)
            return il_fail(error, IL_ERR_CANCELLED, "feed %zu was cancelled", i);
    return IL_OK;
}

/* One chunk of the batch: as many sequences and tokens as fit. *done is set when nothing was left to read. */
static il_status chunk(il_workspace *work, il_feed *feeds, size_t n, const il_row_sink *sink, trouble *t, int *done,
                       il_error *error) {
    il_model *model = feeds[0].session->model;
    il_part parts[IL_PARTS];
    size_t room = (size_t)work->tokens;
    int n_parts = 0;
    for (size_t i = 0; i < n && n_parts < IL_PARTS && room; i++) {
        il_feed *f = &feeds[i];
        size_t left = f->n - f->consumed;
        if (!left) continue;
        il_part *p = &parts[n_parts++];
        *p = (il_part){.feed = f, .n = left < room ? left : room, .index = i, .sink = sink};
        IL_TRY(il_state_reserve(&f->session->state, f->session->state.position + p->n, error));
        room -= p->n;
    }
    *done = !n_parts;
    if (*done) return IL_OK;
    IL_TRY(keep(work, parts, n_parts, error));
    if (step(model, work, parts, n_parts, t)) return IL_OK;
    for (int i = 0; i < n_parts; i++) il_undo(&parts[i].feed->session->state, parts[i].start, parts[i].undo);
    for (int i = 0; i < n_parts; i++) IL_TRY(crawl(model, work, &parts[i], t, error));
    return IL_OK;
}

static il_status tell(const trouble *t, il_error *error) {
    if (!t->found) return IL_OK;
    return il_fail(error, IL_ERR_NONFINITE,
                   "feed %zu: the prediction of the token at position %llu is not finite: the output head's logits are "
                   "too large",
                   t->feed, (unsigned long long)t->position);
}

il_status il_feed_go_on(il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error) {
    il_model *model = feeds[0].session->model;
    il_status status = IL_OK;
    trouble t = {.layer = -1};
    for (size_t i = 0; i < n; i++) feeds[i].consumed = 0;
    for (int done = 0; status == IL_OK && !done;) {
        pthread_mutex_lock(&model->lock); /* for one chunk: then other threads may feed sessions of this model */
        status = check_cancelled(feeds, n, error);
        if (status == IL_OK) status = il_model_refresh(model, 1, error);
        if (status == IL_OK) status = chunk(model->work, feeds, n, sink, &t, &done, error);
        pthread_mutex_unlock(&model->lock);
    }
    return status ? status : tell(&t, error);
}

il_status il_feed_aside(il_workspace *work, il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error) {
    trouble t = {.layer = -1};
    for (size_t i = 0; i < n; i++) feeds[i].consumed = 0;
    for (int done = !n; !done;) IL_TRY(chunk(work, feeds, n, sink, &t, &done, error));
    return tell(&t, error);
}

static il_status read_by(il_feed *feeds, size_t n, const il_row_sink *sink, int mixed, il_error *error) {
    for (size_t i = 0; i < n; i++) feeds[i].consumed = 0;
    if (!n) return IL_OK;
    set_activity(feeds, n, IL_SESSION_FEEDING);
    il_status status = il_feed_check(feeds, n, error);
    if (status == IL_OK) status = mixed ? il_mixed_feed(feeds, n, error) : il_feed_go_on(feeds, n, sink, error);
    set_activity(feeds, n, IL_SESSION_IDLE);
    return status;
}

il_status il_feed_many(il_feed *feeds, size_t n, il_error *error) {
    int mixed = 0;
    for (size_t i = 0; i < n; i++) mixed |= feeds[i].session->mixed != NULL;
    return read_by(feeds, n, NULL, mixed, error);
}

il_status il_feed_read(il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error) {
    return read_by(feeds, n, sink, 0, error);
}

il_status il_session_feed(il_session *session, const int32_t *tokens, size_t n, float *nll, size_t *consumed,
                          il_error *error) {
    il_feed feed = {.session = session, .tokens = tokens, .n = n, .nll = nll};
    il_status status = il_feed_many(&feed, 1, error);
    if (consumed) *consumed = feed.consumed;
    return status;
}
