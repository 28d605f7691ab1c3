/* weights.c: see weights.h. Shares are whole numbers of slots of a period, which is the same over and over. In it each
 * slot goes to the source that is furthest behind its share, so that any stretch of sequences has nearly the mixture.
 */
#include "text/weights.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = IL_WEIGHTS_PERIOD };

/* Shares by the method of the largest remainders, each at least 1. */
static il_status share_out(const double *weights, size_t files, double total, il_weights *w, il_error *error) {
    uint32_t given = 0;
    size_t source = 0;
    for (size_t i = 0; i < files; i++) {
        if (!(weights[i] > 0)) continue;
        w->slots[source] = (uint32_t)(weights[i] / total * P);
        if (!w->slots[source])
            return il_fail(error, IL_ERR_ARG, "weight %g of %g in all: a source gets at least 1 of 10,000 sequences",
                           weights[i], total);
        given += w->slots[source++];
    }
    for (; given < P; given++) {
        double most = -1;
        size_t which = 0;
        source = 0;
        for (size_t i = 0; i < files; i++) {
            if (!(weights[i] > 0)) continue;
            double missing = weights[i] / total * P - (double)w->slots[source];
            if (missing > most) most = missing, which = source;
            source++;
        }
        w->slots[which]++;
    }
    return IL_OK;
}

static void lay_out(il_weights *w, uint32_t *used) {
    for (uint32_t slot = 0; slot < P; slot++) {
        int64_t most = INT64_MIN;
        size_t which = 0;
        for (size_t i = 0; i < w->n; i++) {
            int64_t behind = (int64_t)(slot + 1) * w->slots[i] - (int64_t)used[i] * P;
            if (used[i] < w->slots[i] && behind > most) most = behind, which = i;
        }
        w->source[slot] = (uint32_t)which;
        w->rank[slot] = used[which]++;
    }
}

il_status il_weights_open(const il_allocator *allocator, const double *weights, size_t files, il_weights *w,
                          il_error *error) {
    double total = 0;
    *w = (il_weights){0};
    for (size_t i = 0; i < files; i++) {
        if (!isfinite(weights[i]) || weights[i] < 0 || weights[i] > 1e15 || (i == 0 && weights[0] == 0))
            return il_fail(error, IL_ERR_ARG, "weight %g of file %zu: a weight is above 0, or 0 to go on with a source",
                           weights[i], i + 1);
        w->n += weights[i] > 0;
        total += weights[i];
    }
    w->slots = il_alloc(allocator, w->n, sizeof *w->slots);
    w->source = il_alloc(allocator, P, sizeof *w->source);
    w->rank = il_alloc(allocator, P, sizeof *w->rank);
    uint32_t *used = il_alloc(allocator, w->n, sizeof *used);
    il_status status = w->slots && w->source && w->rank && used
                           ? share_out(weights, files, total, w, error)
                           : il_fail(error, IL_ERR_NOMEM, "no memory to mix %zu sources", w->n);
    if (status == IL_OK) lay_out(w, used);
    il_free(allocator, used);
    return status;
}

void il_weights_close(const il_allocator *allocator, il_weights *w) {
    il_free(allocator, w->slots);
    il_free(allocator, w->source);
    il_free(allocator, w->rank);
    *w = (il_weights){0};
}

uint64_t il_weights_at(const il_weights *w, uint64_t i, uint64_t *count) {
    uint32_t slot = (uint32_t)(i % P), source = w->source[slot];
    *count = i / P * w->slots[source] + w->rank[slot];
    return source;
}

char *il_weights_text(const il_weights *w) {
    char *text = malloc(w->n * 6 + 1); /* "10000 " */
    size_t at = 0;
    if (!text) return NULL;
    text[0] = 0;
    for (size_t i = 0; i < w->n; i++) at += (size_t)sprintf(text + at, i ? " %u" : "%u", w->slots[i]);
    return text;
}
