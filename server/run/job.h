/* job.h: a request for answers on its way: from HTTP, through the scheduler, and back.
 *
 * A job may go on from a session (`from`) and may ask for the session that it leaves behind (`keep`, `kept`).
 *
 * from: a session of the server's model, opened without il_session_options.mix. It belongs to the job, which uses it
 * up; who wants to have it whatever comes keeps a fork. The prompts follow what it has read: each goes on from a copy,
 * the last from the session itself, and the n answers of one prompt from copies after it. A prompt may be empty if the
 * session has read anything. With `echo` and `logprobs` the prompt's first token has its log-probability too. What the
 * session read earlier is not part of the request: repetition_penalty and stop strings look at prompt and answer.
 *
 * keep: only of one answer, of one prompt with n 1; scheduler_submit refuses others. If the job ends without a problem,
 * `kept` has read what `from` had, the prompt, and choices[0].tokens [n], so that
 *     il_session_position(kept) = that of from + the tokens of the prompt + choices[0].n, as usage counts them.
 * That holds whatever ended the answer: the token that stopped it is read, and so are the tokens behind the place where
 * a stop string cut its text; who wants to be without the stopping token takes it back by il_session_rewind, which can
 * go back a mini-batch. But where the text ends inside a token, kept has read the text, its last part as other tokens
 * (choice.mended). tokens_max 0 reads the prompt and draws nothing: this is how a session is fed.
 * If there is a problem (a number that is not finite, no memory, time, the server stops, 499 the client has gone) kept
 * is NULL: an answer either moves a session on as a whole, or not at all.
 *
 * Threads: an il_session belongs to one thread at a time. That is whoever makes the job until scheduler_submit has
 * taken it, the scheduler's thread from then on, and from `ended` on the thread of the work that calls it. Other
 * threads than the scheduler's may fork, save, load, rewind, look at and close the sessions that they have, but do not
 * feed them: all answers would wait for it. */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include "common/work.h"
#include "net/http.h"
#include "run/choice.h"
#include "run/places.h"

typedef struct job job;

/* How answers look, by the path that was asked. */
typedef struct job_form {
    void (*whole)(const job *j, text *t);         /* the body of an answer that is not streamed */
    void (*piece)(job *j, size_t index, text *t); /* events of what is new in a choice */
    void (*usage)(const job *j, text *t);         /* the event that closes a stream when usage was asked for */
    /* NULL, or events of tokens of the prompt that the session has read now. */
    void (*read)(job *j, const il_session *session, text *t);
    /* NULL, or the event of a problem in a stream, which then does not end with [DONE] either. */
    void (*failed)(const job *j, text *t);
} job_form;

struct job {
    work_item item; /* must be first */
    const job_form *form;
    http_exchange *exchange;
    completion_request request;
    choice *choices;                      /* [n_choices], those of a prompt next to each other */
    size_t n_choices, n_done, n_admitted; /* n_admitted: prompts */
    size_t running;                       /* sequences of the scheduler */
    size_t cached;                        /* tokens of prompts that needed no reading */
    int begun;                            /* streaming has */
    problem problem;
    il_session *from, *kept; /* NULL: none. job_free closes what nobody has taken */
    int keep;
    /* NULL, or called once by job_end before anything of the end is sent, on a thread of the work: takes `kept` (and
     * sets it to NULL), and lets go what the job held, also after a problem. It may set a problem itself. */
    void (*ended)(job *j);
    void *user;         /* of `ended` */
    atomic_int *places; /* of its API key, of which it has n_choices; NULL: none are counted */
    text session;       /* what it said of a session, of the answer's JSON */
    int status;         /* of an answer without a problem; 0: 200 */
    text given;         /* of a response: what it repeats of its request */
    size_t events;      /* of a response: those that were sent */
    const char *model, *fingerprint;
    char id[48], headers[COMPLETION_IGNORED_MAX + 128];
    long long created;
    double started, spoke; /* seconds of a monotonic clock */
    job *next;
};

/* Its choices, of which nothing has come. 0: a problem, without memory. */
int job_open_choices(job *j, const names *words, problem *p);
/* What was not streamed is answered, what was gets its last events; on a thread of the work, and the job is freed. */
void job_end(job *j, work *w);
void job_free(job *j); /* NULL allowed */
/* Tokens read and answered so far. */
void job_count(const job *j, size_t *prompt, size_t *answer);
void job_usage(const job *j, text *t);

#endif
