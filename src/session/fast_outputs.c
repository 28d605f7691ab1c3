/* fast_outputs.c: logits and losses of a pass with a fast head, which learns at the end of every mini-batch from the
 * logits of its tokens, so they are computed whether asked for or not. fast_plan.h draws which rows that takes.
 *
 * The rows that the workspace holds at once are a lot: the output head's product is made for all of them together. Then
 * what the fast head adds and learns goes in turns: in each turn a group of every sequence, side by side, those of one
 * sequence one after another, because each needs the F that the one before it leaves:
 *
 *     sequence     turn 0            turn 1            turn 2
 *        A         m = 1, learns --> m = 2, learns --> m = 3
 *        B         m = 7, learns --> m = 8
 *        C         m = 4
 *
 * Softmax rows that are kept for later (il_fast_state) are kept whenever logits are asked for without losses, so that
 * text written or decoded token by token costs the head's product once. */
#include "session/fast_outputs.h"

#include "model/fast_head.h"
#include "model/lm_head.h"
#include "session/fast_plan.h"
#include <math.h>
#include <string.h>

enum { COLUMNS = 1024 /* of F, that a thread gets at a time */, FEATURE_ROWS = 16 };

typedef struct group {
    il_fast_group plan;
    const il_part *part;
    int row;  /* its first in the lot */
    int turn; /* how many groups of its sequence come before it in the lot */
} group;

typedef struct lot {
    il_model *model;
    il_workspace *work;
    int n_groups, rows, turns, slow;
    group groups[IL_LOGIT_ROWS];
    /* the turn under way */
    int n_items, items[IL_LOGIT_ROWS]; /* groups */
    int turn_rows, column_items;
    float *features, *steps;
    /* What is learned from, [rows, columns]: the logits, which become errors in place, or the workspace's array of
     * those that have a column. */
    int columns;
    float *learned;
} lot;

static il_state *state_of(const group *g) { return &g->part->feed->session->state; }

static il_fast_group plan_of(const il_part *part, uint64_t m) {
    const il_feed *f = part->feed;
    const il_state *s = &f->session->state;
    const il_fast_state *fast = &s->fast;
    il_fast_wish wish = {.start = part->start, .n = part->n, .b = (uint64_t)s->model->config.mini_batch};
    wish.learns = fast->weights != NULL;
    wish.losses = f->nll || f->slow_nll;
    wish.rows = f->logits || part->sink;
    if (fast->kept_version == s->model->version) {
        wish.kept_from = fast->kept_from;
        wish.kept_to = fast->kept_to;
    }
    return il_fast_group_of(&wish, m);
}

/* ---- before the pass ---- */

void il_fast_outputs_before(const il_part *parts, int n_parts) {
    for (int i = 0; i < n_parts; i++) {
        const il_state *s = &parts[i].feed->session->state;
        uint64_t start = parts[i].start;
        size_t width = (size_t)s->model->config.width;
        il_fast_group g = plan_of(&parts[i], start / (uint64_t)s->model->config.mini_batch);
        for (uint64_t at = g.first; g.n && at < start; at++)
            memcpy(s->fast.past + (size_t)(at - g.first) * width, il_state_hidden(s, at), width * sizeof(float));
    }
}

/* ---- the steps of a turn ---- */

/* Whether the lot has a group there whose sequence also has the one before it. */
static int follows(const lot *k, const group *g) { return g < k->groups + k->n_groups && g->turn > 0; }

/* The group of an item, and its columns. */
static const group *columns_of(const lot *k, int item, int *from, int *to) {
    *from = item % k->column_items * COLUMNS;
    *to = k->columns - *from < COLUMNS ? k->columns : *from + COLUMNS;
    return &k->groups[k->items[item / k->column_items]];
}

