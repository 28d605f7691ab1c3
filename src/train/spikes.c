/* spikes.c: see spikes.h. */
#include "train/spikes.h"

#include <math.h>

static const double NORM_TIMES = 5, LOSS_TIMES = 8, DEVIATION_LEAST = 1e-3 /* of the median: losses that hardly vary */;

/* Of n ≥ 1 values: the lower of the two in the middle, where there are two. */
static double median(const double *values, int n) {
    double sorted[IL_SPIKES_WINDOW];
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k && sorted[k - 1] > values[i]; k--) sorted[k] = sorted[k - 1];
        sorted[k] = values[i];
    }
    return sorted[(n - 1) / 2];
}

int il_spikes_see(il_spikes *s, double loss, double norm) {
    int n = s->seen < IL_SPIKES_WINDOW ? (int)s->seen : IL_SPIKES_WINDOW, is_spike = 0;
    double deviations[IL_SPIKES_WINDOW];
    if (n >= IL_SPIKES_FIRST) {
        double middle = median(s->losses, n), least = DEVIATION_LEAST * fabs(middle);
        for (int i = 0; i < n; i++) deviations[i] = fabs(s->losses[i] - middle);
        double deviation = median(deviations, n);
        if (deviation < least) deviation = least;
        is_spike = norm > NORM_TIMES * median(s->norms, n) || loss - middle > LOSS_TIMES * deviation;
    }
    s->losses[s->seen % IL_SPIKES_WINDOW] = loss;
    s->norms[s->seen % IL_SPIKES_WINDOW] = norm;
    s->seen++;
    s->skipped += (uint64_t)is_spike;
    return is_spike;
}
