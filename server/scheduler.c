/* scheduler.c: see scheduler.h. */
#include "scheduler.h"

#include "clock.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PASS = 512,              /* tokens that the engine reads in one pass */
    PIECE_MIN = 16,          /* tokens of a prompt in a step, if it has so many */
    RECENT = 64,             /* tokens that repeat_penalty looks at, as `innerloop generate` does */
    ROWS_BYTES = 16 << 20,   /* of logits of prompts in a step */
    BACKLOG_MAX = 256 << 10, /* bytes that wait for a reader before its answers are paused */
    PING_SECONDS = 10,
    LOOK_MS = 250
};
static const float NEVER = -1e30F;       /* a logit that nothing makes likely */
static const double STEP_SECONDS = 0.06; /* that a step with prompts in it should take: who leaves is noticed by then */

/* A session at work on one choice. Its prompt's last token is fed like one that was answered: what comes of it is the
 * first prediction. */
typedef struct sequence {
    job *job;
    size_t choice;
    il_session *session;
    const il_tokens *prompt;
    size_t fed;    /* tokens of the prompt */
    int32_t token; /* to be fed, once all but the last one of the prompt were; -1 before */
    double spoke;  /* when it gave its last token */
    int forks;     /* more answers to the same prompt, which will go on from copies of this session */
} sequence;

struct scheduler {
    scheduler_options options;
    int vocab_size;
    sequence *sequences; /* [n] of streams_max */
    size_t n, turn;
    job *jobs;   /* in the order they came */
    float *rows; /* [streams_max + prompt_rows, vocab_size] */
    size_t prompt_rows;
    il_feed *feeds;                        /* [streams_max] */
    sequence **fed;                        /* [streams_max], whose they are */
    float *scratch;                        /* [vocab_size] */
    unsigned char *seen;                   /* [vocab_size], 0 */
    size_t predicted;                      /* tokens of answers in this step */
    double time;                           /* of this step's end */
    histogram first_token, between_tokens; /* copied to stats at the end of a step */
    int piece;                             /* tokens of prompts in a step, by how long the last ones took */
    text out;

    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    job *incoming;
    int woken, stopping;
    size_t left; /* jobs that were submitted and are not done */
    scheduler_stats stats;
};

/* ---- the end of jobs ---- */

static void answer(work_item *item) {
    job *j = (job *)item;
    text body = {0};
    if (!j->problem.status) {
        j->form->whole(j, &body);
        if (body.failed) {
            text_free(&body);
            problem_set(&j->problem, 503, "no_memory", NULL, "no memory for the answer now");
        }
    }
    if (j->problem.status) problem_print(&j->problem, &body);
    const char *headers = j->headers;
    char again[sizeof j->headers + 32];
    if (j->problem.status == 503) {
        snprintf(again, sizeof again, "%sRetry-After: 1\r\n", j->headers);
        headers = again;
    }
    http_answer(j->exchange, j->problem.status ? j->problem.status : 200, headers, &body);
    job_free(j);
}

static void end_stream(scheduler *s, job *j) {
    s->out.bytes = 0;
    if (j->problem.status) {
        text_say(&s->out, "data: ");
        problem_print(&j->problem, &s->out);
        text_say(&s->out, "\n\n");
    } else if (j->request.usage) {
        j->form->usage(j, &s->out);
    }
    text_say(&s->out, "data: [DONE]\n\n");
    http_write(j->exchange, s->out.data, s->out.bytes);
    http_end(j->exchange);
    job_free(j);
}

static void end_job(scheduler *s, job *j) {
    pthread_mutex_lock(&s->lock);
    s->left--;
    s->stats.waiting -= j->n_admitted < j->request.n_prompts;
    if (!j->problem.status) histogram_add(&s->stats.whole, clock_seconds() - j->started);
    if (j->problem.status)
        s->stats.requests_failed++;
    else
        s->stats.requests_done++;
    pthread_mutex_unlock(&s->lock);
    if (j->begun) {
        end_stream(s, j);
    } else {
        j->item.run = answer;
        work_push(s->options.work, &j->item);
    }
}

