/* screen.h: the terminal as a screen: its other page, without a cursor and without echo, and keys as they are pressed.
 * However the process ends by itself or by a signal that it catches (interrupt.h), the terminal is put back as it was.
 */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include "innerloop.h"

enum {
    CLI_KEY_NONE = 0, /* none came in time */
    CLI_KEY_UP = 256, /* below: the key's own byte */
    CLI_KEY_DOWN,
    CLI_KEY_LEFT,
    CLI_KEY_RIGHT,
    CLI_KEY_OTHER, /* one of several bytes that is none of these */
    CLI_KEY_STOP   /* no more will come: the terminal is gone, or a signal asks to stop */
};

/* IL_ERR_UNSUPPORTED, saying why, where standard input or output is no terminal, or one without colours: $NO_COLOR is
 * set, $TERM is dumb or missing. */
il_status cli_screen_open(il_error *error);
void cli_screen_close(void); /* also of one that is not open, and within a signal's handler */
/* Characters across and down; 0 and 0 where nobody knows. */
void cli_screen_size(int *columns, int *rows);
/* The next key; waits until that time of cli_seconds. */
int cli_screen_key(double until);

/* The first key of bytes [n], n > 0, in *key; how many of them it is. 0: its end has not come yet. */
size_t cli_key_of(const char *bytes, size_t n, int *key);

#endif
