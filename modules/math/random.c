/* random.c - random numbers.
 *
 * Distributions are made of uniform numbers and raw bits. Invariant: an op draws once, so that a
 * fixed position of a generator gives the same numbers on every provider.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* normal, uniform: sizes and dtype as asked */
tn_status math_shape_random(tn_infer *in) {
    math_set_dtype(in, 3);
    if (!tn_dtype_in(in->outs[0].dtype, TN_MASK_FLOAT))
        return tnk_fail_shape(in, TN_ERR_DTYPE,
                              "dtype must be a floating one: f16, bf16, f32 or f64");
    return math_from_sizes(in, 0, "sizes");
}

/* uniform: (low, high) are numbers of the dtype, and so is their distance in f64 */
tn_status math_shape_uniform(tn_infer *in) {
    const tn_status status = math_shape_random(in);
    const tn_dtype d = in->outs[0].dtype;
    double low, high;

    if (status) return status;
    if (!math_number_of(in, 1, &low) || !math_number_of(in, 2, &high))
        return tnk_fail_shape(in, TN_ERR_INVALID, "low or high is missing");
    if (!isfinite(low) || !isfinite(high) || !math_holds(d, tn_float(low)) ||
        !math_holds(d, tn_float(high)))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "low is %g and high %g: both must be numbers of the dtype", low,
                              high);
    if (low > high || !isfinite(high - low))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "low is %g and high %g: high must not be below low, nor further away "
                              "than a number can be",
                              low, high);
    return TN_OK;
}

/* random_bits: sizes; i32 or i64 */
tn_status math_shape_random_bits(tn_infer *in) {
    math_set_dtype(in, 1);
    if (!tn_dtype_is(in->outs[0].dtype, TN_I32) && !tn_dtype_is(in->outs[0].dtype, TN_I64))
        return tnk_fail_shape(in, TN_ERR_DTYPE, "dtype must be i32 or i64");
    return math_from_sizes(in, 0, "sizes");
}

/* Every whole number from low to high - 1 must be one of the dtype. */
static bool holds(tn_dtype d, int64_t low, int64_t high) {
    const int index = tn_dtype_index(d);
    if (index == TN_IX_BOOL) return low >= 0 && high <= 2;
    if (!tn_dtype_in(d, TN_MASK_INT | TN_MASK_FLOAT)) return false;
    const bool is_float = tn_dtype_in(d, TN_MASK_FLOAT);
    const int bits = index == TN_IX_F64    ? 53
                     : index == TN_IX_F32  ? 24
                     : index == TN_IX_F16  ? 11
                     : index == TN_IX_BF16 ? 8
                                           : d.bits - (d.code == 0);
    if (bits >= 63) return true;
    const int64_t limit = INT64_C(1) << bits;
    return high <= limit + is_float && low >= (d.code == 1 ? 0 : -limit);
}

/* randint: (low, high, sizes, dtype) */
tn_status math_shape_randint(tn_infer *in) {
    const int64_t low = in->args[0].i, high = in->args[1].i;

    math_set_dtype(in, 3);
    if (low >= high)
        return tnk_fail_shape(in, TN_ERR_INVALID, "low is %lld and high %lld: high must be larger",
                              (long long)low, (long long)high);
    if (!holds(in->outs[0].dtype, low, high))
        return tnk_fail_shape(in, TN_ERR_DTYPE,
                              "dtype does not hold every number from %lld to %lld", (long long)low,
                              (long long)high - 1);
    return math_from_sizes(in, 2, "sizes");
}

static tn_tensor *bits(tn_ints sizes, tn_value rng, tn_device device) {
    return op_random_bits(sizes, TN_I64, rng, device);
}

/* 64 bits modulo the range: as PyTorch's, uniform but for range / 2^64. From 2^63 on the range is
 * negative as a number, and of the bits, read without sign, only those that reach it give way: the
 * ones in range .. -1. */
static tn_tensor *modulo(tn_tensor *words, uint64_t range) {
    tn_tensor *r = tn_plugin_ops->scalar(tn_int((int64_t)range));

    if (range <= INT64_MAX) return tn_remainder(words, r);
    tn_tensor *beyond = tn_logical_and(tn_lt(words, tnk_scalar(0)), tn_ge(words, r));
    return tn_where(beyond, tn_sub(words, r), words);
}