static void end_sequence(scheduler *s, sequence *q) {
    il_session_close(q->session);
    q->job->running--;
    *q = s->sequences[--s->n];
}

static void say(scheduler *s, job *j, size_t index) {
    if (!j->begun) return;
    s->out.bytes = 0;
    s->out.failed = 0;
    j->form->piece(j, index, &s->out);
    if (!s->out.bytes) return;
    http_write(j->exchange, s->out.data, s->out.bytes);
    j->spoke = clock_seconds();
}

/* Jobs that are done, that nobody waits for, or that have failed. */
static void sweep(scheduler *s, int stopping) {
    double time = clock_seconds();
    for (job *j = s->jobs; j; j = j->next) {
        if (j->request.stream && !j->begun) {
            j->begun = 1;
            j->spoke = time;
            http_begin(j->exchange, j->headers);
        }
        if (stopping) problem_set(&j->problem, 503, "shutting_down", NULL, "the server is stopping");
        if (time - j->started > s->options.seconds_max)
            problem_set(&j->problem, 503, "timeout", NULL,
                        "the request was not done in %.0f seconds (--request-seconds)", s->options.seconds_max);
        if (http_gone(j->exchange)) problem_set(&j->problem, 499, "client_closed", NULL, "the client has gone");
        if (j->begun && time - j->spoke > PING_SECONDS) {
            http_write(j->exchange, ": ping\n\n", 8);
            j->spoke = time;
        }
    }
    for (size_t i = 0; i < s->n;)
        if (s->sequences[i].job->problem.status)
            end_sequence(s, &s->sequences[i]);
        else
            i++;
    for (job **link = &s->jobs; *link;) {
        job *j = *link;
        if (j->running || (!j->problem.status && j->n_done < j->n_choices)) {
            link = &j->next;
            continue;
        }
        *link = j->next;
        end_job(s, j);
    }
}

/* ---- the beginning of sequences ---- */

static void no_memory(job *j) { problem_set(&j->problem, 503, "no_memory", NULL, "no memory for another answer now"); }

static void open_sequence(scheduler *s, job *j, size_t prompt) {
    il_error error;
    sequence q = {.job = j, .choice = prompt * (size_t)j->request.n, .prompt = &j->request.prompts[prompt].tokens};
    if (il_session_open(s->options.model, NULL, &q.session, &error)) {
        no_memory(j);
        return;
    }
    q.token = q.prompt->n == 1 ? q.prompt->ids[0] : -1;
    q.forks = j->request.n - 1;
    s->sequences[s->n++] = q;
    j->running++;
}

static void waits_no_more(scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->stats.waiting--;
    s->stats.running = s->n;
    pthread_mutex_unlock(&s->lock);
}

/* Opens sessions for prompts in the order they came, as long as there is room for all their answers. */
static void admit(scheduler *s) {
    size_t promised = s->n;
    for (size_t i = 0; i < s->n; i++) promised += (size_t)s->sequences[i].forks;
    for (job *j = s->jobs; j; j = j->next)
        while (!j->problem.status && j->n_admitted < j->request.n_prompts) {
            promised += (size_t)j->request.n;
            if (promised > (size_t)s->options.streams_max) return;
            open_sequence(s, j, j->n_admitted++);
            if (j->n_admitted == j->request.n_prompts) waits_no_more(s);
        }
}

/* Once the prompt has been read, every further answer gets a session of its own. */
static void fork_ready(scheduler *s) {
    for (size_t i = 0; i < s->n; i++) {
        sequence *q = &s->sequences[i];
        for (; q->token >= 0 && q->forks > 0 && !q->job->problem.status; q->forks--) {
            sequence copy = *q;
            choice *choices = q->job->choices;
            copy.forks = 0;
            copy.choice = q->choice + (size_t)q->forks;
            if (il_session_fork(q->session, &copy.session, NULL)) {
                no_memory(q->job);
                break;
            }
            if (!choice_copy(&choices[copy.choice], &choices[q->choice])) no_memory(q->job);
            s->sequences[s->n++] = copy;
            q->job->running++;
        }
    }
}

/* ---- a step ---- */

