/* actions.h: what a player does, in words: names of a layout's actions with spaces or commas between them, NAME*N for N
 * times the same, and - for a frame that no action leads to. */
#ifndef CLI_ACTIONS_H
#define CLI_ACTIONS_H

#include "innerloop.h"

enum { CLI_ACTIONS_AT_ONCE = 1000000 }; /* N at most */

typedef struct cli_actions {
    int *items; /* [n], -1 for - */
    size_t n, room;
    size_t *ends; /* [lines] of a file: where each ends in items */
    size_t lines, lines_room;
} cli_actions;

/* Adds those that text [bytes] names; `where` begins messages. A name that the layout has not is an error. */
il_status cli_actions_parse(const il_picture_layout *layout, const char *where, const char *text, size_t bytes,
                            cli_actions *actions, il_error *error);
/* Those of a file, which has a line for each film; empty lines are passed over. is_new: the layout has no actions yet,
 * and gets those that are in the file, in the order of their bytes. */
il_status cli_actions_read(il_engine *engine, const char *path, int is_new, il_picture_layout *layout,
                           cli_actions *actions, il_error *error);
void cli_actions_free(cli_actions *actions); /* also of zeroed ones */

#endif
