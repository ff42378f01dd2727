/* accuracy_ops.c - the unary ops, what they should give, and how many ulp they may be off.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stddef.h>

#include "bench/accuracy.h"

/* x - tanh(x) near 0, where it cancels. */
static long double shrink_series(long double x) {
    const long double z = x * x;
    return x * z * (1 / 3.0L - z * (2 / 15.0L - z * (17 / 315.0L - z * (62 / 2835.0L)))) + 0;
}

/* TRUTH(name, formula): the formula in double and in long double; F(f) is libm's f of that type,
 * C(x) a constant, TRUE(name) another of these. */
#define F(f)    f
#define C(x)    x
#define REAL    double
#define TRUE(f) near_##f
#define TRUTH(name, formula)                                                                       \
    static double near_##name(double x) { return (double)(formula); }
#include "bench/accuracy_truth.inc"
#undef F
#undef C
#undef REAL
#undef TRUE
#undef TRUTH

#define F(f)    f##l
#define C(x)    x##L
#define REAL    long double
#define TRUE(f) exact_##f
#define TRUTH(name, formula)                                                                       \
    static long double exact_##name(long double x) { return (long double)(formula); }
#include "bench/accuracy_truth.inc"

#define OP(name, f32, f64)                                                                         \
    { #name, #name, NULL, near_##name, exact_##name, f32, f64 }
#define OP_TEXT(op, text, f32, f64)                                                                \
    { #op " " #text, #op, #text, near_##op##_##text, exact_##op##_##text, f32, f64 }

/* Of f64, silu, gelu and mish are worst where they vanish, below 1e-290. */
/* clang-format off */
const accuracy_op accuracy_ops[] = {
    OP(neg, 0, 0), OP(abs, 0, 0), OP(sign, 0, 0), OP(relu, 0, 0), OP(relu6, 0, 0),
    OP(floor, 0, 0), OP(ceil, 0, 0), OP(round, 0, 0), OP(trunc, 0, 0), OP(frac, 0, 0),
    OP(square, 0.5, 0.5), OP(reciprocal, 0.5, 0.5), OP(sqrt, 0.5, 0.5), OP(rsqrt, 1.5, 1.5),
    OP(exp, 1, 1), OP(exp2, 0.51, 1), OP(expm1, 0.51, 1),
    OP(log, 1, 1), OP(log2, 0.51, 1), OP(log10, 0.51, 2), OP(log1p, 0.51, 1),
    OP(sin, 0.51, 1), OP(cos, 0.51, 1), OP(tan, 0.51, 1),
    OP(asin, 0.51, 1), OP(acos, 0.51, 1), OP(atan, 0.51, 1),
    OP(sinh, 0.51, 2), OP(cosh, 0.51, 2), OP(tanh, 2, 2.5),
    OP(asinh, 0.51, 2), OP(acosh, 0.51, 2.5), OP(atanh, 0.51, 2),
    OP(erf, 0.51, 1.5), OP(erfc, 0.51, 5), OP(sigmoid, 2, 2),
    OP(silu, 3, 400), OP(gelu, 2, 1500), OP_TEXT(gelu, tanh, 2.5, 1000), OP(mish, 0.51, 400),
    OP(elu, 0.51, 1), OP(selu, 0.51, 3), OP(celu, 0.51, 1), OP(leaky_relu, 0.51, 0.5),
    OP(hardtanh, 0, 0), OP(hardsigmoid, 0.51, 1), OP(hardswish, 0.51, 2),
    OP(softplus, 0.51, 3), OP(softsign, 0.51, 1.5), OP(tanhshrink, 0.51, 2000),
    OP(logsigmoid, 0.51, 3), OP(hardshrink, 0, 0), OP(softshrink, 0.5, 0.5),
};
/* clang-format on */

const int accuracy_op_count = sizeof accuracy_ops / sizeof *accuracy_ops;

double accuracy_bound(const accuracy_op *op, tn_dtype d) {
    if (d.bits == 64) return op->bound_f64;
    return d.bits == 32 ? op->bound_f32 : fmin(op->bound_f32, ACCURACY_BOUND_16);
}
