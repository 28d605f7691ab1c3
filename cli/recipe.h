/* recipe.h: what a new model is made of and how it is trained, chosen from the size of its text and the time there is.
 * Pure: the same numbers give the same recipe. */
#ifndef CLI_RECIPE_H
#define CLI_RECIPE_H

#include <stddef.h>
#include <stdint.h>

enum {
    RECIPE_BYTES_MIN = 10000, /* of text: with less there is nothing to learn from and to measure with */
    RECIPE_PATIENCE = 3
};

/* How many bytes of so many are held out. */
uint64_t recipe_held_out(uint64_t bytes);
/* Where to cut text [bytes] at or after `at`, within `window` bytes: where a paragraph begins, else a line, a word, a
 * character. */
size_t recipe_cut(const char *text, size_t bytes, size_t at, size_t window);
/* Size of the vocabulary for so many bytes to learn from. 0: bytes are the tokens. */
int recipe_vocabulary(uint64_t bytes);

typedef struct recipe_shape {
    int layers, width, heads, ffn_width;
} recipe_shape;
/* The shapes there are, from the smallest on; NULL from the last on. */
const recipe_shape *recipe_shape_at(size_t i);

/* What is known of the text when the tokenizer has cut it. */
typedef struct recipe_text {
    uint64_t tokens, held_out_tokens, documents;
} recipe_text;
/* The shape that learns most of the text in the time. flops_per_s: operations of forward passes that training a model
 * goes through in a second (a third of all it does); flops: of a forward pass for a token, of each shape. */
size_t recipe_choose_shape(const recipe_text *text, double seconds, double flops_per_s, const double *flops, size_t n);

typedef struct recipe_schedule {
    uint64_t length, batch_tokens, steps, val_every;
    int fresh; /* the documents are too short to carry a state on in them */
    double lr;
} recipe_schedule;
/* tokens_per_s: of training with that shape. */
void recipe_choose_schedule(const recipe_text *text, const recipe_shape *shape, double seconds, double tokens_per_s,
                            recipe_schedule *schedule);

#endif
