/* support_train.h: what tests of outer training share: something to learn, and steps. Every call fails the running
 * test when it cannot. */
#ifndef IL_SUPPORT_TRAIN_H
#define IL_SUPPORT_TRAIN_H

#include "train/trainer.h"

enum { SUPPORT_TRAIN_VOCAB = 61 };

/* Writes folder/tokens.bin: each token follows from the one before, mostly, and BOS, 1, begins a document now and then.
 * The path is support_path's. */
const char *support_train_shard(const char *folder);
/* n steps; the loss of the last. */
double support_train_steps(il_trainer *trainer, int n);

#endif
