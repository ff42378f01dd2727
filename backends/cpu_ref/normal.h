/* normal.h - two standard normal numbers from two random words: Box and Muller (1958), with every
 * step spelled out, so that all machines give the same bits.
 *
 * In f64, each operation rounded on its own (no fused multiply-add), square root correctly rounded.
 * For words w0, w1 of a pair:
 *   u = w0 + 1, in 1 .. 2^32; u 2^-32 = 2^e m with m in [sqrt(1/2), sqrt(2))
 *   s = (m - 1) / (m + 1), t = s s
 *   L = ((1/19 t + 1/17) t + ... + 1/3) t + 1          so that ln(u 2^-32) = e ln 2 + 2 s L
 *   r = sqrt(-2 (e ln2 + (2 s) L))
 *   q = (w1 + 2^29) / 2^30 rounded down, d = w1 - q 2^30, in -2^29 .. 2^29 - 1
 *   x = d (2 pi 2^-32), v = x x                         the angle is q right angles and x
 *   S = x + x (v P(v)), P = Taylor of sin to x^15; C = 1 + v Q(v), Q = Taylor of cos to x^16
 *   z0, z1 = r cos, r sin of the whole angle: r C, r S for q mod 4 = 0; -r S, r C for 1;
 *            -r C, -r S for 2; r S, -r C for 3
 * Both are within 1e-14 of the exact value. Fixed for ever; test vectors: cpu_ref_kernels_test.cc.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_NORMAL_H
#define TENON_CPU_REF_NORMAL_H

#include <math.h>
#include <stdint.h>

#define REF_LN2         0x1.62e42fefa39efp-1
#define REF_SQRT2       0x1.6a09e667f3bcdp+0
#define REF_TURN_2TO_32 0x1.921fb54442d18p-30 /* 2 pi 2^-32 */

/* Coefficients, highest power first; each is the double nearest to the fraction. */
#define REF_LOG_SERIES                                                                             \
    { 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1 }
#define REF_SIN_SERIES                                                                             \
    {                                                                                              \
        -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880, -1.0 / 5040,        \
            1.0 / 120, -1.0 / 6                                                                    \
    }
#define REF_COS_SERIES                                                                             \
    {                                                                                              \
        1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320,    \
            -1.0 / 720, 1.0 / 24, -1.0 / 2                                                         \
    }

static inline double ref_series(const double *c, int n, double x) {
    double sum = c[0];
    for (int i = 1; i < n; i++) sum = sum * x + c[i];
    return sum;
}

static inline double ref_normal_radius(uint32_t w0) {
    static const double series[] = REF_LOG_SERIES;
    int e;
    double m = frexp(((double)w0 + 1) * 0x1p-32, &e); /* in [1/2, 1) */
    if (m < REF_SQRT2 / 2) m *= 2, e--;
    const double s = (m - 1) / (m + 1);
    return sqrt(-2 * (e * REF_LN2 + 2 * s * ref_series(series, 10, s * s)));
}

static inline void ref_normal_pair(uint32_t w0, uint32_t w1, double out[2]) {
    static const double sines[] = REF_SIN_SERIES, cosines[] = REF_COS_SERIES;
    const double r = ref_normal_radius(w0);
    const int64_t quarter = ((int64_t)w1 + (INT64_C(1) << 29)) >> 30;
    const double x = (double)(w1 - (quarter << 30)) * REF_TURN_2TO_32, v = x * x;
    const double s = r * (x + x * (v * ref_series(sines, 7, v)));
    const double c = r * (1 + v * ref_series(cosines, 8, v));
    const double turned[4][2] = {{c, s}, {-s, c}, {-c, -s}, {s, -c}};
    out[0] = turned[quarter & 3][0], out[1] = turned[quarter & 3][1];
}

#endif