tn_tensor *math_compose_randint(int64_t low, int64_t high, tn_ints sizes, tn_dtype dtype,
                                tn_value rng, tn_device device) {
    const uint64_t range = (uint64_t)high - (uint64_t)low;
    tn_tensor *y = modulo(bits(sizes, rng, device), range);
    return math_as(tn_add(y, tn_plugin_ops->scalar(tn_int(low))), dtype);
}

/* randperm: (n, dtype) */
tn_status math_shape_randperm(tn_infer *in) {
    const int64_t n = in->args[0].i;

    math_set_dtype(in, 1);
    if (tn_dtype_is(in->outs[0].dtype, TN_BOOL))
        return tnk_fail_shape(in, TN_ERR_DTYPE, "dtype must be one of numbers, not bool");
    if (!holds(in->outs[0].dtype, 0, n))
        return tnk_fail_shape(in, TN_ERR_DTYPE, "dtype does not hold every number below n, %lld",
                              (long long)n);
    return math_set_sizes(in, &in->outs[0], &n, 1, "n");
}

/* the order of n random keys */
tn_tensor *math_compose_randperm(int64_t n, tn_dtype dtype, tn_value rng, tn_device device) {
    tn_tensor *keys = bits((tn_ints){&n, 1}, rng, device);
    return math_as(tn_argsort(keys, NULL), dtype);
}

/* Uniform in [0, 1); what is narrower than f32 would have too few of them. */
static tn_tensor *uniform(tn_ints sizes, tn_dtype dtype, tn_value rng, tn_device device) {
    return op_uniform(sizes, 0, 1, tn_dtype_is(dtype, TN_F64) ? TN_F64 : TN_F32, rng, device);
}

/* As uniform, beside x. */
static tn_tensor *uniform_like(tn_tensor *x, const tn_meta *m, tn_value rng) {
    tn_device device;

    if (tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return uniform((tn_ints){m->sizes, m->rank}, m->dtype, rng, device);
}

/* False also where an error is pending, which stays the one told. */
static bool holds_for_all(tn_tensor *condition) {
    bool all = false;
    tn_tensor *t = tn_all(condition, NULL);
    return t && tn_plugin_ops->read(t, &all, sizeof all) == TN_OK && all;
}

/* NaN is smallest and largest at once, and neither. */
static bool are_probabilities(tn_tensor *p, const tn_meta *m) {
    return math_meta_numel(m) == 0 || (holds_for_all(tn_ge(tn_amin(p, NULL), tnk_scalar(0))) &&
                                       holds_for_all(tn_le(tn_amax(p, NULL), tnk_scalar(1))));
}

tn_tensor *math_compose_bernoulli(tn_tensor *p, tn_value rng) {
    tn_meta m;

    if (!tnk_meta(p, &m)) return NULL;
    if (!are_probabilities(p, &m))
        return tnk_raise_null(TN_ERR_INVALID, "bernoulli: p has elements that are not within 0..1");
    return math_as(tn_lt(uniform_like(p, &m, rng), p), m.dtype);
}

tn_tensor *math_compose_bernoulli_p(tn_tensor *x, double p, tn_value rng) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    return math_as(tn_lt(uniform_like(x, &m, rng), tnk_scalar(p)), m.dtype);
}

/* -ln(1 - u), never 0: u may be 0, never 1, and half a step stands for 0. */
static tn_tensor *standard_exponential(tn_tensor *u) {
    tn_meta m;

    if (!tnk_meta(u, &m)) return NULL;
    const double half_step = tn_dtype_is(m.dtype, TN_F64) ? 0x1p-54 : 0x1p-25;
    return tn_neg(tn_log1p(tn_neg(tn_maximum(u, tnk_scalar(half_step)))));
}

/* y in dtype, with the dtype's smallest number for what is too small for it. */
static tn_tensor *above_zero(tn_tensor *y, tn_dtype dtype) {
    const double least = tn_dtype_is(dtype, TN_F16)    ? 0x1p-24
                         : tn_dtype_is(dtype, TN_BF16) ? 0x1p-133
                         : tn_dtype_is(dtype, TN_F32)  ? 0x1p-149
                                                       : 0x1p-1074;
    return tn_maximum(math_as(y, dtype), tnk_scalar(least));
}

