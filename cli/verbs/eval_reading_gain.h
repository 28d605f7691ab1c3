/* eval_reading_gain.h: `innerloop eval --reading-gain`: is an author's text cheaper after reading more of it? */
#ifndef CLI_EVAL_READING_GAIN_H
#define CLI_EVAL_READING_GAIN_H

#include "command.h"

typedef struct eval_gain_options {
    const char *model, *data;
    il_documents_options documents; /* also[0]: the field that names the author */
    uint64_t read_bytes, next_bytes, placements, seed;
} eval_gain_options;

/* Measures and prints; a text table or, with --json, one object. */
il_status eval_reading_gain(cli_command *command, const eval_gain_options *options);

#endif
