/* gguf_config.h: the shape of the model in a GGUF file. */
#ifndef IL_MODEL_GGUF_CONFIG_H
#define IL_MODEL_GGUF_CONFIG_H

#include "tensor/gguf.h"

/* How an architecture's tensors differ from those of config.json. */
typedef enum il_gguf_form {
    IL_GGUF_AS_THEY_ARE,
    IL_GGUF_TURNED, /* rows of queries and keys are in an order in which what RoPE turns together are neighbours */
    IL_GGUF_QWEN35  /* see gguf_model.c */
} il_gguf_form;

/* What config.json would say, from the metadata of an architecture that is known (IL_ERR_UNSUPPORTED names another, and
 * keys that are not known). */
il_status il_gguf_config(const il_gguf *gguf, il_config *config, il_gguf_form *form, il_error *error);
il_status il_gguf_config_load(const il_allocator *memory, const char *path, il_config *config, il_error *error);
/* Whether a tensor only says what the config then says. */
int il_gguf_config_has_read(const il_gguf_tensor *tensor);

#endif
