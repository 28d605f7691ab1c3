/* score_top.c: see score_top.h. */
#include "verbs/score_top.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void score_top_begin(score_top *top, size_t capacity) {
    *top = (score_top){.capacity = capacity, .entries = cli_alloc(capacity, sizeof *top->entries)};
}

void score_top_close(score_top *top) {
    for (size_t i = 0; top->entries && i < top->capacity; i++) {
        free(top->entries[i].line.text);
        free(top->entries[i].line.cells);
    }
    free(top->entries);
    *top = (score_top){0};
}

/* Whether a is to stand behind b. */
static int behind(const score_entry *a, const score_entry *b) {
    return a->score != b->score ? a->score < b->score : a->line.unit.index > b->line.unit.index;
}

static void swap(score_top *top, size_t i, size_t k) {
    score_entry entry = top->entries[i];
    top->entries[i] = top->entries[k];
    top->entries[k] = entry;
}

static void sink(score_top *top, size_t at) {
    for (size_t child; (child = 2 * at + 1) < top->n; at = child) {
        if (child + 1 < top->n && behind(&top->entries[child + 1], &top->entries[child])) child++;
        if (!behind(&top->entries[child], &top->entries[at])) return;
        swap(top, at, child);
    }
}

/* Into memory that is used again for what takes an entry's place. */
static void copy(score_line *to, const score_line *from) {
    if (from->bytes > to->capacity) {
        free(to->text);
        to->text = cli_alloc(to->capacity = from->bytes, 1);
    }
    if (from->n_cells > to->cells_capacity) {
        free(to->cells);
        to->cells = cli_alloc(to->cells_capacity = from->n_cells, sizeof *to->cells);
    }
    if (from->bytes) memcpy(to->text, from->text, from->bytes);
    if (from->n_cells) memcpy(to->cells, from->cells, from->n_cells * sizeof *to->cells);
    to->bytes = from->bytes;
    to->n_cells = from->n_cells;
    to->unit = from->unit;
    to->worst_from = from->worst_from;
    to->worst_to = from->worst_to;
}

int score_top_add(score_top *top, double score, const score_line *line, int32_t token) {
    if (isnan(score) || !top->capacity) return 0;
    int full = top->n == top->capacity;
    size_t at = full ? 0 : top->n;
    score_entry *entry = &top->entries[at];
    if (full && score <= entry->score) return 0;
    copy(&entry->line, line);
    entry->score = score;
    entry->token = token;
    if (full) {
        sink(top, 0);
        return 1;
    }
    for (top->n++; at && behind(&top->entries[at], &top->entries[(at - 1) / 2]); at = (at - 1) / 2)
        swap(top, at, (at - 1) / 2);
    return 1;
}

static int by_score(const void *a, const void *b) { return behind(a, b) ? 1 : -1; }

void score_top_sort(score_top *top) {
    if (top->n) qsort(top->entries, top->n, sizeof *top->entries, by_score);
}