/* Whether answers under way go with the predictions of a prompt. */
static int wants_prompt(const sequence *q) { return q->job->request.echo && q->job->request.logprobs >= 0; }

static int paused(const sequence *q) { return q->job->begun && http_backlog(q->job->exchange) > BACKLOG_MAX; }

/* The batch: answers first, then pieces of prompts, beginning with another one every time. *prompts: tokens of
 * those. */
static size_t gather(scheduler *s, size_t *prompts) {
    const size_t vocab = (size_t)s->vocab_size;
    size_t n = 0, rows = 0, waiting = 0;
    for (size_t i = 0; i < s->n; i++) {
        sequence *q = &s->sequences[i];
        if (q->job->problem.status || q->forks) continue;
        if (q->token < 0) {
            waiting++;
        } else if (!paused(q)) {
            s->fed[n] = q;
            s->feeds[n++] =
                (il_feed){.session = q->session, .tokens = &q->token, .n = 1, .logits = s->rows + rows++ * vocab};
        }
    }
    for (size_t i = 0; i < s->n; i++) waiting += s->sequences[i].token < 0 && s->sequences[i].forks > 0;
    size_t left = (size_t)s->piece, room = s->prompt_rows, share = waiting ? left / waiting : 0;
    if (left > PASS - n % PASS) left = PASS - n % PASS;
    if (share < PIECE_MIN) share = PIECE_MIN;
    *prompts = 0;
    for (size_t i = 0; i < s->n && left; i++) {
        sequence *q = &s->sequences[(s->turn + i) % s->n];
        if (q->token >= 0 || q->job->problem.status) continue;
        size_t piece = q->prompt->n - 1 - q->fed;
        if (piece > share) piece = share;
        if (piece > left) piece = left;
        if (wants_prompt(q) && piece > room) piece = room;
        if (!piece) continue;
        s->fed[n] = q;
        s->feeds[n] = (il_feed){.session = q->session, .tokens = q->prompt->ids + q->fed, .n = piece};
        if (wants_prompt(q)) {
            s->feeds[n].logits = s->rows + rows * vocab;
            rows += piece;
            room -= piece;
        }
        n++;
        left -= piece;
        *prompts += piece;
    }
    s->turn++;
    return n;
}

/* What a batch could not read because one of its sequences went wrong is read again, each alone. */
static void feed_alone(scheduler *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        il_feed *f = &s->feeds[i];
        il_error error;
        if (f->consumed == f->n) continue;
        il_feed rest = *f;
        rest.tokens += f->consumed;
        rest.n -= f->consumed;
        if (rest.logits) rest.logits += f->consumed * (size_t)s->vocab_size;
        if (il_feed_many(&rest, 1, &error))
            problem_set(&s->fed[i]->job->problem, error.status == IL_ERR_NOMEM ? 503 : 500,
                        error.status == IL_ERR_NONFINITE ? "nonfinite" : "internal", NULL, "%s", error.message);
        f->consumed = f->n;
    }
}

static int nonfinite(job *j) {
    return problem_set(&j->problem, 500, "nonfinite", NULL, "the model's prediction is not finite");
}

/* The last tokens, prompt included. */
static size_t recent(const sequence *q, int32_t tokens[RECENT]) {
    const choice *c = &q->job->choices[q->choice];
    size_t answered = c->n < RECENT ? c->n : RECENT, before = RECENT - answered;
    if (before > q->prompt->n) before = q->prompt->n;
    memcpy(tokens, q->prompt->ids + q->prompt->n - before, before * sizeof *tokens);
    memcpy(tokens + before, c->tokens + c->n - answered, answered * sizeof *tokens);
    return before + answered;
}

