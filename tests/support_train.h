/* support_train.h: what tests of outer training share: something to learn, and steps. Every call fails the running
 * test when it cannot. */
#ifndef IL_SUPPORT_TRAIN_H
#define IL_SUPPORT_TRAIN_H

#include "train/trainer.h"

enum { SUPPORT_TRAIN_VOCAB = 61, SUPPORT_TRAIN_STEPS = 20, SUPPORT_TRAIN_LENGTH = 32, SUPPORT_TRAIN_SEQUENCES = 3 };

/* Writes folder/tokens.bin: each token follows from the one before, mostly, and BOS, 1, begins a document now and then.
 * The path holds until the next call. */
const char *support_train_shard(const char *folder);
/* n steps; the loss of the last. */
double support_train_steps(il_trainer *trainer, int n);

/* A small run over such a shard. */
typedef struct {
    il_engine *engine;
    il_model *model;
    il_data *data;
    il_trainer *trainer;
} support_training;

void support_training_open(support_training *r, const char *shard, il_mixer_kind mixer, int threads, int stateful);
/* The same on an engine of the caller's, which close closes too. */
void support_training_open_on(support_training *r, il_engine *engine, const char *shard, il_mixer_kind mixer,
                              int stateful);
void support_training_close(support_training *r);
/* The test fails when their weights differ in a bit. */
void support_training_same(const support_training *a, const support_training *b);

#endif
