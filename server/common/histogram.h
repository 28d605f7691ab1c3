/* histogram.h: how often something took how long, as Prometheus reads it. */
#ifndef SERVER_HISTOGRAM_H
#define SERVER_HISTOGRAM_H

#include "common/text.h"

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 15 };

typedef struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* up to each bound, and beyond the last */
    double sum;
} histogram;

void histogram_add(histogram *h, double seconds);
void histogram_print(const histogram *h, const char *name, const char *help, text *t);

#endif
