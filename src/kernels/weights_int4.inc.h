/* weights_int4.inc.h (included by isa.c): rounding weights to int4, 16 groups side by side, one in each lane. A lane
 * does what one group alone would: its sums are chains of double over its own inputs. */

#define EACH_PART(k)                                                                                                   \
    UNROLL                                                                                                             \
    for (int k = 0; k < 16; k += DOUBLES)

IL_STEP void widen(const float *x, doubles *wide) {
    floats x_ = {0};
    memcpy(&x_, x, sizeof x_);
    *wide = __builtin_convertvector(x_, doubles);
}

/* Whole numbers of a step, -8 .. 7, ties to even. */
IL_STEP void whole_int4(const float *x, v16 factor, float whole[16]) {
    const v16 round = v16_set1(12582912.0f); /* 1.5 * 2^23 */
    v16 w = v16_min(v16_max(v16_mul(v16_load(x), factor), v16_set1(-8.0f)), v16_set1(7.0f));
    v16_store(whole, v16_sub(v16_add(w, round), round));
}

/* An input of every group and its whole number, wide. */
IL_STEP void int4_input(const float *x, v16 factor, doubles have[16 / DOUBLES], doubles q[16 / DOUBLES]) {
    float whole[16];
    whole_int4(x, factor, whole);
    EACH_PART(k) {
        widen(x + k, &have[k / DOUBLES]);
        widen(whole + k, &q[k / DOUBLES]);
    }
}

/* The square errors that steps of these scales leave. */
static void int4_errors(const float *x, const float scale[16], double error[16]) {
    const v16 factor = v16_div(v16_set1(1.0f), v16_load(scale));
    doubles sum[16 / DOUBLES], step[16 / DOUBLES], have[16 / DOUBLES], q[16 / DOUBLES];
    EACH_PART(k) {
        sum[k / DOUBLES] = (doubles){0};
        widen(scale + k, &step[k / DOUBLES]);
    }
    for (int i = 0; i < IL_GROUP; i++, x += 16) {
        int4_input(x, factor, have, q);
        EACH_PART(k) {
            have[k / DOUBLES] -= q[k / DOUBLES] * step[k / DOUBLES];
            sum[k / DOUBLES] += have[k / DOUBLES] * have[k / DOUBLES];
        }
    }
    memcpy(error, sum, sizeof sum);
}

/* For the whole numbers of each scale the scale that leaves the smallest square error. */
static void int4_fit(const float *x, float scale[16]) {
    const v16 factor = v16_div(v16_set1(1.0f), v16_load(scale));
    doubles products[16 / DOUBLES], squares[16 / DOUBLES], have[16 / DOUBLES], q[16 / DOUBLES];
    EACH_PART(k) products[k / DOUBLES] = squares[k / DOUBLES] = (doubles){0};
    for (int i = 0; i < IL_GROUP; i++, x += 16) {
        int4_input(x, factor, have, q);
        EACH_PART(k) {
            products[k / DOUBLES] += have[k / DOUBLES] * q[k / DOUBLES];
            squares[k / DOUBLES] += q[k / DOUBLES] * q[k / DOUBLES];
        }
    }
    for (int lane = 0; lane < 16; lane++)
        scale[lane] = (float)(products[lane / DOUBLES][lane % DOUBLES] / squares[lane / DOUBLES][lane % DOUBLES]);
}

/* Takes what leaves a smaller error, where it is looked for. Whether that was any. */
static int int4_take(const float scale[16], const double error[16], int searched[16], float best[16], double least[16],
                     int ends) {
    int any = 0;
    for (int lane = 0; lane < 16; lane++) {
        int better = searched[lane] && error[lane] < least[lane];
        best[lane] = better ? scale[lane] : best[lane];
        least[lane] = better ? error[lane] : least[lane];
        if (ends) searched[lane] = better;
        any |= better;
    }
    return any;
}

/* Where nothing is looked for a scale of 1 does no harm. */
static void int4_searched(const int searched[16], float scale[16]) {
    for (int lane = 0; lane < 16; lane++) scale[lane] = searched[lane] ? scale[lane] : 1.0f;
}

/* So few whole numbers are worth a search: for the largest magnitude at 7 to 9 steps, then for the scale that suits
 * them best and those that suit it, as long as the error falls. The sign of a scale is free: the largest magnitude,
 * whatever its own sign, may become -8, which has no counterpart; of less than 7.5 steps both signs are alike. */
static void weights_int4(const float *x, float *scale, int8_t *q) {
    float largest[16] = {0}, tried[16];
    double least[16] = {0}, error[16];
    int searched[16];
    for (int i = 0; i < IL_GROUP; i++)
        for (int lane = 0; lane < 16; lane++) {
            const float at = x[16 * i + lane];
            largest[lane] = fabsf(at) > largest[lane] ? fabsf(at) : largest[lane];
            least[lane] += (double)at * (double)at;
        }
    for (int lane = 0; lane < 16; lane++) {
        searched[lane] = isfinite(least[lane]) && largest[lane] >= 0x1p-100f;
        scale[lane] = isfinite(least[lane]) ? 0.0f : NAN;
    }
    for (int step = 0; step <= 8; step++)
        for (int sign = 1; sign >= (step < 2 ? 1 : -1); sign -= 2) {
            for (int lane = 0; lane < 16; lane++)
                tried[lane] = (float)sign * (largest[lane] / (7.0f + 0.25f * (float)step));
            int4_searched(searched, tried);
            int4_errors(x, tried, error);
            int4_take(tried, error, searched, scale, least, 0);
        }
    do {
        memcpy(tried, scale, sizeof tried);
        int4_searched(searched, tried);
        int4_fit(x, tried);
        int4_searched(searched, tried);
        int4_errors(x, tried, error);
    } while (int4_take(tried, error, searched, scale, least, 1));
    for (int lane = 0; lane < 16; lane++) tried[lane] = scale[lane] != 0 ? 1.0f / scale[lane] : 0.0f;
    for (int i = 0; i < IL_GROUP; i++) {
        float whole[16];
        whole_int4(x + 16 * i, v16_load(tried), whole);
        for (int lane = 0; lane < 16; lane++) q[16 * i + lane] = isnan(scale[lane]) ? 0 : (int8_t)whole[lane];
    }
}
