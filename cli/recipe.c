/* recipe.c: see recipe.h. What its numbers were chosen by: docs/notebook/2026-11-30-train-your-own.md. */
#include "recipe.h"

#include <stddef.h>
#include <string.h>

enum { EPOCHS_MAX = 8, VALIDATIONS = 20, HELD_OUT_MIN = 2000, HELD_OUT_MAX = 100000 };

/* ---- the text ---- */

uint64_t recipe_held_out(uint64_t bytes) {
    uint64_t n = bytes / 20;
    if (n < HELD_OUT_MIN) n = HELD_OUT_MIN;
    return n < HELD_OUT_MAX ? n : HELD_OUT_MAX;
}

/* The first place from `at` on, at most `to`, right after `end`; 0: none. */
static size_t after(const char *text, size_t at, size_t to, const char *end) {
    size_t n = strlen(end);
    for (size_t i = at > n ? at : n; i <= to; i++)
        if (!memcmp(text + i - n, end, n)) return i;
    return 0;
}

size_t recipe_cut(const char *text, size_t bytes, size_t at, size_t window) {
    static const char *const ends[] = {"\n\n", "\n\r\n", "\n", " "};
    if (at >= bytes) return bytes;
    size_t to = window < bytes - at ? at + window : bytes;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t place = after(text, at, to, ends[i]);
        if (place) return place;
    }
    for (size_t i = at; i < bytes && i < at + 4; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80) return i;
    return at; /* not UTF-8 */
}

int recipe_vocabulary(uint64_t bytes) {
    static const struct {
        uint64_t from;
        int vocabulary;
    } table[] = {{64000000, 8192}, {16000000, 4096}, {2000000, 2048}, {500000, 1024}, {200000, 512}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (bytes >= table[i].from) return table[i].vocabulary;
    return 0;
}

/* ---- the shape ---- */

/* Wide rather than deep: what is trained for minutes gets nothing from depth (models/reader/README.md). */
static const recipe_shape shapes[] = {
    {2, 64, 1, 176},   {2, 128, 2, 344},  {2, 192, 3, 512},   {2, 256, 4, 688},
    {2, 384, 6, 1024}, {3, 512, 8, 1368}, {4, 768, 12, 2048}, {8, 1024, 16, 2736},
};

const recipe_shape *recipe_shape_at(size_t i) { return i < sizeof shapes / sizeof *shapes ? &shapes[i] : NULL; }

/* The tokens learned in the time; a text is gone through EPOCHS_MAX times at most: later it is learned by heart. */
static double tokens_learned(const recipe_text *text, double seconds, double tokens_per_s) {
    double tokens = seconds * tokens_per_s, most = EPOCHS_MAX * (double)text->tokens;
    tokens -= VALIDATIONS * 0.5 * (double)text->held_out_tokens; /* a token is read in half the time it is learned in */
    return tokens < most ? tokens : most;
}

/* The largest that learns a token for each of its weights, which are multiplied and added. */
size_t recipe_choose_shape(const recipe_text *text, double seconds, double flops_per_s, const double *flops, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (tokens_learned(text, seconds, flops_per_s / flops[i]) >= flops[i] / 2) best = i;
    }
    return best;
}

/* ---- the schedule ---- */

static uint64_t at_least_one(double value) { return value >= 1 ? (uint64_t)value : 1; }

void recipe_choose_schedule(const recipe_text *text, const recipe_shape *shape, double seconds, double tokens_per_s,
                            recipe_schedule *schedule) {
    recipe_schedule *s = schedule;
    double tokens = tokens_learned(text, seconds, tokens_per_s);
    s->length = 512;
    s->batch_tokens = tokens < 2e6 ? 1024 : tokens < 1e7 ? 2048 : 4096; /* some hundreds of steps and more */
    /* What is left over of a document is not learned from, if its windows carry the state on. */
    uint64_t document = text->tokens / (text->documents ? text->documents : 1), length = s->length;
    while (length > 128 && 2 * length > document) length /= 2;
    s->fresh = 2 * length > document;
    if (!s->fresh) s->length = length;
    while (s->length > 64 && s->batch_tokens > text->tokens / 4) s->length /= 2, s->batch_tokens /= 2;
    s->steps = at_least_one(tokens / (double)s->batch_tokens);
    s->val_every = at_least_one((double)s->steps / VALIDATIONS);
    s->lr = shape->width <= 192 ? 6e-3 : shape->width <= 256 ? 4e-3 : 3e-3;
}
