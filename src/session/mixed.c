/* mixed.c: see mixed.h. */
#include "session/mixed.h"

#include "base/error.h"
#include "base/maths.h"
#include "session/feed.h"

#include <math.h>
#include <string.h>

enum { UNPREDICTED = UINT32_MAX };

void il_mixed_close(il_mixed *m) {
    if (!m) return;
    il_mix_close(m->before);
    il_mix_close(m->now);
    il_tree_close(&m->tree);
    il_free(m->memory, m->tokens);
    il_free(m->memory, m->odds);
    il_free(m->memory, m->fresh);
    il_free(m->memory, m->row);
    il_free(m->memory, m->sums);
    il_free(m->memory, m);
}

il_status il_mixed_open(il_model *model, il_mixed **mixed, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    size_t vocab = (size_t)model->config.vocab_size, depth;
    il_mixed *m = *mixed = il_alloc(memory, 1, sizeof *m);
    if (!m) return il_fail(error, IL_ERR_NOMEM, "no memory for a mix");
    m->memory = memory;
    m->ring = 2 * (size_t)model->config.mini_batch;
    il_status status = il_tree_open(memory, model->config.vocab_size, NULL, &m->tree, error);
    depth = (size_t)m->tree.depth;
    if (!status) status = il_mix_open(memory, m->tree.depth, 1, IL_MIXED_TOKENS, &m->before, error);
    if (!status) status = il_mix_open(memory, m->tree.depth, 1, IL_MIXED_TOKENS, &m->now, error);
    if (!status) {
        m->tokens = il_alloc(memory, m->ring, sizeof *m->tokens);
        m->odds = il_alloc(memory, m->ring * depth, sizeof *m->odds);
        m->fresh = il_alloc(memory, IL_FEED_CHUNK * depth, sizeof *m->fresh);
        m->row = il_alloc(memory, vocab, sizeof *m->row);
        m->sums = il_alloc(memory, (size_t)2 << depth, sizeof *m->sums);
        if (!m->tokens || !m->odds || !m->fresh || !m->row || !m->sums)
            status = il_fail(error, IL_ERR_NOMEM, "no memory for the predictions of %zu tokens", vocab);
    }
    if (!status) return IL_OK;
    il_mixed_close(m);
    *mixed = NULL;
    return status;
}

static void copy_mix(il_mix *to, il_mix *from) {
    size_t bytes;
    void *learned = il_mix_learned(from, &bytes);
    memcpy(il_mix_learned(to, &bytes), learned, bytes);
}

void il_mixed_copy(il_mixed *to, const il_mixed *from) {
    size_t depth = (size_t)from->tree.depth;
    copy_mix(to->before, from->before);
    copy_mix(to->now, from->now);
    memcpy(to->tokens, from->tokens, from->ring * sizeof *from->tokens);
    memcpy(to->odds, from->odds, from->ring * depth * sizeof *from->odds);
    to->limit = from->limit;
    to->row_position = 0;
}

size_t il_mixed_bytes(const il_mixed *m) {
    size_t bytes, depth = (size_t)m->tree.depth;
    il_mix_learned(m->now, &bytes);
    return 2 * bytes + m->ring * (sizeof *m->tokens + depth * sizeof *m->odds);
}

/* ---- a token ---- */

/* What it cost, -ln p; NaN where nothing predicted it, which the mix does not learn either. */
static double learn(const il_mixed *m, il_mix *mix, int32_t token, const il_odds *odds) {
    uint32_t leaf = (uint32_t)m->tree.leaf[token];
    double nll = 0, one = 1U << IL_MIX_BITS;
    if (odds->ones == UNPREDICTED) return NAN;
    il_mix_begin(mix, 0);
    for (int d = 0; d < m->tree.depth; d++) {
        int bit = (int)(leaf >> (m->tree.depth - 1 - d) & 1);
        uint32_t ones = il_mix_bit(mix, odds[d]);
        if (ones) nll -= il_log_d((bit ? ones : one - ones) / one);
        il_mix_go_on(mix, bit);
    }
    il_mix_end(mix, leaf);
    return nll;
}

