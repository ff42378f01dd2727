/* uniform.h - from random bits to a number of a dtype in [low, high), every step spelled out, so
 * that all machines give the same bits.
 *
 * A dtype has significands of p bits (f16 11, bf16 8, f32 24, f64 53) and numbers that are
 * multiples of its smallest one. Random bits give u = the first p of them * 2^-p, itself a
 * number of the dtype for all p bits: it lies in [0, 1), and rounding cannot make it 1. Then, in
 * f64,
 *   x = low + u (high - low), no fused multiply-add,
 *   x limited to what the dtype has of [low, high): least = low rounded up; most = the number before
 *     high or before high rounded to nearest, whichever is smaller; where there is none in between,
 *     both are low rounded to nearest,
 * rounded once. Both limits are numbers of the dtype, so that rounding stays within them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_UNIFORM_H
#define TENON_CPU_REF_UNIFORM_H

#include <math.h>
#include <tenon/abi.h>

typedef struct ref_range {
    double low, high, least, most;
} ref_range;

/* The bits of a significand, and the exponent of the smallest number above 0. */
static inline int ref_digits(int ix) {
    return ix == TN_IX_F16 ? 11 : ix == TN_IX_BF16 ? 8 : ix == TN_IX_F32 ? 24 : 53;
}

static inline int ref_smallest(int ix) {
    return ix == TN_IX_F16 ? -24 : ix == TN_IX_BF16 ? -133 : ix == TN_IX_F32 ? -149 : -1074;
}

/* How far apart the dtype's numbers are around x: a power of 2. */
static inline double ref_spacing(int ix, double x) {
    int exponent;
    frexp(x, &exponent);
    const int step = exponent - ref_digits(ix), smallest = ref_smallest(ix);
    return ldexp(1, x == 0 || step < smallest ? smallest : step);
}

static inline double ref_nearest(int ix, double x) {
    const double step = ref_spacing(ix, x);
    return rint(x / step) * step;
}

static inline double ref_before(int ix, double x) {
    const double below = nextafter(x, -INFINITY), step = ref_spacing(ix, below);
    return floor(below / step) * step;
}

static inline ref_range ref_range_of(int ix, double low, double high) {
    const double step = ref_spacing(ix, low);
    ref_range r = {low, high, ceil(low / step) * step,
                   ref_before(ix, fmin(high, ref_nearest(ix, high)))};
    if (r.least > r.most) r.least = r.most = ref_nearest(ix, low);
    return r;
}

/* The last step: u in [0, 1) to a number that rounds to one of the dtype between least and most. */
static inline double ref_stretch(const ref_range *r, double u) {
    const double x = r->low + u * (r->high - r->low);
    return x < r->least ? r->least : x > r->most ? r->most : x;
}

#endif
