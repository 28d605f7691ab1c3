/* chat.h: the body of POST /v1/chat/completions: its messages as a prompt in the form of the model's template. All
 * other fields are completions.h's. */
#ifndef SERVER_CHAT_H
#define SERVER_CHAT_H

#include "request/completions.h"

enum { CHAT_MESSAGES_MAX = 4096 };

/* chat NULL: the model has no template. request is one that completion_parse has filled with COMPLETION_CHAT. */
int chat_prompt(const json_t *body, const il_chat *chat, const completion_limits *limits, completion_request *request,
                problem *p);

#endif
