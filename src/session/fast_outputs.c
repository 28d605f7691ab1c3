/* fast_outputs.c: logits and losses of a pass with a fast head, which learns at the end of every mini-batch from the
 * logits of its tokens, so they are computed whether asked for or not.
 *
 * The rows of a pass fall into pieces: those whose predictions, of tokens m*b .. m*b+b-1, are made with the same F_m. A
 * piece of a mini-batch that the pass completes has all its rows, also those of tokens read before, unless the session
 * kept what it is to learn from them (il_fast_state.softmax): as it does whenever logits are asked for without losses,
 * so that text written or decoded token by token costs the head's product once. A block is as many pieces as the
 * workspace holds rows; its head product is made at once, then the pieces of different sequences go side by side, those
 * of one sequence one after another: a round each. */
#include "session/outputs.h"

#include "model/fast_head.h"
#include "model/lm_head.h"
#include <math.h>
#include <string.h>

enum { COLUMNS = 1024 /* of the vocabulary, an item of work */, FEATURE_ROWS = 16 };

typedef struct piece {
    const il_part *part;
    uint64_t mini_batch, first; /* first: position of the hidden vector of its first row */
    int row, n;                 /* rows of the block */
    int kept;                   /* rows before these that the session kept */
    int round;                  /* how many pieces of its sequence come before it in the block */
    int learns;                 /* from all rows at the end of its mini-batch, or else */
    int keeps;                  /* its rows until then */
} piece;

typedef struct block {
    il_model *model;
    il_workspace *work;
    int n_pieces, rows, rounds, slow;
    piece pieces[IL_LOGIT_ROWS];
    /* the round under way */
    int n_items, items[IL_LOGIT_ROWS]; /* pieces */
    int round_rows, column_items;
    float *features, *steps;
} block;

static il_state *state_of(const piece *p) { return &p->part->feed->session->state; }

/* First hidden vector that predicts a token of mini-batch m. */
static uint64_t first_row(uint64_t m, uint64_t b) { return m ? m * b - 1 : 0; }

/* Of a part the rows that predict tokens of mini-batch m, as far as they are needed; n 0: none are. */
static piece piece_of(const il_part *part, uint64_t m) {
    const il_feed *f = part->feed;
    const il_state *s = &f->session->state;
    uint64_t b = (uint64_t)s->model->config.mini_batch, start = part->start, end = start + part->n;
    uint64_t last = first_row(m + 1, b), losses = f->nll || f->slow_nll;
    int wanted = f->logits || part->reader;
    piece p = {
        .part = part, .mini_batch = m, .first = first_row(m, b), .learns = s->fast.weights && (m + 1) * b <= end};
    p.keeps = s->fast.weights && !p.learns && wanted && !losses;
    if (!p.learns && !losses && !wanted) return p;
    if (!p.learns && p.first + losses < start) p.first = start - losses;
    if (last > end) last = end;
    if (!p.learns && !wanted && last == end) last--; /* what comes next is not known yet */
    if (last > p.first) p.n = (int)(last - p.first);
    if (p.learns && p.first < start && !losses && s->fast.kept_from <= p.first && s->fast.kept_to == start &&
        s->fast.kept_version == s->model->version) {
        p.kept = (int)(start - p.first) < p.n ? (int)(start - p.first) : p.n;
        p.first += (uint64_t)p.kept;
        p.n -= p.kept;
    }
    return p;
}

/* ---- before the pass ---- */

void il_fast_outputs_before(const il_part *parts, int n_parts) {
    for (int i = 0; i < n_parts; i++) {
        const il_state *s = &parts[i].feed->session->state;
        uint64_t start = parts[i].start;
        size_t width = (size_t)s->model->config.width;
        piece p = piece_of(&parts[i], start / (uint64_t)s->model->config.mini_batch);
        for (uint64_t at = p.first; p.n && at < start; at++)
            memcpy(s->fast.past + (size_t)(at - p.first) * width, il_state_hidden(s, at), width * sizeof(float));
    }
}

