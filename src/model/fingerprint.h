/* fingerprint.h: the hash of a model's configuration and tensors, made in the table's order of what need not be in
 * memory at once. */
#ifndef IL_MODEL_FINGERPRINT_H
#define IL_MODEL_FINGERPRINT_H

#include "model/model.h"
#define XXH_STATIC_LINKING_ONLY /* the state lives on the stack */
#include <xxhash.h>

/* Of a model that may be only declared. Then of each tensor its name and shape, and its rows: fp32 numbers as they are
 * (XXH3_128bits_update), those of a low-precision matrix by il_fingerprint_rows; in any number of calls. */
void il_fingerprint_begin(XXH3_state_t *state, const il_model *model);
void il_fingerprint_tensor(XXH3_state_t *state, const il_table_entry *entry);
void il_fingerprint_rows(XXH3_state_t *state, const il_lp_matrix *matrix);
void il_fingerprint_end(const XXH3_state_t *state, char hex[33]);

#endif