static void features_run(void *context, int item, int worker) {
    lot *k = context;
    const il_config *c = &k->model->config;
    int row = item * FEATURE_ROWS, n = k->rows - row < FEATURE_ROWS ? k->rows - row : FEATURE_ROWS;
    ptrdiff_t at = (ptrdiff_t)row * c->fast_head_size;
    (void)worker;
    il_fast_head_features(k->model, n, k->work->rows + (ptrdiff_t)row * c->width, c->width, k->features + at);
    k->model->engine->kernels->scale((size_t)n * (size_t)c->fast_head_size, -(float)c->fast_head_lr, k->features + at,
                                     k->steps + at);
}

static float *learned_row(const lot *k, const group *g, int row) {
    return k->learned + (ptrdiff_t)(g->row + row) * k->columns;
}

static void add(const lot *k, const group *g, int from, int to) {
    const il_config *c = &k->model->config;
    if (!state_of(g)->fast.weights) return;
    il_fast_head_add(state_of(g), g->plan.mini_batch, g->plan.n, k->features + (ptrdiff_t)g->row * c->fast_head_size,
                     from, to, k->work->logits + (ptrdiff_t)g->row * c->vocab_size, learned_row(k, g, 0));
}

static void add_run(void *context, int item, int worker) {
    const lot *k = context;
    int from, to;
    const group *g = columns_of(k, item, &from, &to);
    (void)worker;
    add(k, g, from, to);
}

/* And, while these columns of the new F are in the cache, what they add to the group that follows. */
static void learn_run(void *context, int item, int worker) {
    const lot *k = context;
    const il_config *c = &k->model->config;
    int from, to;
    const group *g = columns_of(k, item, &from, &to);
    const il_state *s = state_of(g);
    (void)worker;
    if (!g->plan.learns) return;
    const il_fast_rows rows[] = {{g->plan.kept, s->fast.steps, s->fast.softmax},
                                 {g->plan.n, k->steps + (ptrdiff_t)g->row * c->fast_head_size, learned_row(k, g, 0)}};
    il_fast_head_learn(s, g->plan.mini_batch, 2, rows, from, to);
    if (follows(k, g + 1)) add(k, g + 1, from, to);
}

/* The token that a row predicts: its place in the feed's part, and itself; place n or more: not known yet, negative:
 * read before. */
static ptrdiff_t target_of(const group *g, int row, int32_t *token) {
    const il_feed *f = g->part->feed;
    const il_state *s = state_of(g);
    uint64_t position = g->plan.first + (uint64_t)row + 1;
    ptrdiff_t place = (ptrdiff_t)(int64_t)(position - g->part->start);
    *token = -1;
    if (place < 0)
        *token = s->fast.tokens[position % (2 * (uint64_t)s->model->config.mini_batch)];
    else if (place < (ptrdiff_t)g->part->n)
        *token = f->tokens[f->consumed + (size_t)place];
    return place;
}

/* Where the loss of a row goes; NULL: nowhere. */
static float *loss_at(const group *g, float *nll, ptrdiff_t place) {
    return nll && place >= 0 && place < (ptrdiff_t)g->part->n ? nll + g->part->feed->consumed + place : NULL;
}

static const group *row_of(const lot *k, int item, int *row) {
    for (int i = 0;; i++) {
        const group *g = &k->groups[k->items[i]];
        if (item < g->plan.n) {
            *row = item;
            return g;
        }
        item -= g->plan.n;
    }
}

/* Of all groups of the lot, before anything is added to the head's logits. */
static void slow_run(void *context, int item, int worker) {
    lot *k = context;
    int vocab = k->model->config.vocab_size;
    const group *g = &k->groups[item];
    (void)worker;
    for (int row = 0; row < g->plan.n; row++) {
        int32_t token;
        const float *logits = k->work->logits + (ptrdiff_t)(g->row + row) * vocab;
        float *loss = loss_at(g, g->part->feed->slow_nll, target_of(g, row, &token));
        if (!loss) continue;
        k->model->engine->kernels->log_sum_exp(1, vocab, logits, vocab, loss);
        *loss -= logits[token];
    }
}

