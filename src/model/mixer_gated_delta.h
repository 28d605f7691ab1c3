/* mixer_gated_delta.h: the gated delta rule with what goes around it, exactly as Hugging Face's Qwen3.5 runs its layers
 * of "linear_attention": a convolution with SiLU over queries, keys and values, queries and keys of unit length, a
 * learned decay and rate for each token, and a norm with a gate over each head's output. No positions. */
#ifndef IL_MODEL_MIXER_GATED_DELTA_H
#define IL_MODEL_MIXER_GATED_DELTA_H

#include "model/mixer.h"

extern const il_mixer il_mixer_gated_delta;

#endif
