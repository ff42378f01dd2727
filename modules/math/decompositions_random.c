/* decompositions_random.c - distributions made of uniform numbers and raw bits.
 *
 * Invariant: an op draws once, so that a fixed position of a generator gives the same numbers on
 * every provider.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

static tn_value ints(const int64_t *sizes, int32_t rank) {
    return tn_value_ints((tn_ints){sizes, rank});
}

/* Uniform in [0, 1); narrow dtypes would round some of them to 1. */
static tn_tensor *uniform(tn_value sizes, tn_dtype dtype, tn_value rng, tn_value device) {
    static tn_op_ref op = {"uniform", 0, 0};
    const tn_dtype wide = tn_dtype_is(dtype, TN_F64) ? TN_F64 : TN_F32;
    return MATH_CALL(&op, sizes, tn_float(0), tn_float(1), tn_value_dtype(wide), rng, device);
}

/* As uniform, beside x. */
static tn_tensor *uniform_like(tn_tensor *x, const tn_meta *m, tn_value rng) {
    tn_device device;

    if (tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return uniform(ints(m->sizes, m->rank), m->dtype, rng, tn_value_device(device));
}

static tn_tensor *bits(tn_value sizes, tn_value rng, tn_value device) {
    static tn_op_ref op = {"random_bits", 0, 0};
    return MATH_CALL(&op, sizes, tn_value_dtype(TN_I64), rng, device);
}

static tn_tensor *as(tn_tensor *t, tn_dtype dtype) {
    tn_meta m;
    return math_meta(t, &m) && tn_dtype_is(m.dtype, dtype) ? t : tn_to(t, dtype);
}

/* (low, high, sizes, dtype, rng, device): 64 bits modulo the range are uniform but for 2^-64 of it */
tn_status math_compose_randint(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    (void)n_args, (void)n_outs;
    tn_tensor *range = tn_plugin_ops->scalar(tn_int(args[1].i - args[0].i));
    tn_tensor *y = tn_remainder(bits(args[2], args[4], args[5]), range);
    return give(outs, as(tn_add(y, tn_plugin_ops->scalar(tn_int(args[0].i))), args[3].dtype));
}

/* (n, dtype, rng, device): the order of n random keys */
tn_status math_compose_randperm(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    (void)n_args, (void)n_outs;
    tn_tensor *keys = bits(ints(&args[0].i, 1), args[2], args[3]);
    return give(outs, as(tn_argsort(keys, NULL), args[1].dtype));
}

tn_status math_compose_bernoulli(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *p = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!math_meta(p, &m)) return pending();
    return give(outs, as(tn_lt(uniform_like(p, &m, args[1]), p), m.dtype));
}

tn_status math_compose_bernoulli_p(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!math_meta(x, &m)) return pending();
    return give(outs, as(tn_lt(uniform_like(x, &m, args[2]), math_number(args[1].f)), m.dtype));
}

/* -ln(1 - u): u may be 0, never 1 */
static tn_tensor *standard_exponential(tn_tensor *u) { return tn_neg(tn_log1p(tn_neg(u))); }

/* (sizes, lambd, dtype, rng, device) */
tn_status math_compose_exponential(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    const int index = tn_dtype_index(args[2].dtype);

    (void)n_args, (void)n_outs;
    if (index < 0 || !(UINT64_C(1) << index & TN_MASK_FLOAT))
        return math_fail(TN_ERR_DTYPE, "exponential: dtype must be a floating one");
    tn_tensor *y = standard_exponential(uniform(args[0], args[2].dtype, args[3], args[4]));
    return give(outs, as(tn_div(y, math_number(args[1].f)), args[2].dtype));
}

/* ---- multinomial -------------------------------------------------------------------------- */

/* Weights must be finite, not negative, and not all 0 in a row. */
static bool are_weights(tn_tensor *probs, tn_tensor *sums) {
    tn_tensor *fine = tn_logical_and(tn_isfinite(probs), tn_ge(probs, math_number(0)));
    bool all = false, some = false;
    tn_tensor *each = tn_all(fine, NULL), *rows = tn_all(tn_gt(sums, math_number(0)), NULL);

    if (!each || !rows || tn_plugin_ops->read(each, &all, sizeof all) != TN_OK ||
        tn_plugin_ops->read(rows, &some, sizeof some) != TN_OK)
        return false;
    if (all && some) return true;
    math_fail(TN_ERR_INVALID,
              all ? "multinomial: a row of probs adds up to 0"
                  : "multinomial: probs has elements that are negative, inf or NaN");
    return false;
}

/* Without replacement: exponential times of rate p race, and the first ones to arrive are drawn
 * (Efraimidis, Spirakis 2006). With it: where a uniform number in (0, 1] falls in the running sum;
 * neither end can reach an index of weight 0. */
tn_status math_compose_multinomial(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    static tn_op_ref search = {"searchsorted", 0, 0}, top = {"topk", 0, 0};
    tn_tensor *probs = math_arg(args, n_args, 0);
    const bool again = args[2].i != 0;
    tn_meta m;

    (void)n_outs;
    if (!math_meta(probs, &m)) return pending();
    if (!tn_dtype_is(m.dtype, TN_F64)) probs = as(probs, m.dtype = TN_F32);
    const int64_t last = m.rank - 1;
    tn_tensor *sum = tn_cumsum(probs, last);
    tn_tensor *sums = math_narrow(sum, last, m.sizes[last] - 1, 1);
    if (!are_weights(probs, sums)) return pending();
    if (!again) {
        tn_tensor *times = standard_exponential(uniform_like(probs, &m, args[3]));
        tn_tensor *race = tn_div(probs, tn_add(times, math_number(1e-30))); /* 0 / 0 would win */
        tn_value pair[2];
        const tn_value call[] = {tn_value_tensor(race), args[1], tn_int(-1)};
        if (tn_plugin_ops->call(&top, call, 3, pair, 2) != TN_OK) return pending();
        return give(outs, pair[1].tensor);
    }
    m.sizes[last] = args[1].i;
    tn_tensor *at = tn_mul(tn_sub(math_number(1), uniform_like(probs, &m, args[3])), sums);
    return give(outs, MATH_CALL(&search, tn_value_tensor(sum), tn_value_tensor(at)));
}
