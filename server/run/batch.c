/* batch.c: see batch.h. */
#include "run/batch.h"

#include "common/clock.h"

#include <stdlib.h>

enum {
    PASS = 512,             /* tokens that the engine reads in one pass */
    PIECE_MIN = 16,         /* tokens of a prompt in a step, if it has so many */
    ROWS_BYTES = 16 << 20,  /* of logits of prompts in a step */
    BACKLOG_MAX = 256 << 10 /* bytes that wait for a reader before its answers are paused */
};
static const double STEP_SECONDS = 0.06; /* that a step with prompts in it should take: who leaves is noticed by then */

int batch_open(batch *b, il_engine *engine, const il_model *model, int tokens, int streams_max) {
    size_t streams = (size_t)streams_max;
    const il_config *config = il_model_config(model);
    *b = (batch){.engine = engine, .vocab_size = config->vocab_size, .width = config->width, .piece = 4 * PIECE_MIN};
    size_t row = (size_t)b->vocab_size * sizeof *b->rows, most = ROWS_BYTES / row;
    b->prompt_rows = most < PIECE_MIN ? PIECE_MIN : most < PASS ? most : PASS;
    b->rows = malloc((streams + b->prompt_rows) * row);
    b->drawn = malloc((streams + b->prompt_rows) * sizeof *b->drawn);
    b->hidden = malloc((streams + PASS) * (size_t)b->width * sizeof *b->hidden);
    b->feeds = calloc(streams, sizeof *b->feeds);
    b->fed = calloc(streams, sizeof *b->fed);
    b->drawers = calloc((size_t)il_engine_threads(engine), sizeof *b->drawers);
    if (!b->rows || !b->drawn || !b->hidden || !b->feeds || !b->fed || !b->drawers) return 0;
    while (b->threads < il_engine_threads(engine))
        if (!drawer_open(&b->drawers[b->threads++], engine, model, tokens)) return 0;
    return 1;
}

void batch_close(batch *b) {
    for (int i = 0; i < b->threads; i++) drawer_close(&b->drawers[i]);
    free(b->drawers);
    free(b->rows);
    free(b->drawn);
    free(b->hidden);
    free(b->feeds);
    free(b->fed);
    *b = (batch){0};
}

static int paused(const sequence *q) { return q->job->begun && http_backlog(q->job->exchange) > BACKLOG_MAX; }

/* A sequence's next feed, which needs so many rows of logits. */
static void add(batch *b, sequence *q, const int32_t *tokens, size_t n, size_t needed) {
    float *logits = needed ? b->rows + b->n_rows * (size_t)b->vocab_size : NULL;
    for (size_t row = 0; row < needed; row++) b->drawn[b->n_rows++] = (batch_row){.feed = b->n, .row = row};
    float *hidden = q->job->request.embeds ? b->hidden + b->n_hidden * (size_t)b->width : NULL;
    if (hidden) b->n_hidden += n;
    b->fed[b->n] = q;
    b->feeds[b->n++] = (il_feed){.session = q->session, .tokens = tokens, .n = n, .logits = logits, .hidden = hidden};
}

/* Answers, one token each. Returns how many prompts wait. */
static size_t gather_answers(batch *b, sequence *sequences, size_t n) {
    size_t waiting = 0;
    for (size_t i = 0; i < n; i++) {
        sequence *q = &sequences[i];
        if (q->job->problem.status) continue;
        if (q->phase == SEQUENCE_READS) waiting++;
        if (q->forks || paused(q)) continue;
        if (q->phase == SEQUENCE_WRITES) add(b, q, &q->token, 1, 1);
        if (q->phase == SEQUENCE_STANDS) add(b, q, NULL, 0, 1);
        if (q->phase == SEQUENCE_CLOSES) add(b, q, &q->token, 1, 0);
        if (q->phase == SEQUENCE_MENDS) add(b, q, q->mending, q->n_mending, 0);
    }
    return waiting;
}

