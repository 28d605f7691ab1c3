/* arrays.h: trainer.safetensors: m.NAME and v.NAME of every tensor, and lane.I.state of the state that is carried on
 * from sequence I of a batch to the next. One layout, whoever writes it: each rank has its pieces of the moments and
 * the states of its sequences, and writes and reads only these. */
#ifndef IL_TRAIN_ARRAYS_H
#define IL_TRAIN_ARRAYS_H

#include "tensor/safetensors.h"
#include "train/trainer.h"

/* The file, with its header and its size; then every rank fills in its parts. */
il_status il_arrays_make(const il_trainer *trainer, const char *path, il_error *error);
il_status il_arrays_fill(const il_trainer *trainer, const char *path, il_error *error);
/* Whether the file holds all that take needs of it, and finite moments. carried: of the states too. */
il_status il_arrays_check(const il_trainer *trainer, const il_st *st, int carried, const char *path, il_error *error);
void il_arrays_take(il_trainer *trainer, const il_st *st, int carried);

#endif
