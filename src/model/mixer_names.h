/* mixer_names.h: what mixers are called: in the command and in messages, in config.json's ttt_layer_type and in its
 * layer_types; which mixer a name means, and which names there are. */
#ifndef IL_MODEL_MIXER_NAMES_H
#define IL_MODEL_MIXER_NAMES_H

#include "innerloop.h"

/* A way to name mixers: il_mixer_name or one of the two below. NULL: the mixer has no such name. */
typedef const char *il_mixer_namer(il_mixer_kind mixer);
/* In ttt_layer_type: "linear"; NULL unless the mixer is TTT. */
const char *il_mixer_ttt_layer_type(il_mixer_kind mixer);
/* In layer_types: self-attention is "full_attention" there and gated_delta "linear_attention", as other software calls
 * them. */
const char *il_mixer_layer_type(il_mixer_kind mixer);

/* The mixer that is called name [bytes]; -1: none is. */
int il_mixer_find(il_mixer_namer *namer, const char *name, size_t bytes);
/* All names with commas between them, for messages; returns text. */
enum { IL_MIXER_LIST_BYTES = 400 };
const char *il_mixer_list(il_mixer_namer *namer, char text[IL_MIXER_LIST_BYTES]);

static inline int il_mixer_is_ttt(il_mixer_kind mixer) { return il_mixer_ttt_layer_type(mixer) != NULL; }

#endif