/* What the session needs of a row to learn from it later. */
static void keep_row(const lot *k, const group *g, int row, const float *softmax) {
    const il_config *c = &k->model->config;
    const il_state *s = state_of(g);
    size_t columns = (size_t)k->columns, size = (size_t)c->fast_head_size;
    size_t place =
        (size_t)(g->plan.first - il_fast_first_row(g->plan.mini_batch, (uint64_t)c->mini_batch)) + (size_t)row;
    memcpy(s->fast.softmax + place * columns, softmax,
           (size_t)il_fast_head_owned(s, g->plan.mini_batch) * sizeof *softmax);
    memcpy(s->fast.steps + place * size, k->steps + (size_t)(g->row + row) * size, size * sizeof *softmax);
}

static void row_run(void *context, int item, int worker) {
    lot *k = context;
    const il_kernels *kernels = k->model->engine->kernels;
    int row, vocab = k->model->config.vocab_size;
    int32_t token;
    const group *g = row_of(k, item, &row);
    const il_feed *f = g->part->feed;
    const il_row_sink *sink = g->part->sink;
    float *logits = k->work->logits + (ptrdiff_t)(g->row + row) * vocab, *lse = k->work->lse + g->row + row;
    ptrdiff_t place = target_of(g, row, &token);
    float *loss = loss_at(g, f->nll, place);
    size_t at = f->consumed + (size_t)place - 1;
    int wanted = sink && place > 0;
    (void)worker;
    if (f->logits && place > 0) memcpy(f->logits + at * (size_t)vocab, logits, (size_t)vocab * sizeof *logits);
    if (!loss && !g->plan.learns && !g->plan.keeps && !wanted) return;
    kernels->log_sum_exp(1, vocab, logits, vocab, lse);
    if (loss) *loss = *lse - logits[token];
    if (!g->plan.learns && !g->plan.keeps && !wanted) return;
    float *learned = learned_row(k, g, row);
    if (wanted || learned == logits) kernels->exp_shift(1, vocab, logits, vocab, lse);
    if (wanted) sink->row(sink->context, g->part->index, at, logits, *lse);
    if (!g->plan.learns && !g->plan.keeps) return;
    if (learned != logits)
        kernels->exp_shift(1, il_fast_head_owned(state_of(g), g->plan.mini_batch), learned, k->columns, lse);
    if (g->plan.learns)
        il_fast_head_error(state_of(g), g->plan.mini_batch, token, isfinite(*lse), learned);
    else
        keep_row(k, g, row, learned);
}

/* What the session keeps from now on. A row whose softmax is not finite is not kept but computed again when it is
 * needed. */
static void note_kept(const lot *k, const group *g) {
    il_state *s = state_of(g);
    if (g->plan.learns) s->fast.kept_from = s->fast.kept_to = 0;
    if (!g->plan.keeps) return;
    for (int row = 0; row < g->plan.n; row++) {
        uint64_t at = g->plan.first + (uint64_t)row;
        if (s->fast.kept_to != at || s->fast.kept_version != k->model->version) s->fast.kept_from = at;
        s->fast.kept_to = at + 1;
        s->fast.kept_version = k->model->version;
        if (!isfinite(k->work->lse[g->row + row])) s->fast.kept_from = s->fast.kept_to;
    }
}

/* Kept rows become what is to be learned: their targets are known now. */
static void kept_errors(const lot *k, const group *g) {
    for (int i = 0; i < g->plan.kept; i++) {
        int32_t token;
        target_of(g, i - g->plan.kept, &token);
        il_fast_head_error(state_of(g), g->plan.mini_batch, token, 1,
                           state_of(g)->fast.softmax + (ptrdiff_t)i * k->columns);
    }
}

/* With columns given away as tokens come: who gets one, and the answers. */
static void answers(const lot *k, const group *g) {
    const il_state *s = state_of(g);
    if (!g->plan.learns || !s->fast.owners) return;
    il_fast_head_begin(s, g->plan.mini_batch);
    for (int i = -g->plan.kept; i < g->plan.n; i++) {
        int32_t token;
        target_of(g, i, &token);
        if (token == k->model->config.bos_token || (i >= 0 && !isfinite(k->work->lse[g->row + i]))) continue;
        il_fast_head_answer(s, g->plan.mini_batch, token,
                            i < 0 ? s->fast.softmax + (ptrdiff_t)(g->plan.kept + i) * k->columns
                                  : learned_row(k, g, i));
    }
}

