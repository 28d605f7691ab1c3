/* verdict.h: whether a model is sane, from reading a few short texts and looking at its weights: trained, random, or
 * with a tokenizer that is not its own; and what is likely wrong with it. */
#ifndef CLI_VERDICT_H
#define CLI_VERDICT_H

#include "scan.h"

/* Of a model that lies at `path` and was scanned. tokenizer NULL: there is none, as command->no_tokenizer says; then
 * only weights are looked at. At most one model is in memory at a time: as the files hold it or as --dtype says, but a
 * large one as int8. */
il_status cli_verdict(cli_command *command, const char *path, const cli_scanned *scanned, const il_tokenizer *tokenizer,
                      json_t **verdict);
/* As lines on stdout. */
void cli_verdict_print(const json_t *verdict);

#endif
