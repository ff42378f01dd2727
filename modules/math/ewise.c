/* ewise.c - element by element: unary and binary, comparisons, where.
 *
 * Invariant: what no kernel and no decomposition could compute is refused by the shape rule, so
 * that the verdict does not depend on who runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* A square of booleans counts. */
tn_status math_shape_square(tn_infer *in) {
    if (tn_dtype_is(in->outs[0].dtype, TN_BOOL)) in->outs[0].dtype = TN_I64;
    return math_broadcast_all(in);
}

tn_tensor *math_compose_square(tn_tensor *x) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (tn_dtype_is(m.dtype, TN_BOOL)) x = tn_to(x, TN_I64);
    return tn_mul(x, x);
}

/* 1 + x^2 = m^2 (near^2 + far^2), where m = max(|x|, 1), near = min(|x|, 1), far = 1 / m: nothing
 * overflows, and at infinity far is 0. */
typedef struct hypotenuse {
    tn_tensor *far, *sum; /* sum: near^2 + far^2, in 1..2 */
} hypotenuse;

static hypotenuse hypotenuse_of(tn_tensor *x) {
    tn_tensor *size = tn_abs(x), *one = tnk_scalar(1);
    tn_tensor *far = tn_reciprocal(tn_maximum(size, one)), *near = tn_minimum(size, one);

    return (hypotenuse){far, tn_add(tn_mul(near, near), tn_mul(far, far))};
}

/* g / (1 + x^2) */
void math_grad_atan(math_grad_atan_ctx *c) {
    const hypotenuse h = hypotenuse_of(math_wide(TNK_SAVED(c, x)));
    TNK_SET_GRAD(c, x, tn_mul(tn_div(tn_mul(TNK_GRAD(c, 0), h.far), h.sum), h.far));
}

/* g / sqrt(1 + x^2) */
void math_grad_asinh(math_grad_asinh_ctx *c) {
    const hypotenuse h = hypotenuse_of(math_wide(TNK_SAVED(c, x)));
    TNK_SET_GRAD(c, x, tn_mul(tn_mul(TNK_GRAD(c, 0), h.far), tn_rsqrt(h.sum)));
}

/* x times, or divided by, 10^n; in two steps where the dtype, of powers up to 10^most, lacks it. */
static tn_tensor *shifted(tn_tensor *x, int64_t n, int64_t most, bool divide) {
    for (int64_t step; n > 0; n -= step) {
        step = n > most && n <= 2 * most ? most : n;
        tn_tensor *power = tnk_scalar(pow(10, (double)step));
        x = divide ? tn_div(x, power) : tn_mul(x, power);
    }
    return x;
}

/* (x, decimals). What is 2^digits or more in units of 10^-decimals lies on their grid already, as
 * near as the dtype can tell, and is no number any more where the product overflowed. */
tn_tensor *math_compose_round(tn_tensor *x, int64_t decimals) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const bool f64 = tn_dtype_is(m.dtype, TN_F64), up = decimals > 0;
    const int64_t most = f64 ? 308 : 38;
    if (decimals < -most) /* all are nearer to 0; inf and NaN are far from everything */
        return tn_where(tn_isfinite(x), times(x, 0), x);
    const int64_t n = up ? decimals : -decimals;
    tn_tensor *units = shifted(x, n, most, !up);
    tn_tensor *between = tn_lt(tn_abs(units), tnk_scalar(f64 ? 0x1p53 : 0x1p24));
    return tn_where(between, shifted(tn_round(units), n, most, up), x);
}

static bool is_given(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag != TN_TAG_NONE;
}

/* The ends of an integer dtype. */
static int64_t highest(tn_dtype d) {
    return d.bits == 64 ? INT64_MAX : (INT64_C(1) << (d.bits - (d.code == 0))) - 1;
}

static int64_t lowest(tn_dtype d) { return d.code == 0 ? -highest(d) - 1 : 0; }

/* A number cut to an integer, at the ends of i64 where it lies beyond them. */
static int64_t as_int(const tn_value *v) {
    if (v->tag != TN_TAG_FLOAT) return v->i;
    return v->f >= 0x1p63 ? INT64_MAX : v->f >= -0x1p63 ? (int64_t)v->f : INT64_MIN;
}

/* Where numbers of a floating dtype round to infinity. */
static double infinite_from(tn_dtype d) {
    if (d.bits == 16) return d.code == 4 ? 0x1.ffp127 : 65520;
    return d.bits == 32 ? 0x1.ffffffp127 : INFINITY;
}

