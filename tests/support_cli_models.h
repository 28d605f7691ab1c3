/* support_cli_models.h: a book and small models that several tests of the command begin with, in the working folder.
 * Every call fails the running test when it cannot. */
#ifndef IL_SUPPORT_CLI_MODELS_H
#define IL_SUPPORT_CLI_MODELS_H

#include <stddef.h>
#include <stdint.h>

/* Writes book.txt, so many bytes of support_prose after support_seed; returns them, released by free. */
char *support_book(uint64_t seed, size_t bytes);
/* m: a model of bytes, trained a little on book.txt, so that it has something to say. */
void support_bytes_model(void);
/* t.model, a tokenizer made from book.txt, and s, a model with it, untrained. */
void support_sentencepiece_model(void);
/* l.model, a tokenizer that puts a space before every text, as Llama's does, and l, a model with it, untrained. */
void support_llama_model(void);

#endif
