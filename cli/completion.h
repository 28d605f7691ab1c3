/* completion.h: completion of the command line for shells, made of the verbs' tables of options. */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

/* Prints a script for bash on standard output: verbs, options, the words of a choice, and names of files or directories
 * where an option or an operand is one. */
void completion_print_bash(void);

#endif
