/* responses.h: the body of POST /v1/responses, as the chat that it stands for. */
#ifndef SERVER_RESPONSES_H
#define SERVER_RESPONSES_H

#include "job.h"

/* Fills the job's request, and what its answer repeats. chat NULL: the model has no template. */
int responses_parse(const json_t *body, const il_chat *chat, const completion_limits *limits, job *j, problem *p);

#endif
