/* sequence.c: see sequence.h. */
#include "run/sequence.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(job *j) {
    return problem_set(&j->problem, 503, "no_memory", NULL, "no memory for another answer now");
}

static void nonfinite(job *j) {
    problem_set(&j->problem, 500, "nonfinite", NULL, "the model's prediction is not finite");
}

static choice *choice_of(const sequence *q) { return &q->job->choices[q->choice]; }

int sequence_wants_prompt(const sequence *q) { return q->job->request.echo && q->job->request.logprobs >= 0; }

/* What it does next once so much of the prompt is read, and nothing was answered. */
static void go_on(sequence *q) {
    const il_tokens *prompt = q->prompt;
    if (q->fed + 1 < prompt->n) {
        q->phase = SEQUENCE_READS;
        return;
    }
    q->phase = q->fed < prompt->n ? SEQUENCE_WRITES : SEQUENCE_STANDS;
    if (q->phase == SEQUENCE_WRITES) q->token = prompt->ids[q->fed];
}

/* After its answer has ended. */
static void finish(sequence *q) {
    if (!choice_of(q)->finish) return;
    int reads = q->job->keep || q->job->request.embeds;
    q->phase = q->phase == SEQUENCE_WRITES && reads ? SEQUENCE_CLOSES : SEQUENCE_ENDS;
}

/* Whose answer has no tokens ends where it would be drawn. */
static void arrive(sequence *q) {
    go_on(q);
    if (q->phase == SEQUENCE_READS || q->job->request.tokens_max) return;
    choice_finish(choice_of(q), "length");
    finish(q);
    if (choice_of(q)->failed) no_memory(q->job);
}

/* ---- sessions to go on from, and for others to go on from ---- */

size_t sequence_piece(const sequence *q) {
    size_t end = q->prompt->n - 1, every = (q->fed / CACHE_EVERY + 1) * CACHE_EVERY;
    if (q->cache && every < end) end = every;
    if (q->branch > q->fed && q->branch < end) end = q->branch;
    if (q->mark > q->fed && q->mark < end) end = q->mark;
    return end - q->fed;
}

/* Gives the cache a copy where one is worth it. */
static void keep_copy(const sequence *q) {
    int always = q->fed == q->branch || q->fed == q->mark;
    il_session_stats stats;
    il_session *copy;
    if (!q->cache || (!always && q->fed % CACHE_EVERY)) return;
    il_session_get_stats(q->session, &stats);
    if (cache_wants(q->cache, &q->job->request.space, q->prompt->ids, q->fed, stats.state_bytes, always) &&
        !il_session_fork(q->session, &copy, NULL))
        cache_keep(q->cache, &q->job->request.space, q->prompt->ids, q->fed, copy);
}

/* Whether the session of a sequence that ends is whole. */
static int is_sound(const job *j) {
    return !j->problem.status || j->problem.status == 499 || !strcmp(j->problem.code, "timeout");
}

/* Gives the cache the session itself, also of a job that nobody waits for any more: who asks again is spared the
 * reading. It goes back behind a stop string, which is not in what the next turn of a conversation brings. */
static void keep_session(sequence *q) {
    const il_tokens *prompt = q->prompt;
    const choice *c = choice_of(q);
    size_t n = (size_t)il_session_position(q->session), whole = prompt->n + c->n - choice_behind(c);
    if (c->stop >= 0 && n > whole && whole >= il_session_rewind_limit(q->session) &&
        !il_session_rewind(q->session, whole, NULL))
        n = whole;
    int32_t *all = n > prompt->n ? malloc(n * sizeof *all) : NULL;
    if (all) {
        memcpy(all, prompt->ids, prompt->n * sizeof *all);
        memcpy(all + prompt->n, c->tokens, (n - prompt->n) * sizeof *all);
    }
    if (all || n <= prompt->n)
        cache_keep(q->cache, &q->job->request.space, all ? all : prompt->ids, n, q->session);
    else
        il_session_close(q->session);
    free(all);
}

/* The job's session, or a copy while other prompts need it too. */
static il_status take_session(job *j, il_session **session) {
    if (j->n_admitted + 1 < j->request.n_prompts) return il_session_fork(j->from, session, NULL);
    *session = j->from;
    j->from = NULL;
    return IL_OK;
}

/* One that has read as much of the prompt as there is in the cache. What is made of every token of a prompt needs all
 * of them to be read. */
