/* responses.h: the body of POST /v1/responses, as the chat that it stands for. */
#ifndef SERVER_RESPONSES_H
#define SERVER_RESPONSES_H

#include "run/job.h"

/* Fills the job's request but for its messages, and what its answer repeats. */
int responses_parse(const json_t *body, const completion_limits *limits, job *j, problem *p);
/* The messages, after stored_responses_join. chat NULL: the model has no template. */
int responses_prompt(const json_t *body, const il_chat *chat, const completion_limits *limits, job *j, problem *p);

#endif
