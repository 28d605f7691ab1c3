/* support_model.h: small models for tests, and their tensors as files in any dtype. Every call fails the
 * running test when it cannot. */
#ifndef IL_SUPPORT_MODEL_H
#define IL_SUPPORT_MODEL_H

#include "model/model.h"
#include "tensor/safetensors.h"

/* 2 layers, width 16, 2 heads, vocabulary 20, mini-batch 4; backbone NULL: the mixer's usual one. */
il_config support_config(const char *mixer, const char *backbone);
/* il_model_init of it. */
il_model *support_model(il_engine *engine, const il_config *config, uint64_t seed);
/* The model's tensors in F32, as il_st_write takes them, released by free; data and names stay the model's. */
il_st_item *support_items(const il_model *model);
/* Writes dir/name. */
void support_write_items(const char *dir, const char *name, const il_st_item *items, size_t n);
/* Writes dir/config.json. */
void support_write_config(const char *dir, const il_config *config);
/* x [n] as BF16 or F16, cut, not rounded (F16: normal numbers only), released by free. */
uint16_t *support_half(il_dtype dtype, const float *x, size_t n);
/* The largest difference between the logits of the tokens that a file of tensors holds (tokens I32, logits [n, V]) and
 * those that it holds, over the rms of those. */
double support_logits_apart(il_model *model, const char *expected);

#endif
