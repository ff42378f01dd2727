/* shapes_ewise.c - shape rules of elementwise ops that look at more than shapes.
 *
 * Invariant: what no kernel and no decomposition could compute is refused here, so that the verdict
 * does not depend on who runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/rows.h"

#include <math.h>
#include <string.h>

static const tn_view *view_of(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag == TN_TAG_VIEW ? in->args[i].view : NULL;
}

/* All tensors broadcast to the result; one alone gives it its shape. */
static tn_status broadcast(tn_infer *in) {
    tn_meta *y = &in->outs[0];
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    y->rank = 0;
    for (uint32_t i = 0; i < in->n_args; i++) {
        const tn_view *v = view_of(in, i);
        if (!v || math_broadcast(y, v->sizes, v->rank)) continue;
        return tnk_fail_shape(in, TN_ERR_SHAPE, "%s does not broadcast to %s",
                              tnk_sizes_text(v->sizes, v->rank, have),
                              tnk_sizes_text(y->sizes, y->rank, want));
    }
    return TN_OK;
}

static bool is_integer(tn_dtype d) { return d.code <= 1; }

/* The ends of an integer dtype. */
static int64_t highest(tn_dtype d) {
    return d.bits == 64 ? INT64_MAX : (INT64_C(1) << (d.bits - (d.code == 0))) - 1;
}
static int64_t lowest(tn_dtype d) { return d.code == 0 ? -highest(d) - 1 : 0; }

/* (a, b, c, value) */
tn_status math_shape_addcmul(tn_infer *in) {
    const tn_status status = math_check_factor(in, 3, "value");
    return status ? status : broadcast(in);
}

/* ---- Bounds ------------------------------------------------------------------------------- */

static bool is_given(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag != TN_TAG_NONE;
}

static double as_float(const tn_value *v) { return v->tag == TN_TAG_FLOAT ? v->f : (double)v->i; }

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
static tn_status check_bounds(tn_infer *in) {
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
    const tn_status status = check_bounds(in);
    return status ? status : broadcast(in);
}

/* (x, min_val, max_val): of integers the bounds are cut, for which they must be finite */
tn_status math_shape_hardtanh(tn_infer *in) {
    const double low = as_float(&in->args[1]), high = as_float(&in->args[2]);
    const bool whole = in->args[1].tag != TN_TAG_FLOAT && in->args[2].tag != TN_TAG_FLOAT;

    if (whole ? in->args[1].i > in->args[2].i : low > high)
        return tnk_fail_shape(in, TN_ERR_INVALID, "min_val is %g, above max_val, which is %g", low,
                              high);
    if (is_integer(in->outs[0].dtype) && !(fabs(low) <= 0x1p63 && fabs(high) <= 0x1p63))
        return tnk_fail_shape(in, TN_ERR_OVERFLOW,
                              "min_val is %g and max_val %g, but no integer is that", low, high);
    const tn_status status = check_bounds(in);
    return status ? status : broadcast(in);
}

/* ---- Activations -------------------------------------------------------------------------- */

/* A square of booleans counts. */
tn_status math_shape_square(tn_infer *in) {
    if (tn_dtype_is(in->outs[0].dtype, TN_BOOL)) in->outs[0].dtype = TN_I64;
    return broadcast(in);
}

static bool is_text(const tn_value *v, const char *text) {
    return v->aux == strlen(text) && memcmp(v->str, text, v->aux) == 0;
}

/* (x, approximate) and (grad, x, approximate) */
tn_status math_shape_gelu(tn_infer *in) {
    const tn_value *approximate = &in->args[in->n_args - 1];

    if (approximate->tag == TN_TAG_STR && !is_text(approximate, "none") &&
        !is_text(approximate, "tanh"))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "approximate is \"%.*s\"; it must be \"none\" or \"tanh\"",
                              approximate->aux < 40 ? (int)approximate->aux : 40, approximate->str);
    return broadcast(in);
}

/* (x, alpha) */
tn_status math_shape_celu(tn_infer *in) {
    if (in->n_args > 1 && in->args[1].tag == TN_TAG_FLOAT && in->args[1].f == 0)
        return tnk_fail_shape(in, TN_ERR_INVALID, "alpha must not be 0: x is divided by it");
    return broadcast(in);
}

/* (x, weight): one number, or one for each index of dim 1 */
tn_status math_shape_prelu(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *weight = view_of(in, 1);

    if (!x || !weight)
        return tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", x ? "weight" : "x");
    const int64_t n = weight->rank ? weight->sizes[0] : 1, channels = x->rank > 1 ? x->sizes[1] : 1;
    if (n != 1 && n != channels)
        return tnk_fail_shape(in, TN_ERR_SHAPE,
                              "weight has %lld numbers; it must have 1, or %lld as dim 1 of x",
                              (long long)n, (long long)channels);
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* (x, dim): half of dim */
tn_status math_shape_glu(tn_infer *in) {
    const tn_view *x = view_of(in, 0);

    if (!x || in->n_args < 2) return tnk_fail_shape(in, TN_ERR_INVALID, "x or dim is missing");
    const int64_t dim = in->args[1].i;
    if (x->sizes[dim] % 2)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "dim %lld of x has size %lld, which has no half",
                              (long long)dim, (long long)x->sizes[dim]);
    const tn_status status = math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
    if (status == TN_OK) in->outs[0].sizes[dim] /= 2;
    return status;
}

/* (grad, x, dim): x's sizes, with grad half as long in dim */
tn_status math_shape_glu_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *x = view_of(in, 1);
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!grad || !x || in->n_args < 3)
        return tnk_fail_shape(in, TN_ERR_INVALID, "an argument is missing");
    const int64_t dim = in->args[2].i;
    bool fits = grad->rank == x->rank;
    for (int32_t d = 0; fits && d < x->rank; d++)
        fits = grad->sizes[d] * (d == dim ? 2 : 1) == x->sizes[d];
    if (fits) return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
    return tnk_fail_shape(in, TN_ERR_SHAPE, "grad%s is not half of x%s along dim %lld",
                          tnk_sizes_text(grad->sizes, grad->rank, have),
                          tnk_sizes_text(x->sizes, x->rank, want), (long long)dim);
}