tn_tensor *math_compose_exponential(tn_ints sizes, double lambd, tn_dtype dtype, tn_value rng,
                                    tn_device device) {
    if (!tn_dtype_in(dtype, TN_MASK_FLOAT))
        return tnk_raise_null(TN_ERR_DTYPE, "exponential: dtype must be a floating one");
    if (lambd == 0)
        return tnk_raise_null(TN_ERR_INVALID, "exponential: lambd is 0; it must be larger");
    tn_tensor *y = standard_exponential(uniform(sizes, dtype, rng, device));
    return above_zero(tn_div(y, tnk_scalar(lambd)), dtype);
}

/* multinomial: (probs, num_samples, replacement) */
tn_status math_shape_multinomial(tn_infer *in) {
    const tn_view *probs = view_of(in, 0);
    const int64_t n = in->args[1].i;

    if (!probs || probs->rank < 1 || probs->rank > 2)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "probs must have rank 1 or 2");
    const int64_t kinds = probs->sizes[probs->rank - 1];
    if (kinds == 0) return tnk_fail_shape(in, TN_ERR_SHAPE, "probs has nothing to choose from");
    if (!in->args[2].i && n > kinds)
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "num_samples is %lld, but without replacement there are only %lld",
                              (long long)n, (long long)kinds);
    if (probs->rank == 1) return math_set_sizes(in, &in->outs[0], &n, 1, "result");
    return math_set_sizes(in, &in->outs[0], (int64_t[]){probs->sizes[0], n}, 2, "result");
}

/* Weights must be finite, not negative, and as many of a row not 0 as are drawn from it, where none
 * is put back. largest: of each row. */
static bool are_weights(tn_tensor *probs, tn_tensor *largest, const tn_meta *m, int64_t draws) {
    const int64_t last = -1;
    tn_tensor *zero = tnk_scalar(0);

    if (math_meta_numel(m) == 0) return tnk_pending() == TN_OK;
    if (!holds_for_all(tn_isfinite(largest)) || !holds_for_all(tn_ge(tn_amin(probs, NULL), zero)))
        tnk_raise(TN_ERR_INVALID, "multinomial: probs has elements that are negative, inf or NaN");
    else if (!holds_for_all(tn_gt(largest, zero)))
        tnk_raise(TN_ERR_INVALID, "multinomial: a row of probs adds up to 0");
    else if (draws > 1 && !holds_for_all(tn_ge(math_sum_keep(tn_gt(probs, zero), &last, 1),
                                               tn_plugin_ops->scalar(tn_int(draws)))))
        tnk_raise(TN_ERR_INVALID,
                  "multinomial: num_samples is %lld, but a row of probs has fewer weights above 0, "
                  "and drawing is without replacement",
                  (long long)draws);
    return tnk_pending() == TN_OK;
}

/* Exponential times of rate p race, and the first ones to arrive are drawn (Efraimidis, Spirakis
 * 2006); what has weight 0 never arrives. */
static tn_tensor *race(tn_tensor *probs, tn_tensor *p, const tn_meta *m, tn_value rng) {
    tn_tensor *speed = tn_div(p, standard_exponential(uniform_like(p, m, rng)));
    return tn_where(tn_gt(probs, tnk_scalar(0)), speed, tnk_scalar(-1));
}

/* Without replacement: the first of a race. With it: where a uniform number in (0, 1] falls in
 * the running sum; neither end can reach an index of weight 0. Weights are taken in parts of the
 * largest of their row, so that no sum overflows and no product is lost. */
tn_tensor *math_compose_multinomial(tn_tensor *probs, int64_t num_samples, bool replacement,
                                    tn_value rng) {
    const int64_t last = -1;
    tn_meta m;

    if (!tnk_meta(probs, &m)) return NULL;
    if (!tn_dtype_is(m.dtype, TN_F64)) probs = math_as(probs, m.dtype = TN_F32);
    tn_tensor *largest = op_amax(probs, (tn_ints){&last, 1}, true);
    if (!are_weights(probs, largest, &m, replacement ? 1 : num_samples)) return NULL;
    tn_tensor *p = tn_div(probs, largest);
    if (!replacement) return op_topk(race(probs, p, &m, rng), num_samples, -1, true, true).indices;
    tn_tensor *sum = tn_cumsum(p, last), *all = math_narrow(sum, last, m.sizes[m.rank - 1] - 1, 1);
    m.sizes[m.rank - 1] = num_samples;
    tn_tensor *at = tn_mul(tn_sub(tnk_scalar(1), uniform_like(p, &m, rng)), all);
    return op_searchsorted(sum, at, false);
}