/* What a request does to logits before il_sample. */
static void bend(scheduler *s, const sequence *q, float *logits) {
    const completion_request *r = &q->job->request;
    const choice *c = &q->job->choices[q->choice];
    for (size_t i = 0; i < r->n_biases; i++) logits[r->biases[i].token] += r->biases[i].bias;
    if (r->presence_penalty != 0 || r->frequency_penalty != 0) {
        for (size_t i = 0; i < c->n; i++) {
            logits[c->tokens[i]] -= r->frequency_penalty + (s->seen[c->tokens[i]] ? 0 : r->presence_penalty);
            s->seen[c->tokens[i]] = 1;
        }
        for (size_t i = 0; i < c->n; i++) s->seen[c->tokens[i]] = 0;
    }
    if (c->n >= (size_t)r->tokens_min) return;
    for (size_t i = 0; i < r->n_stop_tokens; i++) logits[r->stop_tokens[i]] = NEVER;
    const il_generation *ends = &c->names->generation;
    for (int i = 0; i < ends->n_stops && !r->ignore_eos; i++) logits[ends->stop[i]] = NEVER;
}

/* Draws the token that logits predict. */
static void predict(scheduler *s, sequence *q, float *logits) {
    job *j = q->job;
    choice *c = &j->choices[q->choice];
    il_sample_options sampling = j->request.sampling;
    int32_t tokens[RECENT], token;
    float log_sum = 0, *bent = logits;
    sampling.seed += q->choice % (size_t)j->request.n;
    if (j->request.logprobs >= 0) {
        log_sum = il_log_sum_exp(s->options.engine, logits, s->vocab_size);
        memcpy(s->scratch, logits, (size_t)s->vocab_size * sizeof *logits);
        bent = s->scratch;
    }
    bend(s, q, bent);
    if (il_sample(&sampling, bent, s->vocab_size, il_session_position(q->session), tokens,
                  j->request.sampling.repeat_penalty == 1 ? 0 : recent(q, tokens), &token, NULL)) {
        nonfinite(j);
        return;
    }
    choice_add(c, token, logits, s->vocab_size, log_sum);
    q->token = token;
    s->predicted++;
    if (c->n == 1)
        histogram_add(&s->first_token, s->time - j->started);
    else
        histogram_add(&s->between_tokens, s->time - q->spoke);
    q->spoke = s->time;
}

/* Moves a sequence on by what it has read. */
static void digest(scheduler *s, size_t i) {
    sequence *q = s->fed[i];
    il_feed *f = &s->feeds[i];
    job *j = q->job;
    choice *c = &j->choices[q->choice];
    if (j->problem.status) return;
    if (q->token >= 0) {
        q->fed = q->prompt->n;
        if (j->request.tokens_max) predict(s, q, f->logits);
    } else {
        for (size_t row = 0; f->logits && row < f->n; row++) {
            const float *logits = f->logits + row * (size_t)s->vocab_size;
            float log_sum = il_log_sum_exp(s->options.engine, logits, s->vocab_size);
            if (!isfinite(log_sum)) {
                nonfinite(j);
                return;
            }
            choice_fill(c, q->fed + row + 1, logits, s->vocab_size, log_sum);
        }
        q->fed += f->n;
        if (q->fed + 1 == q->prompt->n) q->token = q->prompt->ids[q->fed];
    }
    if (q->token >= 0 && !j->request.tokens_max) choice_finish(c, "length");
    if (c->failed) no_memory(j);
    if (!j->problem.status && q->token >= 0 && !q->forks) say(s, j, q->choice);
}

/* Steps with prompts are made as large as the time that one may take allows. */
static void adapt(scheduler *s, size_t prompts, double seconds) {
    if (seconds > STEP_SECONDS && s->piece > PIECE_MIN)
        s->piece /= 2;
    else if (seconds < STEP_SECONDS / 2 && prompts * 2 > (size_t)s->piece && s->piece < PASS)
        s->piece *= 2;
}

/* 0: there was nothing to do. */
static int step(scheduler *s) {
    size_t prompts, n = gather(s, &prompts);
    il_error error;
    if (!n) return 0;
    double started = clock_seconds();
    if (il_feed_many(s->feeds, n, &error)) feed_alone(s, n);
    s->time = clock_seconds();
    if (prompts) adapt(s, prompts, s->time - started);
    s->predicted = 0;
    for (size_t i = 0; i < n; i++) digest(s, i);
    for (size_t i = 0; i < s->n;) {
        sequence *q = &s->sequences[i];
        if (q->token >= 0 && !q->forks && q->job->choices[q->choice].finish) {
            q->job->n_done++;
            end_sequence(s, q);
        } else {
            i++;
        }
    }
    pthread_mutex_lock(&s->lock);
    s->stats.steps++;
    s->stats.prompt_tokens += prompts;
    s->stats.answer_tokens += s->predicted;
    s->stats.first_token = s->first_token;
    s->stats.between_tokens = s->between_tokens;
    pthread_mutex_unlock(&s->lock);
    return 1;
}

