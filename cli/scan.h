/* scan.h: what a pass over a model's files tells without the model in memory: its tensors, and statistics of their
 * numbers. */
#ifndef CLI_SCAN_H
#define CLI_SCAN_H

#include "command.h"

#include <jansson.h>

typedef struct cli_scanned {
    il_rewritten found;
    json_t *tensors; /* of each its name, dtype and shape */
    json_t
        *layers;   /* of each the root mean squares of what mixes tokens and of what does not, and the largest number */
    double spread; /* of the norms of the embedding's rows, over that of random ones */
} cli_scanned;

/* Of a directory or a file, with weights as --dtype says. Released by cli_scanned_free, also after a failure. */
il_status cli_scan(cli_command *command, const char *dir, cli_scanned *scanned);
void cli_scanned_free(cli_scanned *scanned);

#endif
