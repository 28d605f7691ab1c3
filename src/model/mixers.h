/* mixers.h: the table of mixers. A new one is its file and a line in mixers.c. */
#ifndef IL_MODEL_MIXERS_H
#define IL_MODEL_MIXERS_H

#include "model/mixer.h"

const il_mixer *il_mixer_of(il_mixer_kind kind);

#endif
