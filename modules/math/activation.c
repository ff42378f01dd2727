/* activation.c - activations and their gradients.
 *
 * Here stands what needs more than an expression: where a formula reads a value twice, or an
 * argument chooses it. Invariant: every form is stable: nothing overflows on the way to a finite
 * result, nothing small is a difference of large numbers, and at infinity stands the limit.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

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
    const tn_status status = math_check_bounds(in);
    return status ? status : math_broadcast_all(in);
}

/* clamp, but of integers the bounds are cut rather than x made floating */
tn_tensor *math_compose_hardtanh(tn_tensor *x, tn_value min_val, tn_value max_val) {
    tn_value bound[2] = {min_val, max_val};
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    for (int i = 0; i < 2 && m.dtype.code <= 1; i++)
        if (bound[i].tag == TN_TAG_FLOAT)
            bound[i] = tn_int(bound[i].f >= 0x1p63 ? INT64_MAX : (int64_t)bound[i].f);
    return op_clamp(x, bound[0], bound[1]);
}

/* a slope of 0 makes 0 of -inf too */
tn_tensor *math_compose_leaky_relu(tn_tensor *x, double negative_slope) {
    if (negative_slope == 0) return tn_relu(x);
    return tn_where(tn_gt(x, tnk_scalar(0)), x, times(x, negative_slope));
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

/* weight's numbers go along dim 1 */
tn_tensor *math_compose_prelu(tn_tensor *x, tn_tensor *weight) {
    int64_t sizes[TN_MAX_RANK];
    tn_meta mx, mw;

    if (!tnk_meta(x, &mx) || !tnk_meta(weight, &mw)) return NULL;
    for (int32_t i = 0; i < mx.rank; i++) sizes[i] = 1;
    if (mx.rank > 1) sizes[1] = math_meta_numel(&mw);
    weight = math_reshape(weight, sizes, mx.rank);
    return tn_where(tn_gt(x, tnk_scalar(0)), x, tn_mul(x, weight));
}

/* log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), z = beta x */
tn_tensor *math_compose_softplus(tn_tensor *x, double beta, double threshold) {
    tn_tensor *z = math_times(x, tn_float(beta));
    tn_tensor *soft = tn_add(tn_relu(z), tn_log1p(tn_exp(tn_neg(tn_abs(z)))));
    tn_tensor *y = beta == 1 ? soft : tn_div(soft, tnk_scalar(beta));

    return tn_where(tn_gt(z, tnk_scalar(threshold)), x, y);
}

/* (x, approximate) and (grad, x, approximate) */
tn_status math_shape_gelu(tn_infer *in) {
    const tnk_text approximate = tnk_as_text(in->args[in->n_args - 1]);

    if (approximate.ptr && !tnk_says(approximate, "none") && !tnk_says(approximate, "tanh"))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "approximate is \"%.*s\"; it must be \"none\" or \"tanh\"",
                              approximate.n < 40 ? (int)approximate.n : 40, approximate.ptr);
    return math_broadcast_all(in);
}

/* Hendrycks and Gimpel 2016: x P(X <= x) for a normal X is 0.5 x erfc(-x / sqrt(2)), and near to
 * x sigmoid(2 k), k = sqrt(2 / pi) (x + 0.044715 x^3). */
static const double root_half = 0.70710678118654752440,
                    two_root_two_over_pi = 1.59576912160573071176, cubic = 0.044715;

static tn_tensor *two_k(tn_tensor *x) {
    return times(tn_mul(x, plus(times(tn_mul(x, x), cubic), 1)), two_root_two_over_pi);
}

static tn_tensor *normal_cdf(tn_tensor *x) { return times(tn_erfc(times(x, -root_half)), 0.5); }

tn_tensor *math_compose_gelu(tn_tensor *x, tnk_text approximate) {
    tn_tensor *v = op_clamp(x, tn_float(-1000), tn_value_none()); /* for -inf */

    return tn_mul(v, tnk_says(approximate, "tanh") ? tn_sigmoid(two_k(x)) : normal_cdf(x));
}

