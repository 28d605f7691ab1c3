/* state_file.h: what of a state file can be told without its model. The rest is public: il_session_save,
 * il_session_load.
 */
#ifndef IL_SESSION_STATE_FILE_H
#define IL_SESSION_STATE_FILE_H

#include "tensor/safetensors.h"

/* The checksum that a state file with these metadata and tensors must hold. IL_ERR_FORMAT when it is not a state file
 * or metadata are missing, IL_ERR_UNSUPPORTED when its version is not ours. path is for messages. */
il_status il_state_file_checksum(const char *path, const il_st *st, char hex[33], il_error *error);

#endif