static il_odds *kept_odds(const il_mixed *m, uint64_t position) {
    return m->odds + position % m->ring * (size_t)m->tree.depth;
}

/* Brings `before` to a later limit. */
static void settle(il_mixed *m, uint64_t limit) {
    for (; m->limit < limit; m->limit++) learn(m, m->before, m->tokens[m->limit % m->ring], kept_odds(m, m->limit));
}

/* The token of a position was read. */
static double take(il_mixed *m, uint64_t mini_batch, uint64_t position, int32_t token, const il_odds *odds) {
    double nll = learn(m, m->now, token, odds);
    uint64_t open = (position + 1) / mini_batch;
    m->tokens[position % m->ring] = token;
    memcpy(kept_odds(m, position), odds, (size_t)m->tree.depth * sizeof *odds);
    settle(m, open ? (open - 1) * mini_batch : 0);
    return nll;
}

/* A bit that was 1 was possible. A sum of frequencies above 2^30 and what rounding adds is no sum. */
int il_mixed_sound(const il_session *session) {
    const il_mixed *m = session->mixed;
    for (uint64_t p = m->limit; p < session->state.position; p++) {
        const il_odds *odds = kept_odds(m, p);
        uint32_t leaf = (uint32_t)m->tree.leaf[m->tokens[p % m->ring]];
        if (odds->ones == UNPREDICTED) continue;
        for (int d = 0; d < m->tree.depth; d++)
            if (!odds[d].zeros || (!odds[d].ones && leaf >> (m->tree.depth - 1 - d) & 1)) return 0;
    }
    return 1;
}

void il_mixed_rewind(il_session *session) {
    il_mixed *m = session->mixed;
    settle(m, il_state_rewind_limit(&session->state));
    copy_mix(m->now, m->before);
    for (uint64_t p = m->limit; p < session->state.position; p++)
        learn(m, m->now, m->tokens[p % m->ring], kept_odds(m, p));
    m->row_position = 0;
}

/* ---- what the model says ---- */

/* A distribution whose numbers are not finite, or beyond all bounds, says nothing. */
static void soften(int vocab, float *p, float lse) {
    if (fabsf(lse) < 0x1p22F) return;
    for (int i = 0; i < vocab; i++) p[i] = 1.0F / (float)vocab;
}

static il_status know_row(il_session *session, il_error *error) {
    il_mixed *m = session->mixed;
    const il_kernels *kernels = session->model->engine->kernels;
    float lse;
    if (m->row_position == session->state.position) return IL_OK;
    IL_TRY(il_session_own_logits(session, m->row, error));
    kernels->log_sum_exp(1, m->tree.vocab, m->row, m->tree.vocab, &lse);
    kernels->exp_shift(1, m->tree.vocab, m->row, m->tree.vocab, &lse);
    soften(m->tree.vocab, m->row, lse);
    m->row_position = session->state.position;
    return IL_OK;
}

void il_mixed_logits(const il_session *session, float *logits) {
    il_mixed *m = session->mixed;
    const il_kernels *kernels = session->model->engine->kernels;
    float lse;
    kernels->log_sum_exp(1, m->tree.vocab, logits, m->tree.vocab, &lse);
    kernels->exp_shift(1, m->tree.vocab, logits, m->tree.vocab, &lse);
    soften(m->tree.vocab, logits, lse);
    il_tree_sums(&m->tree, logits, m->sums);
    il_mix_all(m->now, 0, m->sums, logits);
}

/* ---- a feed ---- */

/* A chunk of each feed. */
typedef struct lot {
    il_feed *feeds;   /* [n] */
    il_feed *chunk;   /* [n] */
    uint64_t *starts; /* [n]: positions before the chunk */
    size_t n;
} lot;

