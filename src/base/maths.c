/* maths.c: exp, log, sine and cosine in double. Only IEEE add, multiply, divide, fma and floor in a fixed
 * order, so that every machine gets the same bits. Refuses nothing: outside the documented range the value is
 * merely less exact. */
#include "base/maths.h"

#include <math.h>

#include "base/bits.h"

static const double LN2_HI = 0x1.62e42feep-1;           /* 32 bits: k · LN2_HI is exact for |k| < 2^21 */
static const double LN2_LO = 0x1.a39ef35793c76p-33;     /* ln 2 - LN2_HI */
static const double LOG2_E = 0x1.71547652b82fep+0;      /* 1 / ln 2 */
static const double TWO_OVER_PI = 0x1.45f306dc9c883p-1; /* 2 / pi */
static const double HALF_PI_HI = 0x1.921fb54442d18p+0;  /* pi / 2 to 53 bits */
static const double HALF_PI_LO = 0x1.1a62633145c07p-54; /* pi / 2 - HALF_PI_HI */

/* 2^k, k in -1022 .. 1023 */
static double power_of_two(int k) { return il_double_of_bits((uint64_t)(k + 1023) << 52); }

/* x = k ln 2 + r, |r| ≤ 0.35: 2^k · (Taylor to r^13; the next term is below 5e-18). */
double il_exp_d(double x) {
    static const double c[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                               1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
                               1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        0.5};
    if (x != x) return x;
    if (x > 710.0) return HUGE_VAL;
    if (x < -746.0) return 0.0;
    double k = floor(x * LOG2_E + 0.5);
    double hi = x - k * LN2_HI, lo = k * LN2_LO;
    double r = hi - lo;
    double p = c[0];
    for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++) p = p * r + c[i];
    double y = 1.0 + (r + ((hi - r) - lo) + r * r * p);
    int half = (int)k / 2; /* two factors: 2^k itself may be out of range where the result is not */
    return y * power_of_two(half) * power_of_two((int)k - half);
}

/* x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt 2); s = f / (2 + f):
 * log(1 + f) = 2 atanh(s) = f - s (f - 2 (s²/3 + s⁴/5 + …)); the term after s^22/23 is below 1e-18. */
double il_log_d(double x) {
    static const double c[] = {2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                               2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
    uint64_t bits = il_bits_of_double(x);
    int e = (int)(bits >> 52 & 0x7ff) - 1023;
    double m = il_double_of_bits((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
    if (m > 0x1.6a09e667f3bcdp+0) { /* sqrt 2 */
        m *= 0.5;
        e++;
    }
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, p = 0.0;
    for (int i = 0; i < (int)(sizeof c / sizeof c[0]); i++) p = (p + c[i]) * z;
    return e * LN2_HI + (f - (s * (f - p) - e * LN2_LO));
}

/* x = k pi/2 + r, |r| ≤ pi/4 and a little; fma keeps the reduction exact to the last bit of r. */
void il_sincos_d(double x, double *sine, double *cosine) {
    static const double s[] = {1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0,
                               1.0 / 362880.0,          -1.0 / 5040.0,          1.0 / 120.0,        -1.0 / 6.0};
    static const double c[] = {1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
                               1.0 / 40320.0,          -1.0 / 720.0,         1.0 / 24.0,        -0.5};
    double k = floor(x * TWO_OVER_PI + 0.5);
    double r = fma(-k, HALF_PI_LO, fma(-k, HALF_PI_HI, x));
    double z = r * r, p = s[0], q = c[0];
    for (int i = 1; i < 8; i++) {
        p = p * z + s[i];
        q = q * z + c[i];
    }
    p = r + r * z * p;
    q = 1.0 + z * q;
    switch ((unsigned)(int64_t)k & 3u) {
    case 0: *sine = p, *cosine = q; break;
    case 1: *sine = q, *cosine = -p; break;
    case 2: *sine = -p, *cosine = -q; break;
    default: *sine = -q, *cosine = p; break;
    }
}
