/* chat_template.h: what can be told from the text of a chat template without executing it. Templates are programs, in
 * Jinja; this looks for the words they put out, and says of anything it is not sure of that it is not known. */
#ifndef IL_TEXT_CHAT_TEMPLATE_H
#define IL_TEXT_CHAT_TEMPLATE_H

#include "innerloop.h"

enum { IL_CHAT_TEMPLATE_MAX = 1 << 20, IL_CHAT_SYSTEM_MAX = 4096 }; /* bytes */

typedef struct il_chat_template {
    il_chat_form form;
    int bos;    /* the template puts BOS at the beginning */
    int trims;  /* ... and takes white space away around messages */
    int thinks; /* as il_chat_info */
    int opens;  /* an answer that may think begins inside the thought */
    int has_system;
    char system[IL_CHAT_SYSTEM_MAX + 1]; /* where has_system: the message that a conversation without one begins with */
} il_chat_template;

/* text [bytes]: of a template. Never fails: form is IL_CHAT_NONE where it is none of those known. */
void il_chat_template_read(const char *text, size_t bytes, il_chat_template *found);

#endif