/* Bounds of floats are floats of that dtype, or infinite. */
static tn_status check_float_bounds(tn_infer *in) {
    const tn_dtype d = in->outs[0].dtype;

    for (uint32_t i = 1; i < 3; i++) {
        const double bound = is_given(in, i) ? as_float(&in->args[i]) : 0;
        if (isfinite(bound) && fabs(bound) >= infinite_from(d))
            return tnk_fail_shape(in, TN_ERR_OVERFLOW,
                                  "the %s bound is %g, which the dtype of the result cannot hold; "
                                  "an infinite one does not limit",
                                  i == 1 ? "lower" : "upper", bound);
    }
    return TN_OK;
}

/* Bounds of an integer beyond its dtype do not limit, unless nothing lies within them. */
tn_status math_check_bounds(tn_infer *in) {
    const tn_dtype d = in->outs[0].dtype;

    if (!is_integer(d)) return check_float_bounds(in);
    if (is_given(in, 1) && as_int(&in->args[1]) > highest(d))
        return tnk_fail_shape(in, TN_ERR_OVERFLOW,
                              "the lower bound is %lld, above all that x can be",
                              (long long)as_int(&in->args[1]));
    if (is_given(in, 2) && as_int(&in->args[2]) < lowest(d))
        return tnk_fail_shape(in, TN_ERR_OVERFLOW,
                              "the upper bound is %lld, below all that x can be",
                              (long long)as_int(&in->args[2]));
    return TN_OK;
}

/* (x, min, max) */
tn_status math_shape_clamp(tn_infer *in) {
    if (!is_given(in, 1) && !is_given(in, 2))
        return tnk_fail_shape(in, TN_ERR_INVALID, "neither min nor max is given; give one of them");
    const tn_status status = math_check_bounds(in);
    return status ? status : math_broadcast_all(in);
}

/* [grad_clamp.begin] */
/* g where x is inside min..max, the bounds included. */
void math_grad_clamp(math_grad_clamp_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0), *x = TNK_SAVED(c, x), *zero = tnk_scalar(0);
    const tn_value min = TNK_ARG(c, min), max = TNK_ARG(c, max);

    if (min.tag != TN_TAG_NONE) g = tn_where(tn_ge(x, tn_plugin_ops->scalar(min)), g, zero);
    if (max.tag != TN_TAG_NONE) g = tn_where(tn_le(x, tn_plugin_ops->scalar(max)), g, zero);
    TNK_SET_GRAD(c, x, g);
}
/* [grad_clamp.end] */

/* g b / (a^2 + b^2) and -g a / (a^2 + b^2), with a and b divided by the larger of them, and g by
 * that in two steps, before and after b: all in one could overflow, or underflow. 0 at the
 * origin, as in PyTorch, and at infinity. */
void math_grad_atan2(math_grad_atan2_ctx *c) {
    tn_tensor *a = math_wide(TNK_SAVED(c, a)), *b = math_wide(TNK_SAVED(c, b));
    tn_tensor *zero = tnk_scalar(0), *one = tnk_scalar(1);
    tn_tensor *size = tn_maximum(tn_abs(a), tn_abs(b));
    tn_tensor *flat = tn_logical_or(tn_eq(size, zero), tn_isinf(size));

    size = tn_where(flat, one, size);
    a = tn_div(tn_where(flat, zero, a), size);
    b = tn_div(tn_where(flat, zero, b), size);
    tn_tensor *sum = tn_where(flat, one, tn_add(tn_mul(a, a), tn_mul(b, b))); /* in 1..2 */
    tn_tensor *root = tn_sqrt(size), *rest = tn_div(size, root);
    tn_tensor *slope = tn_div(tn_div(TNK_GRAD(c, 0), root), sum);
    if (TNK_NEEDS(c, a)) TNK_SET_GRAD(c, a, tn_div(tn_mul(slope, b), rest));
    if (TNK_NEEDS(c, b)) TNK_SET_GRAD(c, b, tn_neg(tn_div(tn_mul(slope, a), rest)));
}

/* (a, b, c, value) */
tn_status math_shape_addcmul(tn_infer *in) {
    const tn_status status = math_check_factor(in, 3, "value");
    return status ? status : math_broadcast_all(in);
}

tn_tensor *math_compose_addcmul(tn_tensor *a, tn_tensor *b, tn_tensor *c, tn_value value) {
    tn_tensor *product = tn_mul(b, c);

    return tn_add(a, math_times(product, value));
}
