/* accuracy_ops.c - the table of accuracy_ops.inc.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stddef.h>

#include "bench/accuracy.h"

/* x - tanh(x) near 0, where it cancels. */
static long double shrink_series(long double x) {
    const long double z = x * x;
    return x * z * (1 / 3.0L - z * (2 / 15.0L - z * (17 / 315.0L - z * (62 / 2835.0L)))) + 0;
}

/* The formulas twice, as functions near_NAME and exact_NAME, then the table of both. */
#define OP(name, f32, f64, formula)          HELPER(name, formula)
#define OP_TEXT(op, text, f32, f64, formula) HELPER(op##_##text, formula)

#define F(f)    f
#define C(x)    x
#define REAL    double
#define TRUE(f) near_##f
#define HELPER(name, formula)                                                                      \
    static double near_##name(double x) { return (double)(formula); }
#include "bench/accuracy_ops.inc"
#undef F
#undef C
#undef REAL
#undef TRUE
#undef HELPER

#define F(f)    f##l
#define C(x)    x##L
#define REAL    long double
#define TRUE(f) exact_##f
#define HELPER(name, formula)                                                                      \
    static long double exact_##name(long double x) { return (long double)(formula); }
#include "bench/accuracy_ops.inc"
#undef OP
#undef OP_TEXT
#undef HELPER

#define OP(name, f32, f64, formula) {#name, #name, NULL, near_##name, exact_##name, f32, f64},
#define OP_TEXT(op, text, f32, f64, formula)                                                       \
    {#op " " #text, #op, #text, near_##op##_##text, exact_##op##_##text, f32, f64},
#define HELPER(name, formula)
const accuracy_op accuracy_ops[] = {
#include "bench/accuracy_ops.inc"
};

const int accuracy_op_count = sizeof accuracy_ops / sizeof *accuracy_ops;

double accuracy_bound(const accuracy_op *op, tn_dtype d) {
    if (d.bits == 64) return op->bound_f64;
    return d.bits == 32 ? op->bound_f32 : fmin(op->bound_f32, ACCURACY_BOUND_16);
}
