/* job.h: a request for answers on its way: from HTTP, through the scheduler, and back. */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include "choice.h"
#include "http.h"
#include "work.h"

typedef struct job job;

/* How answers look, by the path that was asked. */
typedef struct job_form {
    void (*whole)(const job *j, text *t);         /* the body of an answer that is not streamed */
    void (*piece)(job *j, size_t index, text *t); /* events of what is new in a choice */
    void (*usage)(const job *j, text *t);         /* the event that closes a stream when usage was asked for */
} job_form;

struct job {
    work_item item; /* must be first */
    const job_form *form;
    http_exchange *exchange;
    completion_request request;
    choice *choices;                      /* [n_choices], those of a prompt next to each other */
    size_t n_choices, n_done, n_admitted; /* n_admitted: prompts */
    size_t running;                       /* sequences of the scheduler */
    int begun;                            /* streaming has */
    problem problem;
    const char *model, *fingerprint;
    char id[48], headers[COMPLETION_IGNORED_MAX + 128];
    long long created;
    double started, spoke; /* seconds of a monotonic clock */
    job *next;
};

void job_free(job *j);
/* Tokens read and answered so far. */
void job_usage(const job *j, text *t);

#endif
