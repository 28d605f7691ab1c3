/* embeddings.h: POST /v1/embeddings: of each text the mean of its tokens' final hidden vectors. */
#ifndef SERVER_EMBEDDINGS_H
#define SERVER_EMBEDDINGS_H

#include "request/completions.h"
#include "run/job.h"

/* The body as a request that reads its prompts and answers nothing; completion_encode follows. width: of the model. */
int embeddings_parse(const json_t *body, int width, const completion_limits *limits, completion_request *request,
                     problem *p);
extern const job_form embeddings_form;

#endif
