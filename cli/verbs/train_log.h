/* train_log.h: what a run has written, a line of JSON for each step, read again when the run goes on. */
#ifndef CLI_VERBS_TRAIN_LOG_H
#define CLI_VERBS_TRAIN_LOG_H

#include "innerloop.h"

enum { TRAIN_LAYERS_MAX = 512 };

/* What a line says of a step; NaN: nothing. */
typedef struct train_point {
    uint64_t step;
    double loss, lr, grad_norm, tokens_per_s, val_loss;
    double tokens, seconds;                                   /* since the run began */
    int skipped;                                              /* a spike, which changed no weights */
    int layers;                                               /* 0: the inner loop was not looked at */
    double before[TRAIN_LAYERS_MAX], after[TRAIN_LAYERS_MAX]; /* NaN: a layer that does not learn */
} train_point;

/* 0: it is no such line. The line is without its end. */
int train_log_parse(const char *line, size_t bytes, train_point *point);
/* A line, with its end, of a point; released by free. */
char *train_log_line(const train_point *point);
/* Calls take for each whole line of the file that is one, in order. No file is none. */
il_status train_log_read(const char *path, void (*take)(void *user, const train_point *point), void *user,
                         il_error *error);
/* Cuts the log at path to what a run has written up to step `done`. What is no log is left alone: an error. */
il_status train_log_trim(const char *path, uint64_t done, il_error *error);

#endif
