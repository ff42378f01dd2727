/* activations.c - activations and their gradients in other ops, where a formula reads a value
 * twice or an argument chooses it.
 *
 * Invariant: every form is stable: nothing overflows on the way to a finite result, nothing
 * small is a difference of large numbers, and at infinity stands the limit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

#include <math.h>

static tn_tensor *times(tn_tensor *t, double factor) { return tn_mul(t, tnk_scalar(factor)); }
static tn_tensor *plus(tn_tensor *t, double term) { return tn_add(t, tnk_scalar(term)); }

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
tn_status math_compose_round(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    const int64_t decimals = args[1].i;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const bool f64 = tn_dtype_is(m.dtype, TN_F64), up = decimals > 0;
    const int64_t most = f64 ? 308 : 38;
    if (decimals < -most) /* all are nearer to 0; inf and NaN are far from everything */
        return give(outs, tn_where(tn_isfinite(x), times(x, 0), x));
    const int64_t n = up ? decimals : -decimals;
    tn_tensor *units = shifted(x, n, most, !up);
    tn_tensor *between = tn_lt(tn_abs(units), tnk_scalar(f64 ? 0x1p53 : 0x1p24));
    return give(outs, tn_where(between, shifted(tn_round(units), n, most, up), x));
}

/* (a, b, c, value) */
tn_status math_compose_addcmul(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *product = tn_mul(math_arg(args, n_args, 1), math_arg(args, n_args, 2));

    (void)n_outs;
    return give(outs, tn_add(math_arg(args, n_args, 0), math_times(product, args[3])));
}

tn_status math_compose_square(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (tn_dtype_is(m.dtype, TN_BOOL)) x = tn_to(x, TN_I64);
    return give(outs, tn_mul(x, x));
}

/* (x, min_val, max_val): clamp, but of integers the bounds are cut rather than x made floating */
tn_status math_compose_hardtanh(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    static tn_op_ref op = {"clamp", 0, 0};
    tn_value bound[2] = {args[1], args[2]};
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(math_arg(args, n_args, 0), &m)) return tnk_pending();
    for (int i = 0; i < 2 && m.dtype.code <= 1; i++)
        if (bound[i].tag == TN_TAG_FLOAT)
            bound[i] = tn_int(bound[i].f >= 0x1p63 ? INT64_MAX : (int64_t)bound[i].f);
    return give(outs, MATH_CALL(&op, args[0], bound[0], bound[1]));
}

/* x no further out than `end`, from where on what is made of it does not change: no 0 meets an
 * infinity, and the slope is 0 there. */
static tn_tensor *within(tn_tensor *x, double end) {
    return tn_clamp(x, &(tn_clamp_opts){.min = tn_float(-end), .max = tn_float(end)});
}

/* (x, negative_slope): a slope of 0 makes 0 of -inf too */
tn_status math_compose_leaky_relu(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);

    (void)n_outs;
    if (args[1].f == 0) return give(outs, tn_relu(x));
    return give(outs, tn_where(tn_gt(x, tnk_scalar(0)), x, times(x, args[1].f)));
}

tn_status math_compose_softsign(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x = within(math_arg(args, n_args, 0), 1e30);

    (void)n_outs;
    return give(outs, tn_div(x, plus(tn_abs(x), 1)));
}

/* (grad, x): grad s (1 + x (1 - s)), s = sigmoid(x) */
tn_status math_compose_silu_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x = within(math_arg(args, n_args, 1), 1000);

    (void)n_outs;
    tn_tensor *slope = tn_mul(tn_sigmoid(x), plus(tn_mul(x, tn_sigmoid(tn_neg(x))), 1));
    return give(outs, tn_mul(math_arg(args, n_args, 0), slope));
}

/* ---- Gelu --------------------------------------------------------------------------------- */

static bool is_tanh(const tn_value *approximate) {
    return approximate->aux == 4 && approximate->str[0] == 't';
}

/* Hendrycks and Gimpel 2016: x P(X <= x) for a normal X is 0.5 x erfc(-x / sqrt(2)), and near to
 * x sigmoid(2 k), k = sqrt(2 / pi) (x + 0.044715 x^3). */
static const double root_half = 0.70710678118654752440,
                    two_root_two_over_pi = 1.59576912160573071176, cubic = 0.044715;

static tn_tensor *two_k(tn_tensor *x) {
    return times(tn_mul(x, plus(times(tn_mul(x, x), cubic), 1)), two_root_two_over_pi);
}