/* ---- the steps of a round ---- */

/* Whether the block has a piece there whose sequence also has the one before it. */
static int follows(const block *k, const piece *p) { return p < k->pieces + k->n_pieces && p->round > 0; }

/* The piece of an item, and its columns. */
static const piece *columns_of(const block *k, int item, int *from, int *to) {
    int vocab = k->model->config.vocab_size;
    *from = item % k->column_items * COLUMNS;
    *to = vocab - *from < COLUMNS ? vocab : *from + COLUMNS;
    return &k->pieces[k->items[item / k->column_items]];
}

static void features_run(void *context, int item, int worker) {
    block *k = context;
    const il_config *c = &k->model->config;
    int row = item * FEATURE_ROWS, n = k->rows - row < FEATURE_ROWS ? k->rows - row : FEATURE_ROWS;
    ptrdiff_t at = (ptrdiff_t)row * c->fast_head_size;
    (void)worker;
    il_fast_head_features(k->model, n, k->work->rows + (ptrdiff_t)row * c->width, c->width, k->features + at);
    k->model->engine->kernels->scale((size_t)n * (size_t)c->fast_head_size, -(float)c->fast_head_lr, k->features + at,
                                     k->steps + at);
}

static void add(const block *k, const piece *p, int from, int to) {
    const il_config *c = &k->model->config;
    if (!state_of(p)->fast.weights) return;
    il_fast_head_add(state_of(p), p->mini_batch, p->n, k->features + (ptrdiff_t)p->row * c->fast_head_size, from, to,
                     k->work->logits + (ptrdiff_t)p->row * c->vocab_size);
}

static void add_run(void *context, int item, int worker) {
    const block *k = context;
    int from, to;
    const piece *p = columns_of(k, item, &from, &to);
    (void)worker;
    add(k, p, from, to);
}

/* And, while these columns of the new F are in the cache, what they add to the piece that follows. */
static void learn_run(void *context, int item, int worker) {
    const block *k = context;
    const il_config *c = &k->model->config;
    int from, to;
    const piece *p = columns_of(k, item, &from, &to);
    const il_state *s = state_of(p);
    (void)worker;
    if (!p->learns) return;
    const il_fast_rows rows[] = {
        {p->kept, s->fast.steps, s->fast.softmax},
        {p->n, k->steps + (ptrdiff_t)p->row * c->fast_head_size, k->work->logits + (ptrdiff_t)p->row * c->vocab_size}};
    il_fast_head_learn(s, p->mini_batch, 2, rows, from, to);
    if (follows(k, p + 1)) add(k, p + 1, from, to);
}

/* The token that a row predicts: its place in the feed's part, and itself; place n or more: not known yet, negative:
 * read before. */
static ptrdiff_t target_of(const piece *p, int row, int32_t *token) {
    const il_feed *f = p->part->feed;
    const il_state *s = state_of(p);
    uint64_t position = p->first + (uint64_t)row + 1;
    ptrdiff_t place = (ptrdiff_t)(int64_t)(position - p->part->start);
    *token = -1;
    if (place < 0)
        *token = s->fast.tokens[position % (2 * (uint64_t)s->model->config.mini_batch)];
    else if (place < (ptrdiff_t)p->part->n)
        *token = f->tokens[f->consumed + (size_t)place];
    return place;
}

/* Where the loss of a row goes; NULL: nowhere. */
static float *loss_at(const piece *p, float *nll, ptrdiff_t place) {
    return nll && place >= 0 && place < (ptrdiff_t)p->part->n ? nll + p->part->feed->consumed + place : NULL;
}

static const piece *row_of(const block *k, int item, int *row) {
    for (int i = 0;; i++) {
        const piece *p = &k->pieces[k->items[i]];
        if (item < p->n) {
            *row = item;
            return p;
        }
        item -= p->n;
    }
}

