/* answer.h: what answers of all kinds have in common. */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include "run/job.h"

/* {"id":…,"choices":[ */
void answer_head(const job *j, const char *object, text *t);
/* ],"usage":…}; of an event without usage of its own, null. */
void answer_tail(const job *j, int with_usage, text *t);
/* data: {"id":…,"choices":[{"index":…, */
void answer_event_begin(const job *j, const char *object, size_t index, text *t);
/* ,"finish_reason":…,"stop_reason":…}],"usage":…} of an event, and its end. */
void answer_event_end(const job *j, const choice *c, int ended, text *t);
/* The whole event that closes a stream when usage was asked for. */
void answer_usage(const job *j, const char *object, text *t);
/* ,"token_ids":[…] of the tokens that have not been sent, if they were asked for. */
void answer_new_ids(const job *j, const choice *c, text *t);
/* The end of a whole choice: ,"prompt_token_ids":[…],"token_ids":[…] if asked for, ,"finish_reason":…,"stop_reason":…}
 */
void answer_choice_end(const job *j, size_t index, text *t);
/* The log-probabilities of records [from, to) as an object; null where none were asked for. */
void answer_logprobs(const choice *c, size_t from, size_t to, text *t);
/* The likeliest tokens at a record and the one that stands there, at most COMPLETION_TOP_MAX + 1; returns how many. */
size_t answer_tops(const choice *c, size_t record, choice_top *tops);

/* The records [from, to) with their log-probabilities, as an array in the form of chats. */
void answer_tokens(const choice *c, size_t from, size_t to, text *t);

extern const job_form answer_completion, answer_chat, answer_response;

#endif
