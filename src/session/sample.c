/* sample.c: from logits to a token. Weights are thinned in place by thresholds found by bisection over the
 * bits of a float, so nothing is sorted and nothing allocated; every sum runs in order of token id, so a seed
 * means one token everywhere. */
#include "base/bits.h"
#include "base/error.h"
#include "base/maths.h"
#include "base/philox.h"
#include "engine/engine.h"
#include <float.h>
#include <math.h>
#include <string.h>

void il_sample_options_default(il_sample_options *options) {
    *options =
        (il_sample_options){.temperature = 0.8F, .top_k = 40, .top_p = 0.95F, .min_p = 0.05F, .repeat_penalty = 1.0F};
}

enum { BLOCK = 256 }; /* the compiler's vectors look at so many at a time */

/* The first that is not finite; n: none. */
static int first_nonfinite(const float *x, int n) {
    int i = 0;
    for (int any = 0; n - i >= BLOCK; i += BLOCK) {
        uint32_t bits[BLOCK];
        memcpy(bits, x + i, sizeof bits);
        for (int k = 0; k < BLOCK; k++) any |= (bits[k] & 0x7f800000) == 0x7f800000;
        if (any) break;
    }
    while (i < n && isfinite(x[i])) i++;
    return i;
}

static il_status check(const il_sample_options *o, const float *logits, int n, il_error *error) {
    if (!(o->temperature >= 0) || isinf(o->temperature))
        return il_fail(error, IL_ERR_ARG, "temperature is %g: it must be 0 or more", (double)o->temperature);
    if (o->top_k < 0) return il_fail(error, IL_ERR_ARG, "top_k is %d: it must be 0 or more", o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return il_fail(error, IL_ERR_ARG, "top_p is %g: it must be in (0, 1]", (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return il_fail(error, IL_ERR_ARG, "min_p is %g: it must be in [0, 1]", (double)o->min_p);
    if (!(o->repeat_penalty > 0) || isinf(o->repeat_penalty))
        return il_fail(error, IL_ERR_ARG, "repeat_penalty is %g: it must be above 0", (double)o->repeat_penalty);
    int odd = first_nonfinite(logits, n);
    if (odd < n) return il_fail(error, IL_ERR_NONFINITE, "the logit of token %d is not finite", odd);
    return n > 0 ? IL_OK : il_fail(error, IL_ERR_ARG, "no logits to draw from");
}

/* Positive logits are divided by the penalty, negative ones multiplied; what leaves the range of a float stays at its
 * end. */
static float punished(float logit, float penalty) {
    float x = logit > 0 ? logit / penalty : logit * penalty;
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x;
}

/* Drawing knows no engine; every table gives the same bits. */
static const il_kernels *kernels(void) {
    const il_kernels *best = il_kernels_pick(NULL);
    return best ? best : &il_kernels_portable;
}

/* The largest of a block, by integers in the order of floats, for which the compiler has vectors. */
static float largest_of_block(const float *x) {
    int32_t bits[BLOCK], most = INT32_MIN;
    memcpy(bits, x, sizeof bits);
    for (int k = 0; k < BLOCK; k++) {
        int32_t order = bits[k] ^ ((bits[k] >> 31) & INT32_MAX);
        most = order > most ? order : most;
    }
    return il_float_of_bits((uint32_t)(most ^ ((most >> 31) & INT32_MAX)));
}

static int32_t argmax(const float *x, int n) {
    int best = 0;
    for (int from = 0; from < n; from += BLOCK) {
        if (n - from >= BLOCK && !(largest_of_block(x + from) > x[best])) continue;
        for (int i = from; i < n && i < from + BLOCK; i++)
            if (x[i] > x[best]) best = i;
    }
    return best;
}

/* What the weights ≥ t amount to: their number, or their sum. Most of a large vocabulary amounts to nothing, which is
 * seen of many at a time. */
static double amount(const float *w, int n, float t, int count) {
    double total = 0;
    for (int from = 0; from < n; from += BLOCK) {
        int to = n - from < BLOCK ? n : from + BLOCK, any = to - from < BLOCK;
        if (!any)
            for (int i = 0; i < BLOCK; i++) any |= w[from + i] >= t;
        for (int i = from; any && i < to; i++)
            if (w[i] >= t) total += count ? 1 : (double)w[i];
    }
    return total;
}

/* Keeps the fewest of the largest weights that amount to `goal` (number or sum), of equal ones the lowest
 * ids; zeroes the others. Weights are in [0, 1]. */
static void keep_top(float *w, int n, double goal, int count) {
    uint32_t low = 0, high = 0x3f800000; /* bits of 0 and 1: the order of positive floats is that of their bits */
    while (low < high) {                 /* the largest t whose weights ≥ t still reach the goal */
        uint32_t middle = low + (high - low + 1) / 2;
        if (amount(w, n, il_float_of_bits(middle), count) >= goal)
            low = middle;
        else
            high = middle - 1;
    }
    float t = il_float_of_bits(low);
    double missing = goal - amount(w, n, nextafterf(t, 2.0F), count);
    for (int i = 0; i < n; i++) {
        if (w[i] > t) continue;
        if (w[i] == t && missing > 0)
            missing -= count ? 1 : (double)t;
        else
            w[i] = 0;
    }
}

il_status il_sample(const il_sample_options *options, float *logits, int vocab_size, uint64_t position,
                    const int32_t *recent, size_t n_recent, int32_t *token, il_error *error) {
    il_sample_options defaults;
    il_sample_options_default(&defaults);
    const il_sample_options *o = options ? options : &defaults;
    int n = vocab_size;
    IL_TRY(check(o, logits, n, error));
    for (size_t i = 0; i < n_recent; i++) {
        int32_t id = recent[i];
        if (id < 0 || id >= n) return il_fail(error, IL_ERR_ARG, "recent token %d: ids go from 0 to %d", id, n - 1);
        if (o->repeat_penalty == 1.0F) continue;
        int seen = 0; /* a token is punished once however often it came */
        for (size_t j = 0; j < i && !seen; j++) seen = recent[j] == id;
        if (!seen) logits[id] = punished(logits[id], o->repeat_penalty);
    }
    int32_t best = argmax(logits, n);
    if (o->temperature == 0) {
        *token = best;
        return IL_OK;
    }
    double top = (double)logits[best], temperature = (double)o->temperature, least = -80;
    if (o->min_p > 0) least = il_log_d((double)o->min_p) - 0.001; /* below it every weight is below min_p */
    if (least < -80) least = -80;
    kernels()->draw_weights(n, logits, top, temperature, least, o->min_p);
    if (o->top_k && o->top_k < n) keep_top(logits, n, o->top_k, 1);
    if (o->top_p < 1) keep_top(logits, n, (double)o->top_p * amount(logits, n, 0, 0), 0);
    double left = il_uniform(o->seed, IL_PURPOSE_SAMPLE, 0, position) * amount(logits, n, 0, 0);
    *token = best; /* what rounding may leave over */
    for (int i = 0; i < n; i++) {
        if (logits[i] == 0) continue;
        left -= (double)logits[i];
        if (left < 0) {
            *token = i;
            break;
        }
    }
    return IL_OK;
}

float il_log_sum_exp(const il_engine *engine, const float *logits, int vocab_size) {
    float sum;
    engine->kernels->log_sum_exp(1, vocab_size, logits, vocab_size, &sum);
    return sum;
}
