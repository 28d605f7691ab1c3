/* train_page.h: the page of a run: its curves, how far it is and how long it will take, in one file that needs nothing
 * else. Memory does not grow with the run: of a long one each point stands for several steps. */
#ifndef CLI_VERBS_TRAIN_PAGE_H
#define CLI_VERBS_TRAIN_PAGE_H

#include "verbs/train_log.h"
#include "verbs/train_run.h"

enum { TRAIN_PAGE_POINTS = 512, TRAIN_PAGE_VALUES = 4 };

typedef enum train_page_state {
    TRAIN_PAGE_RUNS,
    TRAIN_PAGE_DONE,
    TRAIN_PAGE_STOPPED,
    TRAIN_PAGE_FAILED
} train_page_state;

/* Steps that are drawn as one point: sums, and the least and most loss among them. */
typedef struct train_page_point {
    double steps, step, sums[TRAIN_PAGE_VALUES], low, high;
} train_page_point;

/* Points of which only so many are kept: every 2^k-th, when there are more. */
typedef struct train_page_marks {
    double *x, *y; /* [n], y [n, width] */
    size_t n, width, every, seen;
} train_page_marks;

typedef struct train_page {
    const train_options *options;
    const char *mixer;
    uint64_t parameters, first; /* first: steps done when this process took the run up */
    int layers;
    train_page_point *points; /* [n] */
    size_t n;
    double each;                                /* steps of a point */
    train_page_marks validations, looks, skips; /* looks: before and after of every layer */
    uint64_t skipped;                           /* steps that were spikes */
    train_point *last;
    double best, best_step, started;
} train_page;

void train_page_open(train_page *page, const train_options *options, const il_model *model, uint64_t first);
void train_page_add(train_page *page, const train_point *point);
/* Replaces the file of --html. */
il_status train_page_write(const train_page *page, train_page_state state, il_error *error);
void train_page_close(train_page *page);

#endif