/* ---- lots ---- */

static void gather(const lot *k) {
    size_t width = (size_t)k->model->config.width;
    for (int i = 0; i < k->n_groups; i++) {
        const group *g = &k->groups[i];
        uint64_t start = g->part->start, behind = g->plan.first < start ? 0 : g->plan.first - start;
        size_t past = g->plan.first < start ? (size_t)(start - g->plan.first) : 0;
        float *to = k->work->rows + (size_t)g->row * width;
        if (past > (size_t)g->plan.n) past = (size_t)g->plan.n;
        memcpy(to, state_of(g)->fast.past, past * width * sizeof *to);
        memcpy(to + past * width, k->work->hidden + ((size_t)g->part->first + (size_t)behind) * width,
               ((size_t)g->plan.n - past) * width * sizeof *to);
    }
}

static void run_turn(lot *k, int turn) {
    il_pool *pool = k->model->engine->pool;
    int learns = 0;
    k->n_items = k->turn_rows = 0;
    for (int i = 0; i < k->n_groups; i++) {
        const group *g = &k->groups[i];
        if (g->turn != turn) continue;
        k->items[k->n_items++] = i;
        k->turn_rows += g->plan.n;
        learns |= g->plan.learns;
        kept_errors(k, g);
    }
    if (!turn) il_pool_run(pool, k->n_items * k->column_items, add_run, k);
    il_pool_run(pool, k->turn_rows, row_run, k);
    for (int i = 0; i < k->n_items; i++) answers(k, &k->groups[k->items[i]]);
    if (learns) il_pool_run(pool, k->n_items * k->column_items, learn_run, k);
    for (int i = 0; i < k->n_items; i++) note_kept(k, &k->groups[k->items[i]]);
}

static void flush(lot *k) {
    il_pool *pool = k->model->engine->pool;
    if (!k->n_groups) return;
    gather(k);
    il_lm_head_logits(k->model, k->work, k->rows, k->work->rows, k->model->config.width, k->work->logits);
    if (k->slow) il_pool_run(pool, k->n_groups, slow_run, k);
    il_pool_run(pool, (k->rows + FEATURE_ROWS - 1) / FEATURE_ROWS, features_run, k);
    for (int i = 0; i < k->turns; i++) run_turn(k, i);
    k->n_groups = k->rows = k->turns = k->slow = 0;
}

static void add_group(lot *k, group g) {
    if (k->rows + g.plan.n > k->work->logit_rows || k->n_groups == IL_LOGIT_ROWS) flush(k);
    const group *last = k->n_groups ? &k->groups[k->n_groups - 1] : NULL;
    g.row = k->rows;
    g.turn = last && last->part == g.part ? last->turn + 1 : 0;
    k->rows += g.plan.n;
    if (g.turn >= k->turns) k->turns = g.turn + 1;
    k->slow |= g.part->feed->slow_nll != NULL;
    k->groups[k->n_groups++] = g;
}

static void add_part(lot *k, const il_part *part) {
    const il_feed *f = part->feed;
    uint64_t b = (uint64_t)k->model->config.mini_batch, end = part->start + part->n;
    for (uint64_t m = part->start / b; m <= end / b; m++) {
        group g = {.plan = plan_of(part, m), .part = part};
        if (g.plan.n || g.plan.kept) add_group(k, g);
    }
    if (!part->start && f->nll) f->nll[f->consumed] = NAN;
    if (!part->start && f->slow_nll) f->slow_nll[f->consumed] = NAN;
}

void il_fast_outputs_after(il_model *model, il_workspace *work, const il_part *parts, int n_parts) {
    lot k = {.model = model, .work = work};
    k.columns = il_fast_head_columns(&model->config);
    k.column_items = (k.columns + COLUMNS - 1) / COLUMNS;
    k.learned = work->learned ? work->learned : work->logits;
    k.features = work->features;
    k.steps = k.features + (size_t)work->logit_rows * (size_t)model->config.fast_head_size;
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
