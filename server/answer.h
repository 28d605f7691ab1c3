/* answer.h: what answers of all kinds have in common. */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include "job.h"

/* {"id":…,"choices":[ */
void answer_head(const job *j, const char *object, text *t);
/* ],"usage":…}; of an event without usage of its own, null. */
void answer_tail(const job *j, int with_usage, text *t);
/* The whole event that closes a stream when usage was asked for. */
void answer_usage(const job *j, const char *object, text *t);
/* ,"finish_reason":…,"stop_reason":… */
void answer_finish(const choice *c, int ended, text *t);
/* ,"field":[…] */
void answer_ids(const char *field, const int32_t *ids, size_t n, text *t);
/* The likeliest tokens at a record and the one that stands there, at most COMPLETION_TOP_MAX + 1; returns how many. */
size_t answer_tops(const choice *c, size_t record, choice_top *tops);

extern const job_form answer_completion, answer_chat;

#endif