/* p of a row: the odds of the token behind it, or, of the last one, p itself. */
static void keep_row(void *context, size_t feed, size_t token, const float *p, float lse) {
    const lot *l = context;
    const il_feed *chunk = &l->chunk[feed];
    il_mixed *m = chunk->session->mixed;
    if (!m) return;
    il_odds *odds = token + 1 < chunk->n ? m->fresh + (token + 1) * (size_t)m->tree.depth : NULL;
    int sane = fabsf(lse) < 0x1p22F;
    if (odds && sane) {
        il_tree_way(&m->tree, p, chunk->tokens[token + 1], odds);
    } else if (odds) {
        for (int d = 0; d < m->tree.depth; d++) odds[d] = (il_odds){1, 1};
    } else {
        memcpy(m->row, p, (size_t)m->tree.vocab * sizeof *p);
        soften(m->tree.vocab, m->row, lse);
    }
}

/* The odds of a chunk's first token. */
static il_status begin_chunk(const il_feed *chunk, il_error *error) {
    il_mixed *m = chunk->session->mixed;
    if (!m || !chunk->n) return IL_OK;
    for (int d = 0; d < m->tree.depth; d++) m->fresh[d] = (il_odds){0, UNPREDICTED};
    if (!chunk->session->state.position) return IL_OK;
    IL_TRY(know_row(chunk->session, error));
    il_tree_way(&m->tree, m->row, chunk->tokens[0], m->fresh);
    return IL_OK;
}

/* The chunk has read as far as it could, from position `start`. */
static void end_chunk(il_feed *feed, const il_feed *chunk, uint64_t start) {
    il_session *session = chunk->session;
    il_mixed *m = session->mixed;
    uint64_t position = session->state.position;
    if (m && position < start) il_mixed_rewind(session);
    for (uint64_t p = start; m && p < position; p++) {
        size_t i = (size_t)(p - start);
        double nll = take(m, (uint64_t)session->model->config.mini_batch, p, chunk->tokens[i],
                          m->fresh + i * (size_t)m->tree.depth);
        if (feed->nll) feed->nll[feed->consumed + i] = (float)nll;
    }
    if (m) m->row_position = chunk->consumed == chunk->n ? position : 0;
    feed->consumed += chunk->consumed;
}

static il_status read_chunk(lot *l, int *done, il_error *error) {
    il_status status = IL_OK;
    *done = 1;
    for (size_t i = 0; i < l->n && !status; i++) {
        il_feed *f = &l->feeds[i];
        size_t at = f->consumed, left = f->n - at, vocab = (size_t)f->session->model->config.vocab_size;
        l->chunk[i] = *f;
        l->chunk[i].tokens = f->tokens + at;
        l->chunk[i].n = left < IL_FEED_CHUNK ? left : IL_FEED_CHUNK;
        l->chunk[i].nll = f->nll && !f->session->mixed ? f->nll + at : NULL;
        l->chunk[i].slow_nll = f->slow_nll ? f->slow_nll + at : NULL;
        l->chunk[i].logits = f->logits ? f->logits + at * vocab : NULL;
        l->chunk[i].hidden = f->hidden ? f->hidden + at * (size_t)f->session->model->config.width : NULL;
        if (left) *done = 0;
        status = begin_chunk(&l->chunk[i], error);
    }
    if (status || *done) return status;
    for (size_t i = 0; i < l->n; i++) l->starts[i] = l->feeds[i].session->state.position;
    status = il_feed_go_on(l->chunk, l->n, &(il_row_sink){keep_row, l}, error);
    for (size_t i = 0; i < l->n; i++) end_chunk(&l->feeds[i], &l->chunk[i], l->starts[i]);
    return status;
}

il_status il_mixed_feed(il_feed *feeds, size_t n, il_error *error) {
    const il_allocator *memory = &feeds[0].session->model->engine->memory;
    for (size_t i = 0; i < n; i++)
        if (feeds[i].logits && feeds[i].session->mixed)
            return il_fail(error, IL_ERR_UNSUPPORTED,
                           "feed %zu: with a mix there are logits of the last token only (il_session_logits)", i);
    lot l = {feeds, il_alloc(memory, n, sizeof *l.chunk), il_alloc(memory, n, sizeof *l.starts), n};
    il_status status = l.chunk && l.starts ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for %zu feeds", n);
    for (int done = 0; !status && !done;) status = read_chunk(&l, &done, error);
    il_free(memory, l.chunk);
    il_free(memory, l.starts);
    return status;
}
