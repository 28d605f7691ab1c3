/* places.h: the files and folders that a verb reads and writes, checked before it begins: no output is an input or
 * another output, by whatever name, link or redirection, and each can be written. */
#ifndef CLI_PLACES_H
#define CLI_PLACES_H

#include "args.h"
#include "innerloop.h"

/* As the table's options and operands say (arg_place). An output "-" or /dev/stdout takes standard output for itself:
 * the option then names another descriptor of it, and what the verb prints goes to standard error. *usage: what is
 * wrong is how the command was called. */
il_status cli_places_check(arg_spec *spec, int *usage, il_error *error);

#endif
