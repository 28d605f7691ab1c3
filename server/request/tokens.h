/* tokens.h: POST /tokenize and /detokenize, in the words of vLLM and of llama.cpp; GET /tokenizer_info. */
#ifndef SERVER_TOKENS_H
#define SERVER_TOKENS_H

#include "grammar/names.h"
#include "request/completions.h"

/* Each writes the body of the answer. */
void tokens_tokenize(const json_t *body, const names *n, const completion_limits *limits, text *t, problem *p);
void tokens_detokenize(const json_t *body, const names *n, const completion_limits *limits, text *t, problem *p);
void tokens_info(const names *n, text *t);

#endif
