/* gguf_tokenizer.h: the tokenizer of a GGUF file, written out as the file that a model directory would have. */
#ifndef IL_TEXT_GGUF_TOKENIZER_H
#define IL_TEXT_GGUF_TOKENIZER_H

#include "tensor/gguf.h"
#include "text/unicode.h"

/* Sets *file to the text of a tokenizer.json, *json 1, or to a SentencePiece model, *json 0. IL_ERR_UNSUPPORTED names
 * a kind of tokenizer, or a way of cutting text into words, that is not known. Release file->text by il_free of the
 * file's allocator, on failure too. */
il_status il_gguf_tokenizer(const il_gguf *gguf, il_text_buffer *file, int *json, il_error *error);

#endif
