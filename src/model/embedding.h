/* embedding.h: what enters the first layer: the embedding of each token, and with taps (docs/taps.md) those that tokens
 * some way back have for them, added in the order of the taps. */
#ifndef IL_MODEL_EMBEDDING_H
#define IL_MODEL_EMBEDDING_H

#include "model/pass.h"

/* x0 [T,D] =. Notes in the states what later tokens will look back at. */
void il_embed_forward(const il_pass *pass, const int32_t *tokens, float *x0);
/* Gradients of the embeddings += from that of x0, after il_embed_forward of the same pass. */
void il_embed_backward(const il_pass *pass, const int32_t *tokens, const float *dx0, float *grad);

#endif
