/* trainer.h: what il_trainer holds. */
#ifndef IL_TRAIN_TRAINER_H
#define IL_TRAIN_TRAINER_H

#include "base/lock.h"
#include "train/exchange.h"
#include "train/freeze.h"
#include "train/gradient.h"
#include "train/optimizer.h"
#include "train/spikes.h"

struct il_trainer {
    il_model *model; /* a reference */
    il_data *data;   /* the caller's */
    il_trainer_options options;
    uint64_t done; /* updates made */
    il_validation validation;
    il_spikes spikes;
    il_gradient gradient;
    il_exchange exchange;
    il_optimizer optimizer;
    il_freeze freeze;
    int first, own;  /* the sequences of a batch that are this rank's: first .. first+own-1 */
    double *shared;  /* what each rank tells the others in a step: its status, the losses of its sequences, the sums of
                      * squares of its pieces */
    size_t *at;      /* [ranks+1] where each rank's begin, in bytes */
    double *squares; /* [pieces] of the whole gradient */
    uint64_t *positions;       /* [sequences] of carried states, gathered to be saved */
    size_t *at_sequences;      /* [ranks+1] where each rank's begin in it, in bytes */
    char data_fingerprint[33]; /* "": not computed yet */
    char *locked;              /* the folder whose lock is held; NULL: none */
    size_t existed;            /* of its name, before it was locked */
    il_lock lock;
};

/* Whether the ranks' trainers are alike: else IL_ERR_MISMATCH on all of them, which names the difference. */
il_status il_trainer_same(il_trainer *trainer, il_error *error);
static inline il_ranks *il_trainer_ranks(const il_trainer *trainer) { return trainer->options.ranks; }

#endif
