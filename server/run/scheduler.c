/* scheduler.c: see scheduler.h. */
#include "run/scheduler.h"

#include "common/clock.h"
#include "run/batch.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { PING_SECONDS = 10, LOOK_MS = 250 };

struct scheduler {
    scheduler_options options;
    sequence *sequences; /* [n] of streams_max */
    size_t n;
    job *jobs; /* in the order they came */
    batch batch;
    cache *cache;
    size_t predicted;                      /* tokens of answers in this step */
    histogram first_token, between_tokens; /* copied to stats at the end of a step */
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
    job_end(j, s->options.work);
}

static void end_sequence(scheduler *s, sequence *q) {
    sequence_close(q);
    *q = s->sequences[--s->n];
}

/* Events are sent whole, or the stream ends with a problem. */
static void send_events(scheduler *s, job *j) {
    if (s->out.failed) problem_set(&j->problem, 503, "no_memory", NULL, "no memory for the answer now");
    if (s->out.failed || !s->out.bytes) return;
    http_write(j->exchange, s->out.data, s->out.bytes);
    j->spoke = clock_seconds();
}

static void say(scheduler *s, job *j, size_t index) {
    if (!j->begun) return;
    s->out.bytes = 0;
    s->out.failed = 0;
    j->form->piece(j, index, &s->out);
    send_events(s, j);
}

/* The same of tokens of its prompt. */
static void say_read(scheduler *s, const sequence *q) {
    job *j = q->job;
    if (!j->begun) return;
    s->out.bytes = 0;
    s->out.failed = 0;
    j->form->read(j, q->session, &s->out);
    send_events(s, j);
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
        if (!j->problem.status && j->n_done == j->n_choices) continue; /* it ends now, whoever has left meanwhile */
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
            if (sequence_open(&s->sequences[s->n], j, s->options.model, s->cache, s->batch.drawers)) s->n++;
            if (j->n_admitted == j->request.n_prompts) waits_no_more(s);
        }
}

/* Once the prompt has been read, every further answer gets a session of its own. */
static void fork_ready(scheduler *s) {
    for (size_t i = 0; i < s->n; i++) {
        sequence *q = &s->sequences[i];
        while (q->phase != SEQUENCE_READS && q->forks && !q->job->problem.status)
            if (sequence_fork(q, &s->sequences[s->n])) s->n++;
    }
}

/* ---- a step ---- */

/* Notes how long a token took, and passes on what is new. */
static void tell(scheduler *s, sequence *q, double time) {
    const choice *c = &q->job->choices[q->choice];
    if (q->job->form->read && !q->job->problem.status) say_read(s, q);
    if (q->told == c->n || q->job->problem.status) return;
    q->told = c->n;
    s->predicted++;
    if (c->n == 1)
        histogram_add(&s->first_token, time - q->job->started);
    else
        histogram_add(&s->between_tokens, time - q->spoke);
    q->spoke = time;
    say(s, q->job, q->choice);
}

/* Sequences that have nothing more to do leave. Returns how many. */
static size_t collect(scheduler *s) {
    size_t ended = 0;
    for (size_t i = 0; i < s->n;) {
        sequence *q = &s->sequences[i];
        if (q->phase != SEQUENCE_ENDS || q->forks || q->job->problem.status) {
            i++;
            continue;
        }
        say(s, q->job, q->choice);
        q->job->n_done++;
        end_sequence(s, q);
        ended++;
    }
    return ended;
}

/* 0: there was nothing to do. */
static int step(scheduler *s) {
    int fed = batch_feed(&s->batch, s->sequences, s->n);
    double time = clock_seconds();
    s->predicted = 0;
    if (fed) batch_digest(&s->batch);
    for (size_t i = 0; fed && i < s->batch.n; i++) tell(s, s->batch.fed[i], time);
    if (!collect(s) && !fed) return 0;
    pthread_mutex_lock(&s->lock);
    s->stats.steps += (unsigned)fed;
    s->stats.prompt_tokens += fed ? s->batch.prompts : 0;
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
    cache_get_stats(s->cache, &s->stats.cache);
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
    batch_close(&s->batch);
    cache_close(s->cache);
    text_free(&s->out);
    free(s);
}

scheduler *scheduler_start(const scheduler_options *options) {
    scheduler *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->options = *options;
    s->sequences = calloc((size_t)options->streams_max, sizeof *s->sequences);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->cache = cache_open(options->cache_bytes);
    if (s->sequences && s->cache &&
        batch_open(&s->batch, options->engine, options->model, options->tokens, options->streams_max) &&
        !pthread_create(&s->thread, NULL, run, s))
        return s;
    scheduler_free(s);
    return NULL;
}

/* What job.h asks of sessions and prompts. */
static int check(const job *j, problem *p) {
    const completion_request *r = &j->request;
    il_session_stats stats = {0};
    if (j->keep && j->n_choices != 1)
        return problem_set(p, 400, "invalid_value", r->n_prompts > 1 ? "prompt" : "n",
                           "a session can be kept of one answer, to one prompt, only");
    if (j->from) il_session_get_stats(j->from, &stats);
    if (stats.mixed)
        return problem_set(p, 400, "unsupported_parameter", NULL, "a session with a mix has no logits to draw from");
    for (size_t i = 0; i < r->n_prompts; i++)
        if (!r->prompts[i].tokens.n && !stats.position)
            return problem_set(p, 400, "invalid_value", r->field,
                               "%s is empty, nothing stands before it, and this model has no token that begins a text",
                               r->field);
    return 1;
}

int scheduler_submit(scheduler *s, job *j, problem *p) {
    int taken = 0; /* once it is, it may be over, and whatever p points to changed with it, before this returns */
    if (!check(j, p)) return 0;
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
        taken = 1;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
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
