/* train_new.h: `innerloop train FILE`: a model of one's own from a text alone. */
#ifndef CLI_VERBS_TRAIN_NEW_H
#define CLI_VERBS_TRAIN_NEW_H

#include "verbs/train_run.h"

typedef struct train_new_options {
    const char *mixer;
    double minutes;
    int mixer_given, minutes_given, seed_given; /* a run that is gone on with must have been begun with the same */
} train_new_options;

/* files: the files, how they are read, the folder (NULL: from the first file's name), the seed, and the command line.
 * Goes on with the run that is in the folder if it is of the same text. */
il_status train_new(cli_command *command, const train_new_options *options, const train_options *files);

#endif
