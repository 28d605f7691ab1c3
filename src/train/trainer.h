/* trainer.h: what il_trainer holds. */
#ifndef IL_TRAIN_TRAINER_H
#define IL_TRAIN_TRAINER_H

#include "base/lock.h"
#include "train/gradient.h"
#include "train/optimizer.h"

struct il_trainer {
    il_model *model; /* a reference */
    il_data *data;   /* the caller's */
    il_trainer_options options;
    uint64_t done; /* updates made */
    il_validation validation;
    il_gradient gradient;
    il_optimizer optimizer;
    char data_fingerprint[33]; /* "": not computed yet */
    char *locked;              /* the folder whose lock is held; NULL: none */
    size_t existed;            /* of its name, before it was locked */
    il_lock lock;
};

#endif
