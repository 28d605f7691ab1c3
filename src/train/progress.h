/* progress.h: trainer.json: how far a run has come, and what it is made with. */
#ifndef IL_TRAIN_PROGRESS_H
#define IL_TRAIN_PROGRESS_H

#include "train/trainer.h"

typedef struct il_progress {
    uint64_t step;
    il_cursor cursor;
    uint64_t *positions; /* [sequences] of carried states; NULL: there are none, or they begin anew as the data do */
    il_validation validation;
    il_spikes spikes;
    char model[33]; /* fingerprint of the weights that belong to it; "": from before it was kept */
} il_progress;

il_status il_progress_save(il_trainer *trainer, const char *path, il_error *error);
/* IL_ERR_MISMATCH, naming what was and what is, when data or options differ from the trainer's, unless
 * resume_with_changes. Changes nothing of the trainer but its note of the data's fingerprint. */
il_status il_progress_load(il_trainer *trainer, const char *path, il_progress *progress, il_error *error);
/* The same of its text, which messages call path. */
il_status il_progress_read(il_trainer *trainer, const char *path, const char *text, size_t bytes, il_progress *progress,
                           il_error *error);
void il_progress_free(const il_trainer *trainer, il_progress *progress);

/* Everything in which trainers of one run must not differ, as text, an object of JSON; released by free. NULL on
 * failure.
 */
il_status il_progress_describe(il_trainer *trainer, char **text, il_error *error);

/* How many states are carried from batch to batch, by all ranks. */
size_t il_trainer_carried(const il_trainer *trainer);

#endif
