/* verdict_texts.h: what a model is tried on: a few hundred bytes each of languages that models are trained on. */
#ifndef CLI_VERDICT_TEXTS_H
#define CLI_VERDICT_TEXTS_H

#include <stddef.h>

typedef struct cli_verdict_text {
    const char *language, *text;
} cli_verdict_text;

extern const cli_verdict_text cli_verdict_texts[];
extern const size_t cli_verdict_n_texts;

#endif