/* Pieces of prompts, beginning with another one every time. */
static void gather_prompts(batch *b, sequence *sequences, size_t n, size_t waiting) {
    size_t left = (size_t)b->piece, room = b->prompt_rows, share = waiting ? left / waiting : 0;
    if (left > PASS - b->n % PASS) left = PASS - b->n % PASS;
    if (share < PIECE_MIN) share = PIECE_MIN;
    for (size_t i = 0; i < n && left && waiting; i++) {
        sequence *q = &sequences[(b->turn + i) % n];
        if (q->phase != SEQUENCE_READS || q->job->problem.status) continue;
        int wants = sequence_wants_prompt(q);
        size_t piece = sequence_piece(q);
        if (piece > share) piece = share;
        if (piece > left) piece = left;
        if (wants && piece > room) piece = room;
        if (!piece) continue;
        add(b, q, q->prompt->ids + q->fed, piece, wants ? piece : 0);
        if (wants) room -= piece;
        left -= piece;
        b->prompts += piece;
    }
    b->turn++;
}

static void failed(job *j, const il_error *error) {
    problem_set(&j->problem, error->status == IL_ERR_NOMEM ? 503 : 500,
                error->status == IL_ERR_NONFINITE ? "nonfinite" : "internal", NULL, "%s", error->message);
}

/* What a batch could not read because one of its sequences went wrong is read again, each alone. */
static void feed_alone(batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        il_feed *f = &b->feeds[i];
        il_error error;
        if (f->consumed == f->n) continue;
        il_feed rest = *f;
        rest.tokens += f->consumed;
        rest.n -= f->consumed;
        if (rest.logits) rest.logits += f->consumed * (size_t)b->vocab_size;
        if (rest.hidden) rest.hidden += f->consumed * (size_t)b->width;
        if (il_feed_many(&rest, 1, &error)) failed(b->fed[i]->job, &error);
        f->consumed = f->n;
    }
}

/* Steps with prompts are made as large as the time that one may take allows. */
static void adapt(batch *b, double seconds) {
    if (seconds > STEP_SECONDS && b->piece > PIECE_MIN)
        b->piece /= 2;
    else if (seconds < STEP_SECONDS / 2 && b->prompts * 2 > (size_t)b->piece && b->piece < PASS)
        b->piece *= 2;
}

int batch_feed(batch *b, sequence *sequences, size_t n) {
    il_error error;
    b->n = b->n_rows = b->n_hidden = b->prompts = 0;
    size_t waiting = gather_answers(b, sequences, n);
    gather_prompts(b, sequences, n, waiting);
    if (!b->n) return 0;
    double started = clock_seconds();
    if (il_feed_many(b->feeds, b->n, &error)) feed_alone(b);
    if (b->prompts) adapt(b, clock_seconds() - started);
    for (size_t i = 0; i < b->n; i++)
        if (!b->feeds[i].n && il_session_logits(b->feeds[i].session, b->feeds[i].logits, &error))
            failed(b->fed[i]->job, &error);
    return 1;
}

static void draw_row(void *user, int item, int thread) {
    batch *b = user;
    batch_row *r = &b->drawn[item];
    const sequence *q = b->fed[r->feed];
    float *logits = b->rows + (size_t)item * (size_t)b->vocab_size;
    r->finite = q->job->problem.status || sequence_draw(q, r->row, logits, &b->drawers[thread]);
}

void batch_digest(batch *b) {
    il_engine_run(b->engine, (int)b->n_rows, draw_row, b);
    for (size_t i = 0; i < b->n_rows; i++)
        if (!b->drawn[i].finite) sequence_nonfinite(b->fed[b->drawn[i].feed]);
    for (size_t i = 0; i < b->n; i++)
        if (b->feeds[i].hidden) sequence_add_hidden(b->fed[i], b->feeds[i].n, b->feeds[i].hidden);
    for (size_t i = 0; i < b->n; i++) sequence_move(b->fed[i], b->feeds[i].n);
}