/* ---- the thread ---- */

/* Waits for something to do if there was nothing, and takes what came. Returns whether to stop. */
static int take(scheduler *s, int idle) {
    job **end = &s->jobs;
    while (*end) end = &(*end)->next;
    pthread_mutex_lock(&s->lock);
    s->stats.running = s->n; /* before waiting: whoever left since the last time takes no place any more */
    if (idle && !s->incoming && !s->woken && !s->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
        if (s->jobs)
            pthread_cond_timedwait(&s->changed, &s->lock, &until);
        else
            pthread_cond_wait(&s->changed, &s->lock);
    }
    *end = s->incoming;
    s->incoming = NULL;
    s->woken = 0;
    int stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static void *run(void *context) {
    scheduler *s = context;
    sigset_t all;
    sigfillset(&all); /* they are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (int idle = 1;;) {
        int stopping = take(s, idle);
        sweep(s, stopping);
        if (stopping) return NULL;
        admit(s);
        fork_ready(s);
        idle = !step(s);
    }
}

void scheduler_free(scheduler *s) {
    if (!s) return;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->sequences);
    free(s->rows);
    free(s->feeds);
    free(s->fed);
    free(s->scratch);
    free(s->seen);
    text_free(&s->out);
    free(s);
}

scheduler *scheduler_start(const scheduler_options *options) {
    scheduler *s = calloc(1, sizeof *s);
    size_t streams = (size_t)options->streams_max;
    if (!s) return NULL;
    s->options = *options;
    s->vocab_size = il_model_config(options->model)->vocab_size;
    size_t row = (size_t)s->vocab_size * sizeof *s->rows;
    s->prompt_rows = ROWS_BYTES / row < PIECE_MIN ? PIECE_MIN : ROWS_BYTES / row < PASS ? ROWS_BYTES / row : PASS;
    s->piece = 4 * PIECE_MIN;
    s->sequences = calloc(streams, sizeof *s->sequences);
    s->rows = malloc((streams + s->prompt_rows) * row);
    s->feeds = calloc(streams, sizeof *s->feeds);
    s->fed = calloc(streams, sizeof *s->fed);
    s->scratch = malloc(row);
    s->seen = calloc((size_t)s->vocab_size, 1);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (s->sequences && s->rows && s->feeds && s->fed && s->scratch && s->seen &&
        !pthread_create(&s->thread, NULL, run, s))
        return s;
    scheduler_free(s);
    return NULL;
}

int scheduler_submit(scheduler *s, job *j, problem *p) {
    j->started = clock_seconds();
    j->next = NULL;
    pthread_mutex_lock(&s->lock);
    size_t waiting = s->stats.waiting, free_streams = (size_t)s->options.streams_max - s->stats.running;
    if (s->stopping) {
        problem_set(p, 503, "shutting_down", NULL, "the server is stopping");
    } else if (waiting >= (size_t)s->options.queue_max + free_streams) {
        problem_set(p, 503, "queue_full", NULL, "%zu requests wait already (--max-queue)", waiting);
    } else {
        job **end = &s->incoming;
        while (*end) end = &(*end)->next;
        *end = j;
        s->left++;
        s->stats.waiting++;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return !p->status;
}

void scheduler_wake(scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->woken = 1;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_get_stats(scheduler *s, scheduler_stats *stats) {
    pthread_mutex_lock(&s->lock);
    *stats = s->stats;
    pthread_mutex_unlock(&s->lock);
}

int scheduler_idle(scheduler *s) {
    pthread_mutex_lock(&s->lock);
    int idle = !s->left;
    pthread_mutex_unlock(&s->lock);
    return idle;
}

void scheduler_stop(scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
}
