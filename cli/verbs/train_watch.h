/* train_watch.h: a run as it can be watched: --html and --tensorboard, and the history in the run's folder that they
 * are made of, so that a run that goes on shows all of itself. */
#ifndef CLI_VERBS_TRAIN_WATCH_H
#define CLI_VERBS_TRAIN_WATCH_H

#include "verbs/train_page.h"
#include "verbs/train_run.h"
#include "verbs/train_tensorboard.h"

#include <stdio.h>

typedef struct train_watch {
    const train_options *options; /* NULL: nobody watches */
    il_model *model;
    FILE *history;
    char *history_path;
    train_point *point;
    train_page page;
    train_tensorboard board;
    int32_t *text; /* [n_text] what the inner loop is looked at with */
    size_t n_text;
    uint64_t first, look_every; /* steps done before; between looks at the inner loop */
    double tokens, seconds;     /* of the run so far */
    int replaces;               /* the page is a file, which can be written again */
    double written;             /* when it was */
} train_watch;

/* Does nothing, as all that follows, where neither is asked for. */
il_status train_watch_open(train_watch *w, const train_options *options, il_model *model, const il_trainer *trainer,
                           il_data *data, const il_data *val, il_error *error);
/* After a step; val_loss NaN: it was not validated. */
il_status train_watch_step(train_watch *w, const il_step *step, double val_loss, il_error *error);
/* Writes the page for the last time; error may be NULL. */
il_status train_watch_end(train_watch *w, il_status status, int interrupted, il_error *error);
void train_watch_close(train_watch *w);

#endif