/* x no further out than `end`, from where on what is made of it does not change: no 0 meets an
 * infinity, and the slope is 0 there. */
static tn_tensor *within(tn_tensor *x, double end) {
    return op_clamp(x, tn_float(-end), tn_float(end));
}

/* cdf + x pdf, or s + x s (1 - s) (2 k)' with s = sigmoid(2 k) */
tn_tensor *math_compose_gelu_bwd(tn_tensor *grad, tn_tensor *x, tnk_text approximate) {
    x = within(x, 40);
    tn_tensor *square = tn_mul(x, x), *slope;

    if (tnk_says(approximate, "tanh")) {
        tn_tensor *k = two_k(x), *s = tn_sigmoid(k);
        tn_tensor *dk = times(plus(times(square, 3 * cubic), 1), two_root_two_over_pi);
        slope = tn_add(s, tn_mul(tn_mul(x, tn_mul(s, tn_sigmoid(tn_neg(k)))), dk));
    } else {
        tn_tensor *pdf = times(tn_exp(times(square, -0.5)), 0.39894228040143267794);
        slope = tn_add(normal_cdf(x), tn_mul(x, pdf));
    }
    return tn_mul(grad, slope);
}

/* grad s (1 + x (1 - s)), s = sigmoid(x) */
tn_tensor *math_compose_silu_bwd(tn_tensor *grad, tn_tensor *x) {
    x = within(x, 1000);

    tn_tensor *slope = tn_mul(tn_sigmoid(x), plus(tn_mul(x, tn_sigmoid(tn_neg(x))), 1));
    return tn_mul(grad, slope);
}

/* with t = tanh(softplus(x)), grad (t + x (1 - t^2) sigmoid(x)) */
tn_tensor *math_compose_mish_bwd(tn_tensor *grad, tn_tensor *x) {
    x = within(x, 1000);
    tn_tensor *t = tn_tanh(tn_softplus(x, NULL));
    tn_tensor *rest = tn_mul(x, tn_mul(tn_sub(tnk_scalar(1), tn_mul(t, t)), tn_sigmoid(x)));

    return tn_mul(grad, tn_add(t, rest));
}

/* (x, alpha) */
tn_status math_shape_celu(tn_infer *in) {
    if (in->n_args > 1 && in->args[1].tag == TN_TAG_FLOAT && in->args[1].f == 0)
        return tnk_fail_shape(in, TN_ERR_INVALID, "alpha must not be 0: x is divided by it");
    return math_broadcast_all(in);
}

tn_tensor *math_compose_softsign(tn_tensor *x) {
    x = within(x, 1e30);

    return tn_div(x, plus(tn_abs(x), 1));
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

/* The halves of x along dim. */
static bool halves(tn_tensor *x, int64_t dim, tn_tensor *out[2]) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return false;
    const int64_t n = m.sizes[dim] / 2;
    for (int i = 0; i < 2; i++) out[i] = math_narrow(x, dim, i * n, n);
    return true;
}

tn_tensor *math_compose_glu(tn_tensor *x, int64_t dim) {
    tn_tensor *half[2];

    if (!halves(x, dim, half)) return NULL;
    return tn_mul(half[0], tn_sigmoid(half[1]));
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

/* grad s and grad a s (1 - s), s = sigmoid(b) */
tn_tensor *math_compose_glu_bwd(tn_tensor *grad, tn_tensor *x, int64_t dim) {
    tn_tensor *half[2];

    if (!halves(x, dim, half)) return NULL;
    tn_tensor *da = tn_mul(grad, tn_sigmoid(half[1]));
    tn_tensor *db = tn_mul(tn_mul(da, half[0]), tn_sigmoid(tn_neg(half[1])));
    return op_cat((tn_tensors){(tn_tensor *[]){da, db}, 2}, dim);
}
