/* train_memory.h: how much memory a run may take, and how much it takes. */
#ifndef CLI_VERBS_TRAIN_MEMORY_H
#define CLI_VERBS_TRAIN_MEMORY_H

#include "command.h"

/* The bound in bytes: so many gigabytes; NaN: what the machine and the process's control groups have left, and what the
 * model takes already. */
uint64_t train_memory_bound(double gigabytes, const il_model *model);
/* Says what the trainer takes, a line on stderr. */
void train_memory_show(const cli_command *command, const il_trainer *trainer, uint64_t bound);

#endif
