/* shell.h: command lines, as one would type them. */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

#include <stddef.h>

/* One word of a command line, quoted for the shell where it must be; released by free. */
char *cli_shell_word(const char *word);
/* "innerloop", the words and `more` (NULL: nothing), released by free. */
char *cli_shell_line(int argc, char **argv, const char *more);
/* Prints the line on stderr, alone, so that it can be copied; it may be of any length. */
void cli_shell_show(const char *line);

#endif
