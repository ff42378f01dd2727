/* decompositions_reduce.c - reductions and scans written in other ops.
 *
 * Invariant: as in decompositions.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

static bool is_half(tn_dtype d) { return tn_dtype_is(d, TN_F16) || tn_dtype_is(d, TN_BF16); }

/* sum / n. 16-bit floats are summed and divided as f32: their sum may be too large for them. */
tn_status math_compose_mean(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    static tn_op_ref sum = {"sum.dim", 0, 0};
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!math_meta(x, &m)) return pending();
    const uint32_t mask = math_dim_mask(args[1], m.rank);
    double n = 1;
    for (int32_t i = 0; i < m.rank; i++)
        if (mask >> i & 1) n *= (double)m.sizes[i];
    const bool half = is_half(m.dtype);
    tn_tensor *total = MATH_CALL(&sum, tn_value_tensor(half ? tn_to(x, TN_F32) : x), args[1],
                                 n_args > 2 ? args[2] : tn_bool(false));
    tn_tensor *y = tn_div(total, math_number(n));
    return give(outs, half ? tn_to(y, m.dtype) : y);
}

/* Sums over the dims that are new or were of size 1, then drops the new ones. */
tn_status math_compose_sum_to(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    int64_t dims[TN_MAX_RANK], n = 0;
    tn_meta m;

    (void)n_outs;
    if (!math_meta(x, &m)) return pending();
    const int32_t rank = (int32_t)args[1].aux, more = m.rank - rank;
    for (int32_t i = 0; i < m.rank; i++)
        if (i < more || (args[1].ints[i - more] == 1 && m.sizes[i] != 1)) dims[n++] = i;
    if (n > 0) x = math_sum_keep(x, dims, n);
    return give(outs, more > 0 ? math_reshape(x, args[1].ints, rank) : x);
}
