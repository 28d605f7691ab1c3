/* chat_turn.h: what `innerloop chat` is about, and one turn of it: a message is read, an answer written and ended. */
#ifndef CLI_CHAT_TURN_H
#define CLI_CHAT_TURN_H

#include "command.h"
#include "console.h"
#include "conversation.h"
#include "writing.h"

typedef struct chat {
    cli_command *command;
    il_model *model;
    il_tokenizer *tokenizer;
    il_chat *form;
    il_chat_info info;
    cli_conversation conversation;
    cli_writing writing;
    cli_console console;
    int thinking; /* as il_chat_begin_answer takes it */
    uint64_t tokens_max;
    int shows;      /* standard output is a terminal */
    int leaves;     /* /quit */
    char *saved_as; /* the file of the last /save or /load; NULL: none */
    /* of the answer that is being written */
    int in_thought, begun; /* begun: something of it was printed */
    char last;             /* the last byte printed */
    int stopped;           /* Ctrl-C was pressed */
} chat;

/* Reads the message, lets the model answer and prints that. Ctrl-C ends the answer in good order, or takes back a
 * message that was not read whole. */
il_status chat_say(chat *c, const char *text, size_t bytes);
/* Reads a text as a message that wants no answer. Ctrl-C: as much of it as was read counts. */
il_status chat_read(chat *c, const char *path, const char *text, size_t bytes);

/* A line of news for whoever sits there: on a terminal as it is, else in the form of every verb's. */
void chat_note(const chat *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