static il_status find_session(sequence *q, il_model *model, cache *c) {
    job *j = q->job;
    if (!sequence_wants_prompt(q) && !j->request.embeds) {
        q->cache = c;
        q->mark = j->request.prompts[j->n_admitted].mark;
        q->fed = cache_find(c, &j->request.space, q->prompt->ids, q->prompt->n, &q->session, &q->branch);
        j->cached += q->fed;
    }
    return q->fed ? IL_OK : il_session_open(model, NULL, &q->session, NULL);
}

int sequence_open(sequence *q, job *j, il_model *model, cache *c, drawer *d) {
    size_t prompt = j->n_admitted;
    *q = (sequence){.job = j, .choice = prompt * (size_t)j->request.n, .prompt = &j->request.prompts[prompt].tokens};
    il_status status = j->from ? take_session(j, &q->session) : find_session(q, model, c);
    j->n_admitted++;
    if (status) return no_memory(j);
    q->forks = j->request.n - 1;
    if (sequence_wants_prompt(q) && q->prompt->n &&
        il_session_position(q->session)) { /* something predicts its first */
        if (il_session_logits(q->session, d->scratch, NULL) || !draw_record(d, choice_of(q), 0, d->scratch))
            nonfinite(j);
    }
    j->running++;
    arrive(q);
    return 1;
}

int sequence_fork(sequence *q, sequence *copy) {
    job *j = q->job;
    *copy = *q;
    copy->forks = 0;
    copy->choice = q->choice + (size_t)q->forks--;
    if (il_session_fork(q->session, &copy->session, NULL)) return no_memory(j);
    if (!choice_copy(&j->choices[copy->choice], choice_of(q))) no_memory(j);
    j->running++;
    return 1;
}

void sequence_close(sequence *q) {
    job *j = q->job;
    free(q->mending);
    q->mending = NULL;
    if (j->keep && !j->problem.status)
        j->kept = q->session;
    else if (q->cache && is_sound(j))
        keep_session(q);
    else
        il_session_close(q->session);
    q->session = NULL;
    j->running--;
}

/* A session that is kept ends where the text does: where that is inside a token, the token is taken back, and what of
 * it is in the text is to be read as other tokens. 0: it is not inside one, or cannot be mended. */
static int mend(sequence *q) {
    choice *c = choice_of(q);
    const vocabulary *v = c->names->vocabulary;
    size_t bytes, behind = choice_behind(c);
    const char *torn = choice_torn(c, &bytes);
    uint64_t position = il_session_position(q->session);
    if (!q->job->keep || !v || !behind || !bytes || position - behind < il_session_rewind_limit(q->session)) return 0;
    q->mending = malloc(bytes * sizeof *q->mending);
    q->n_mending = q->mending ? vocabulary_spell(v, torn, bytes, q->mending) : 0;
    if (!q->n_mending || il_session_rewind(q->session, position - behind, NULL)) return 0;
    return c->mended = 1;
}

int sequence_draw(const sequence *q, size_t row, float *logits, drawer *d) {
    size_t j = q->choice % (size_t)q->job->request.n;
    if (q->phase == SEQUENCE_READS) return draw_record(d, choice_of(q), q->fed + row + 1, logits);
    return draw(d, choice_of(q), q->prompt, j, il_session_position(q->session), logits);
}

void sequence_nonfinite(const sequence *q) { nonfinite(q->job); }

void sequence_add_hidden(const sequence *q, size_t n, const float *hidden) {
    double *sum = choice_of(q)->sum;
    size_t width = (size_t)q->job->request.embeds;
    for (size_t row = 0; row < n; row++)
        for (size_t i = 0; i < width; i++) sum[i] += (double)hidden[row * width + i];
}

void sequence_move(sequence *q, size_t n) {
    choice *c = choice_of(q);
    if (q->job->problem.status) return;
    switch (q->phase) {
    case SEQUENCE_READS:
        q->fed += n;
        keep_copy(q);
        arrive(q);
        break;
    case SEQUENCE_STANDS:
    case SEQUENCE_WRITES:
        q->token = c->tokens[c->n - 1];
        q->phase = SEQUENCE_WRITES;
        finish(q);
        if (c->failed) no_memory(q->job);
        break;
    case SEQUENCE_CLOSES: q->phase = mend(q) ? SEQUENCE_MENDS : SEQUENCE_ENDS; break;
    case SEQUENCE_MENDS:
    case SEQUENCE_ENDS: q->phase = SEQUENCE_ENDS; break;
    }
}
