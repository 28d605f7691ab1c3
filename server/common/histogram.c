/* histogram.c: see histogram.h. */
#include "common/histogram.h"

static const double bounds[HISTOGRAM_BOUNDS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                0.5,   1,      2.5,   5,    10,    30,   60};

void histogram_add(histogram *h, double seconds) {
    int i = 0;
    while (i < HISTOGRAM_BOUNDS && seconds > bounds[i]) i++;
    h->counts[i]++;
    h->sum += seconds;
}

void histogram_print(const histogram *h, const char *name, const char *help, text *t) {
    unsigned long long total = 0;
    text_print(t, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        total += h->counts[i];
        text_print(t, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], total);
    }
    total += h->counts[HISTOGRAM_BOUNDS];
    text_print(t, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, total, name, h->sum, name, total);
}
