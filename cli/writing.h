/* writing.h: a text that a model writes, token by token: drawing, what ends it, the text of the tokens on its way out,
 * and what a session has to have read when a stop string ends the text in the middle of tokens. */
#ifndef CLI_WRITING_H
#define CLI_WRITING_H

#include "innerloop.h"

enum { CLI_RECENT = 64 }; /* tokens that --repeat-penalty looks at */

/* Takes text; returns 0, or the errno of what went wrong. */
typedef int cli_print(void *user, const char *text, size_t bytes);
cli_print cli_print_stdout; /* and flushes it; user is not used */

typedef struct cli_writing {
    il_model *model;
    il_tokenizer *tokenizer;
    il_generation generation; /* how tokens are drawn, and which end the text */
    const char **stops;       /* [n_stops] strings that do */
    size_t n_stops;
    int32_t silent[2]; /* tokens that are not printed, -1: none */
    cli_print *print;  /* NULL: the text is only kept */
    void *user;
    il_decoder decoder;
    /* what was written */
    char *text; /* [bytes]; the first [printed] of it are out: what could begin a stop string is held back */
    size_t bytes, capacity, printed;
    int failure;     /* errno of print */
    int keeps_trace; /* the tokens are kept, for cli_writing_cut */
    int32_t *tokens; /* [n] since cli_writing_begin, and where the text up to each ends: SIZE_MAX, within a character */
    size_t *ends;
    size_t n, n_room;
    /* for drawing */
    float *logits;
    char *decoded;
    size_t decoded_room;
    int32_t recent[CLI_RECENT];
    size_t n_recent;
} cli_writing;

/* model and tokenizer stay the caller's; generation may be changed afterwards, and the other fields down to decoder
 * are to be set. */
void cli_writing_open(cli_writing *writing, il_model *model, il_tokenizer *tokenizer, const il_generation *generation);
void cli_writing_close(cli_writing *writing); /* also of a zeroed one */
/* From here on the text is a new one. started: it goes on from earlier text. */
void cli_writing_begin(cli_writing *writing, int started);
/* That the session has read tokens [n], for --repeat-penalty. */
void cli_writing_remember(cli_writing *writing, const int32_t *tokens, size_t n);
/* Draws the token that follows what the session has read, which it does not read yet, and passes its text on. *finish:
 * NULL, "eos", which has no text, or "stop". */
il_status cli_writing_next(cli_writing *writing, const il_session *session, int32_t *token, const char **finish,
                           il_error *error);
/* Nothing follows: what was held back is printed. Returns 1 when that completes a stop string. */
int cli_writing_end(cli_writing *writing);
/* After "stop": *session has read more, or less, of the last tokens than belongs to the text. Makes it one that has
 * read just the text, from *before, which stood where the text begins and is taken. Tokens that are in the text whole
 * are read as they were drawn. writing->tokens [n] is what it has read then. *evaluated: how many tokens the session
 * had evaluated that is given up. */
il_status cli_writing_cut(cli_writing *writing, il_session **session, il_session **before, uint64_t *evaluated,
                          il_error *error);

#endif