/* Of all pieces of the block, before anything is added to the head's logits. */
static void slow_run(void *context, int item, int worker) {
    block *k = context;
    int vocab = k->model->config.vocab_size;
    const piece *p = &k->pieces[item];
    (void)worker;
    for (int row = 0; row < p->n; row++) {
        int32_t token;
        const float *logits = k->work->logits + (ptrdiff_t)(p->row + row) * vocab;
        float *loss = loss_at(p, p->part->feed->slow_nll, target_of(p, row, &token));
        if (!loss) continue;
        k->model->engine->kernels->log_sum_exp(1, vocab, logits, vocab, loss);
        *loss -= logits[token];
    }
}

/* What the session needs of a row to learn from it later. */
static void keep_row(const block *k, const piece *p, int row, const float *softmax) {
    const il_config *c = &k->model->config;
    const il_state *s = state_of(p);
    size_t vocab = (size_t)c->vocab_size, size = (size_t)c->fast_head_size;
    size_t place = (size_t)(p->first - first_row(p->mini_batch, (uint64_t)c->mini_batch)) + (size_t)row;
    memcpy(s->fast.softmax + place * vocab, softmax, vocab * sizeof *softmax);
    memcpy(s->fast.steps + place * size, k->steps + (size_t)(p->row + row) * size, size * sizeof *softmax);
}

static void row_run(void *context, int item, int worker) {
    block *k = context;
    const il_kernels *kernels = k->model->engine->kernels;
    int row, vocab = k->model->config.vocab_size;
    int32_t token;
    const piece *p = row_of(k, item, &row);
    const il_feed *f = p->part->feed;
    const il_row_sink *reader = p->part->reader;
    float *logits = k->work->logits + (ptrdiff_t)(p->row + row) * vocab, *lse = k->work->lse + p->row + row;
    ptrdiff_t place = target_of(p, row, &token);
    float *loss = loss_at(p, f->nll, place);
    size_t at = f->consumed + (size_t)place - 1;
    int read = reader && place > 0;
    (void)worker;
    if (f->logits && place > 0) memcpy(f->logits + at * (size_t)vocab, logits, (size_t)vocab * sizeof *logits);
    if (!loss && !p->learns && !p->keeps && !read) return;
    kernels->log_sum_exp(1, vocab, logits, vocab, lse);
    if (loss) *loss = *lse - logits[token];
    if (!p->learns && !p->keeps && !read) return;
    kernels->exp_shift(1, vocab, logits, vocab, lse);
    if (read) reader->row(reader->context, p->part->index, at, logits, *lse);
    if (p->learns)
        il_fast_head_error(k->model, token, isfinite(*lse), logits);
    else if (p->keeps)
        keep_row(k, p, row, logits);
}

/* What the session keeps from now on. A row whose softmax is no number is computed again when its time comes. */
static void note_kept(const block *k, const piece *p) {
    il_state *s = state_of(p);
    if (p->learns) s->fast.kept_from = s->fast.kept_to = 0;
    if (!p->keeps) return;
    for (int row = 0; row < p->n; row++) {
        uint64_t at = p->first + (uint64_t)row;
        if (s->fast.kept_to != at || s->fast.kept_version != k->model->version) s->fast.kept_from = at;
        s->fast.kept_to = at + 1;
        s->fast.kept_version = k->model->version;
        if (!isfinite(k->work->lse[p->row + row])) s->fast.kept_from = s->fast.kept_to;
    }
}

/* Kept rows become what is to be learned: their targets are known now. */
static void kept_errors(const block *k, const piece *p) {
    for (int i = 0; i < p->kept; i++) {
        int32_t token;
        target_of(p, i - p->kept, &token);
        il_fast_head_error(k->model, token, 1, state_of(p)->fast.softmax + (ptrdiff_t)i * k->model->config.vocab_size);
    }
}

/* ---- blocks ---- */

