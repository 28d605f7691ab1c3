/* chat_commands.h: what is said to `innerloop chat` itself: lines that begin with a slash. */
#ifndef CLI_CHAT_COMMANDS_H
#define CLI_CHAT_COMMANDS_H

#include "verbs/chat_turn.h"

/* line: without the slash. IL_ERR_ARG and others, with words in command->error, where it could not be done; the
 * conversation is then as it was. */
il_status chat_command(chat *c, const char *line);
/* Goes on with a state file, whose session is the conversation's from here on; its turns are those of its note. */
il_status chat_take(chat *c, il_session *session, const char *path);
il_status chat_save(chat *c, const char *path);

#endif
