/* checkpoint.h: the folder of a run, which its trainer keeps locked. */
#ifndef IL_TRAIN_CHECKPOINT_H
#define IL_TRAIN_CHECKPOINT_H

#include "train/trainer.h"

/* Gives the folder back, and removes it if it was made for nothing. */
void il_trainer_unlock(il_trainer *trainer);

#endif
