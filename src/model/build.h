/* build.h: making an il_model from a config and releasing it: which tensors it has, their memory, its references. */
#ifndef IL_MODEL_BUILD_H
#define IL_MODEL_BUILD_H

#include "model/model.h"

/* An il_model with zeroed weights, all tensors declared and ready to be filled; one reference. config->weights: how its
 * matrices are held. */
il_status il_model_new(il_engine *engine, const il_config *config, il_model **model, il_error *error);
/* il_model_new in two steps, for a loader that checks a file's shapes before it asks for their memory: everything but
 * the weights, then the zeroed weights. */
il_status il_model_declare(il_engine *engine, const il_config *config, il_model **model, il_error *error);
il_status il_model_allocate(il_model *model, il_error *error);
/* In place of il_model_allocate: the weights are those of another model of the same tensors, held in the same types.
 * They are not fp32, so that they never change. */
il_status il_model_share(il_model *model, const il_model *owner, il_error *error);

#endif
