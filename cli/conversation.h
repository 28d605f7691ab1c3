/* conversation.h: conversations that can be taken back, forked and saved. A branch is a session and the turns that it
 * has read; the state before each turn is kept, so that going back reads nothing again. What a turn says is the
 * caller's: here it is text to be shown and stored. */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include "innerloop.h"

#include <jansson.h>

/* Bytes that states before turns may take in all; the oldest go first, and going back there reads again what was read
 * since an older one. */
#define CLI_STATES_BYTES ((size_t)256 << 20)

typedef struct cli_text {
    char *text; /* [bytes] and a NUL; NULL: none */
    size_t bytes;
} cli_text;
cli_text cli_text_of(const char *text, size_t bytes); /* a copy */

/* One message and what the model answered. Does not change once it is in a branch, and may be in several. */
typedef struct cli_turn {
    cli_text system;  /* the system message that came before it */
    cli_text user;    /* the message, or the name of a file that was read */
    cli_text thought; /* NULL: there was none */
    cli_text answer;  /* NULL: none was asked for */
    int is_file;
    /* the branch's */
    int users;
    uint64_t from;       /* the position before it */
    il_session *before;  /* the state there; NULL: given up, or never had */
    size_t before_bytes; /* what it takes */
} cli_turn;

typedef struct cli_branch {
    char *name;
    il_session *session;
    cli_turn **turns; /* [n] */
    size_t n, room;
    size_t first;     /* the turns before it came out of a file, and cannot be taken back */
    cli_turn *origin; /* its state is that at which `tokens` begin */
    int32_t *tokens;  /* [n_tokens] all that was read since */
    size_t n_tokens, tokens_room;
    cli_text system; /* a system message that waits for the next turn */
} cli_branch;

typedef struct cli_conversation {
    cli_branch **branches; /* [n]; the first is called "main" */
    size_t n, room;
    cli_branch *now;
    cli_turn **kept; /* [n_kept] turns whose states are kept, oldest first */
    size_t n_kept, kept_room, kept_bytes;
    uint64_t evaluated; /* tokens, by sessions that are gone */
} cli_conversation;

void cli_conversation_open(cli_conversation *conversation);
void cli_conversation_close(cli_conversation *conversation);

/* The branch that is under way goes on from this session, which becomes its own, also after a failure; turns from
 * before are forgotten. To be called first of all. */
il_status cli_conversation_start(cli_conversation *conversation, il_session *session, il_error *error);
/* Another branch, which goes on from what was said so far, and is now under way. name NULL: one that is free.
 * IL_ERR_ARG when there is one of this name. */
il_status cli_conversation_fork(cli_conversation *conversation, const char *name, il_error *error);
/* IL_ERR_ARG when there is none of this name. */
il_status cli_conversation_switch(cli_conversation *conversation, const char *name, il_error *error);

/* A turn that begins here: the state is kept, the waiting system message is the turn's. It is the branch's from now on.
 */
il_status cli_conversation_turn(cli_conversation *conversation, cli_turn **turn, il_error *error);
/* Reads tokens [n]; *read (NULL allowed): so many were, also after a failure. */
il_status cli_conversation_feed(cli_conversation *conversation, const int32_t *tokens, size_t n, size_t *read,
                                il_error *error);
/* The branch's session was given another past: since this position it has read tokens [n]. */
void cli_conversation_replace(cli_conversation *conversation, uint64_t position, const int32_t *tokens, size_t n);
/* Takes back the last n turns. *again: tokens that had to be read again. */
il_status cli_conversation_rewind(cli_conversation *conversation, size_t n, uint64_t *again, il_error *error);
/* Tokens evaluated since the beginning. */
uint64_t cli_conversation_evaluated(const cli_conversation *conversation);

/* The branch under way as an object, the note of a state file; and its turns out of one, after cli_conversation_start.
 * Returns 0 where the note is another program's. */
json_t *cli_conversation_note(const cli_conversation *conversation, const char *template);
int cli_conversation_restore(cli_conversation *conversation, const char *note);

#endif