static void gather(const block *k) {
    size_t width = (size_t)k->model->config.width;
    for (int i = 0; i < k->n_pieces; i++) {
        const piece *p = &k->pieces[i];
        uint64_t start = p->part->start, behind = p->first < start ? 0 : p->first - start;
        size_t past = p->first < start ? (size_t)(start - p->first) : 0;
        float *to = k->work->rows + (size_t)p->row * width;
        if (past > (size_t)p->n) past = (size_t)p->n;
        memcpy(to, state_of(p)->fast.past, past * width * sizeof *to);
        memcpy(to + past * width, k->work->hidden + ((size_t)p->part->first + (size_t)behind) * width,
               ((size_t)p->n - past) * width * sizeof *to);
    }
}

static void run_round(block *k, int round) {
    il_pool *pool = k->model->engine->pool;
    int learns = 0;
    k->n_items = k->round_rows = 0;
    for (int i = 0; i < k->n_pieces; i++) {
        const piece *p = &k->pieces[i];
        if (p->round != round) continue;
        k->items[k->n_items++] = i;
        k->round_rows += p->n;
        learns |= p->learns;
        kept_errors(k, p);
    }
    if (!round) il_pool_run(pool, k->n_items * k->column_items, add_run, k);
    il_pool_run(pool, k->round_rows, row_run, k);
    if (learns) il_pool_run(pool, k->n_items * k->column_items, learn_run, k);
    for (int i = 0; i < k->n_items; i++) note_kept(k, &k->pieces[k->items[i]]);
}

static void flush(block *k) {
    il_pool *pool = k->model->engine->pool;
    if (!k->n_pieces) return;
    gather(k);
    il_lm_head_logits(k->model, k->work, k->rows, k->work->rows, k->model->config.width, k->work->logits);
    if (k->slow) il_pool_run(pool, k->n_pieces, slow_run, k);
    il_pool_run(pool, (k->rows + FEATURE_ROWS - 1) / FEATURE_ROWS, features_run, k);
    for (int i = 0; i < k->rounds; i++) run_round(k, i);
    k->n_pieces = k->rows = k->rounds = k->slow = 0;
}

static void add_piece(block *k, piece p) {
    if (k->rows + p.n > k->work->logit_rows || k->n_pieces == IL_LOGIT_ROWS) flush(k);
    p.row = k->rows;
    p.round = k->n_pieces && k->pieces[k->n_pieces - 1].part == p.part ? k->pieces[k->n_pieces - 1].round + 1 : 0;
    k->rows += p.n;
    if (p.round >= k->rounds) k->rounds = p.round + 1;
    k->slow |= p.part->feed->slow_nll != NULL;
    k->pieces[k->n_pieces++] = p;
}

static void add_part(block *k, const il_part *part) {
    const il_feed *f = part->feed;
    uint64_t b = (uint64_t)k->model->config.mini_batch, end = part->start + part->n;
    for (uint64_t m = part->start / b; m <= end / b; m++) {
        piece p = piece_of(part, m);
        if (p.n || p.kept) add_piece(k, p);
    }
    if (!part->start && f->nll) f->nll[f->consumed] = NAN;
    if (!part->start && f->slow_nll) f->slow_nll[f->consumed] = NAN;
}

void il_fast_outputs_after(il_model *model, const il_part *parts, int n_parts) {
    block k = {.model = model, .work = model->work};
    k.column_items = (model->config.vocab_size + COLUMNS - 1) / COLUMNS;
    k.features = model->work->features;
    k.steps = k.features + (size_t)model->work->logit_rows * (size_t)model->config.fast_head_size;
    for (int i = 0; i < n_parts; i++) add_part(&k, &parts[i]);
    flush(&k);
    uint64_t ring = 2 * (uint64_t)model->config.mini_batch;
    for (int i = 0; i < n_parts; i++) {
        const il_part *p = &parts[i];
        const int32_t *tokens = p->feed->tokens + p->feed->consumed;
        for (size_t t = p->n > ring ? p->n - (size_t)ring : 0; t < p->n; t++)
            p->feed->session->state.fast.tokens[(p->start + t) % ring] = tokens[t];
    }
}
