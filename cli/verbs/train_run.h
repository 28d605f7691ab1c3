/* train_run.h: a training run: steps, validation, log, checkpoints, and stopping in good order. */
#ifndef CLI_VERBS_TRAIN_RUN_H
#define CLI_VERBS_TRAIN_RUN_H

#include "command.h"

typedef enum train_state {
    TRAIN_BY_MIXER, /* carried on, or fresh in every window, as suits the model's mixers */
    TRAIN_STATEFUL,
    TRAIN_FRESH
} train_state;

typedef struct train_options {
    const char *model;     /* NULL: only with resume */
    const char *init_from; /* NULL: no other model's weights */
    const char *const *freeze;
    size_t n_freeze;
    double memory; /* gigabytes; NaN: what there is */
    const char *const *data;
    const double *weights; /* [n_data] of il_data_options; NULL: none */
    size_t n_data;
    uint64_t data_memory;                       /* MiB of token files; larger ones stay on disk */
    const char *val, *log, *html, *tensorboard; /* NULL: none */
    const char *out, *shuffle, *dtype;
    const char *again; /* the command line that goes on with the run; NULL: there is none */
    il_documents_options documents;
    double lr, end_lr, beta1, beta2, eps, weight_decay, clip, inner_lr_start, warmup,
        inner_lr_warmup; /* NaN: default */
    uint64_t steps, batch_tokens, length, seed;
    uint64_t save_every, val_every; /* 0: a tenth of steps */
    uint64_t patience;              /* validations in a row that may be no better than the best; 0: any number */
    train_state state;
    int resume, resume_with_changes;
    uint64_t lanes;
    const char *mpi; /* cli_ranks_open */
    double watchdog; /* seconds; 0: none */
    uint64_t keep;   /* checkpoints; 0: all */
    int skip_spikes;
} train_options;

/* All that was not given. */
void train_options_default(train_options *options);
/* What contradicts itself in them, or NULL. */
const char *train_options_misuse(const train_options *options);

typedef struct train_result {
    il_step step;          /* the last one made */
    uint64_t made, tokens; /* steps done in all; tokens read in this run */
    double seconds, val_loss;
    il_validation validation; /* loss by token */
    double val_bits;          /* bits per byte of a loss of 1; NaN where the size of the text is not known */
    int is_whole;             /* validation reads its text whole, as it will be read; 0: in windows */
    int stopped;              /* by patience */
    il_trainer_memory memory;
} train_result;

/* Trains; an interrupted run is no failure (cli_interrupted). */
il_status train_run(cli_command *command, const train_options *options, train_result *result);

#endif