static tn_tensor *normal_cdf(tn_tensor *x) { return times(tn_erfc(times(x, -root_half)), 0.5); }

tn_status math_compose_gelu(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_tensor *v = tn_clamp(x, &(tn_clamp_opts){.min = tn_float(-1000)}); /* for -inf */

    (void)n_outs;
    return give(outs, tn_mul(v, is_tanh(&args[1]) ? tn_sigmoid(two_k(x)) : normal_cdf(x)));
}

/* (grad, x, approximate): cdf + x pdf, or s + x s (1 - s) (2 k)' with s = sigmoid(2 k) */
tn_status math_compose_gelu_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *x = within(math_arg(args, n_args, 1), 40);
    tn_tensor *square = tn_mul(x, x), *slope;

    (void)n_outs;
    if (is_tanh(&args[2])) {
        tn_tensor *k = two_k(x), *s = tn_sigmoid(k);
        tn_tensor *dk = times(plus(times(square, 3 * cubic), 1), two_root_two_over_pi);
        slope = tn_add(s, tn_mul(tn_mul(x, tn_mul(s, tn_sigmoid(tn_neg(k)))), dk));
    } else {
        tn_tensor *pdf = times(tn_exp(times(square, -0.5)), 0.39894228040143267794);
        slope = tn_add(normal_cdf(x), tn_mul(x, pdf));
    }
    return give(outs, tn_mul(grad, slope));
}

/* ---- Softplus and mish -------------------------------------------------------------------- */

/* (x, beta, threshold): log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), z = beta x */
tn_status math_compose_softplus(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *z = math_times(x, args[1]);
    tn_tensor *soft = tn_add(tn_relu(z), tn_log1p(tn_exp(tn_neg(tn_abs(z)))));
    tn_tensor *y = args[1].f == 1 ? soft : tn_div(soft, tnk_scalar(args[1].f));

    (void)n_outs;
    return give(outs, tn_where(tn_gt(z, tnk_scalar(args[2].f)), x, y));
}

/* (grad, x): with t = tanh(softplus(x)), grad (t + x (1 - t^2) sigmoid(x)) */
tn_status math_compose_mish_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x = within(math_arg(args, n_args, 1), 1000), *t = tn_tanh(tn_softplus(x, NULL));
    tn_tensor *rest = tn_mul(x, tn_mul(tn_sub(tnk_scalar(1), tn_mul(t, t)), tn_sigmoid(x)));

    (void)n_outs;
    return give(outs, tn_mul(math_arg(args, n_args, 0), tn_add(t, rest)));
}

/* ---- Prelu and glu ------------------------------------------------------------------------ */

/* (x, weight): weight's numbers go along dim 1 */
tn_status math_compose_prelu(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *weight = math_arg(args, n_args, 1);
    int64_t sizes[TN_MAX_RANK];
    tn_meta mx, mw;

    (void)n_outs;
    if (!tnk_meta(x, &mx) || !tnk_meta(weight, &mw)) return tnk_pending();
    for (int32_t i = 0; i < mx.rank; i++) sizes[i] = 1;
    if (mx.rank > 1) sizes[1] = math_meta_numel(&mw);
    weight = math_reshape(weight, sizes, mx.rank);
    return give(outs, tn_where(tn_gt(x, tnk_scalar(0)), x, tn_mul(x, weight)));
}

/* The halves of x along dim. */
static bool halves(tn_tensor *x, int64_t dim, tn_tensor *out[2]) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return false;
    const int64_t n = m.sizes[dim] / 2;
    for (int i = 0; i < 2; i++) out[i] = math_narrow(x, dim, i * n, n);
    return true;
}

tn_status math_compose_glu(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *half[2];

    (void)n_outs;
    if (!halves(math_arg(args, n_args, 0), args[1].i, half)) return tnk_pending();
    return give(outs, tn_mul(half[0], tn_sigmoid(half[1])));
}

/* (grad, x, dim): grad s and grad a s (1 - s), s = sigmoid(b) */
tn_status math_compose_glu_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *half[2];

    (void)n_outs;
    if (!halves(math_arg(args, n_args, 1), args[2].i, half)) return tnk_pending();
    tn_tensor *da = tn_mul(math_arg(args, n_args, 0), tn_sigmoid(half[1]));
    tn_tensor *db = tn_mul(tn_mul(da, half[0]), tn_sigmoid(tn_neg(half[1])));
    return give(outs, math_cat((tn_tensor *const[]){da, db}, 2, args[2].i));
}
