/* older_weights.h: weights of an older model in a directory in which model.safetensors has taken their place. */
#ifndef IL_MODEL_OLDER_WEIGHTS_H
#define IL_MODEL_OLDER_WEIGHTS_H

#include "engine/engine.h"

/* Removes pytorch_model.bin, and the files that lie in several, by their indexes, and those. A failure is only logged:
 * nothing reads them any more. */
void il_older_weights_remove(il_engine *engine, const char *dir);

#endif
