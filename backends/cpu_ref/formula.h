/* formula.h - what formulas of elementwise rows call beside <math.h>, in double and in int64.
 *
 * Invariant: every function is defined for every value. Integers wrap around, which unsigned
 * arithmetic says.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_FORMULA_H
#define TENON_CPU_REF_FORMULA_H

#include <math.h>
#include <stdint.h>

static inline int64_t int_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static inline int64_t int_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static inline int64_t int_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static inline int64_t int_neg(int64_t x) { return int_sub(0, x); }
static inline int64_t int_abs(int64_t x) { return x < 0 ? int_neg(x) : x; }

/* A count that is negative, or as large as the width, shifts every bit out. */
static inline int64_t int_shl(int64_t a, int64_t b) {
    return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a << b);
}
static inline int64_t int_shr(int64_t a, int64_t b) { return a >> (b < 0 || b > 63 ? 63 : b); }

static inline int64_t int_pow(int64_t a, int64_t b) {
    int64_t power = 1;
    for (; b > 0; b >>= 1, a = int_mul(a, a))
        if (b & 1) power = int_mul(power, a);
    return power;
}

static inline int64_t int_fmod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

/* Floored division, as Python does it: what is left has the divisor's sign. The rounded quotient
 * may be one off where a / b is close to an integer; a - fmod(a, b) is a multiple of b. */
static inline double floor_mod(double a, double b) {
    const double rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
static inline double floor_div(double a, double b) {
    if (b == 0) return a / b;
    const double rest = fmod(a, b), quotient = (a - rest) / b;
    const double whole = rint(quotient) - (rest != 0 && (rest < 0) != (b < 0));
    return whole == 0 ? copysign(0, a / b) : whole;
}
static inline int64_t int_floor_mod(int64_t a, int64_t b) {
    const int64_t rest = int_fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
static inline int64_t int_floor_div(int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (b == -1) return int_neg(a);
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

#endif
