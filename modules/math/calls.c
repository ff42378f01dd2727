/* calls.c - steps that several derivatives and decompositions take.
 *
 * Invariant: nothing here reads a tensor's metadata without checking that there is a tensor.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

#include <math.h>

tn_tensor *math_wide(tn_tensor *t) { return tnk_wide(tn_value_tensor(t)).tensor; }

/* What a factor is in t's dtype: of integers its integer part, and without sign what is left of it
 * by wrapping. Shape rules have refused what is further away. */
static tn_value factor_of(tn_tensor *t, tn_value number) {
    const double x = number.tag == TN_TAG_FLOAT ? number.f : (double)number.i;
    tn_meta m;

    if (!tnk_meta(t, &m)) return number;
    if (tn_dtype_is(m.dtype, TN_BOOL)) return tn_bool(x != 0);
    if (!tn_dtype_in(m.dtype, TN_MASK_INT)) return number;
    if (number.tag == TN_TAG_FLOAT && fabs(x) < 0x1p63) number = tn_int((int64_t)x);
    return m.dtype.code == 1 && x < 0 ? tn_int(number.i & UINT8_MAX) : number;
}

static bool is_one(tn_value number) {
    return number.tag == TN_TAG_FLOAT ? number.f == 1 : number.i == 1;
}

tn_tensor *math_times(tn_tensor *t, tn_value number) {
    if (is_one(number)) return t;
    const tn_value k = factor_of(t, number);
    return is_one(k) ? t : tn_mul(t, tn_plugin_ops->scalar(k));
}

tn_tensor *math_full(const tn_meta *m, double value, tn_tensor *where) {
    tn_device device;

    if (!where || tn_plugin_ops->device(where, &device) != TN_OK) return NULL;
    tn_tensor *t = tn_plugin_ops->empty((tn_ints){m->sizes, m->rank}, m->dtype, device);
    return t ? tn_fill_(t, tn_float(value)) : NULL;
}

tn_tensor *math_reshape(tn_tensor *t, const int64_t *sizes, int32_t rank) {
    return tn_reshape(t, (tn_ints){sizes, rank});
}

tn_tensor *math_sum_keep(tn_tensor *t, const int64_t *dims, int64_t n) {
    return op_sum_dim(t, (tn_ints){dims, n}, true);
}

tn_tensor *math_as(tn_tensor *t, tn_dtype dtype) {
    tn_meta m;
    return !tnk_meta(t, &m) ? NULL : tn_dtype_is(m.dtype, dtype) ? t : tn_to(t, dtype);
}

tn_tensor *math_unit(tn_tensor *t) {
    tn_tensor *one = tnk_scalar(1), *zero = tnk_scalar(0), *infinity = tnk_scalar(INFINITY);
    tn_meta m;

    if (!tnk_meta(t, &m)) return NULL;
    const double most = tn_dtype_is(m.dtype, TN_F64) ? 1023 : 127; /* log2 of max rounds up */
    tn_tensor *good = tn_logical_and(tn_gt(t, zero), tn_lt(t, infinity));
    tn_tensor *power = tn_floor(tn_log2(tn_where(good, t, one)));
    return tn_where(good, tn_exp2(tn_minimum(power, tnk_scalar(most))), one);
}

tn_tensor *math_narrow(tn_tensor *t, int64_t dim, int64_t start, int64_t n) {
    return op_slice(t, dim, tnk_some_int(start), tnk_some_int(start + n), 1);
}

int64_t math_from_end(int64_t dim, int64_t rank) { return dim < 0 ? dim + (rank ? rank : 1) : dim; }

bool math_broadcast_pair(tn_tensor **a, tn_tensor **b, tn_meta *m) {
    char a_text[TNK_LIST_BYTES], b_text[TNK_LIST_BYTES];
    tn_meta first, second;

    if (!tnk_meta(*a, &first) || !tnk_meta(*b, &second)) return false;
    *m = first;
    if (!math_broadcast(m, second.sizes, second.rank)) {
        tnk_raise(TN_ERR_SHAPE, "sizes %s and %s do not broadcast",
                  tnk_sizes_text(first.sizes, first.rank, a_text),
                  tnk_sizes_text(second.sizes, second.rank, b_text));
        return false;
    }
    *a = tn_expand(*a, (tn_ints){m->sizes, m->rank});
    *b = tn_expand(*b, (tn_ints){m->sizes, m->rank});
    return *a && *b;
}

tn_tensor *math_diagonal(tn_tensor *t) {
    tn_meta m;

    if (!tnk_meta(t, &m)) return NULL;
    const int32_t last = m.rank - 2;
    const int64_t n = m.sizes[last];
    m.sizes[last] = n * n;
    return tn_slice(math_reshape(t, m.sizes, m.rank - 1),
                    &(tn_slice_opts){.dim = last, .step = TN_SET(n + 1)});
}

/* 0, 1, ... n-1 plus first, where x lives. */
tn_tensor *math_count_from(int64_t first, int64_t n, tn_tensor *x) {
    tn_device device;

    if (!x || tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return op_arange(tn_int(first), tn_int(first + n), tn_int(1), TN_I64, device);
}

/* value as a 0-dim tensor of x's dtype */
tn_tensor *math_of_dtype(tn_tensor *x, tn_value value) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    m.rank = 0;
    return tn_fill_(math_full(&m, 0, x), value);
}

/* t, with 0 for -inf, which is the logarithm of nothing. */
tn_tensor *math_finite_or_0(tn_tensor *t) {
    return tn_where(tn_eq(t, tnk_scalar(-INFINITY)), tnk_scalar(0), t);
}

/* Back to front along dim: a view. */
tn_tensor *math_reversed(tn_tensor *t, int64_t dim) {
    return op_slice(t, dim, tnk_no_int(), tnk_no_int(), -1);
}

/* t moved on by one along dim, with `first` where that leaves room. */
tn_tensor *math_shifted(tn_tensor *t, int64_t dim, double first) {
    tn_meta m;

    if (!tnk_meta(t, &m)) return NULL;
    const int64_t n = m.sizes[dim];
    m.sizes[dim] = 1;
    tn_tensor *pair[2] = {math_full(&m, first, t), math_narrow(t, dim, 0, n - 1)};
    return op_cat((tn_tensors){pair, 2}, dim);
}

tn_tensor *math_zeros(tn_tensor *t, tn_ints sizes) {
    tn_meta m;

    if (!tnk_meta(t, &m) || sizes.n > TN_MAX_RANK) return NULL;
    m.rank = (int32_t)sizes.n;
    for (int32_t i = 0; i < m.rank; i++) m.sizes[i] = sizes.ptr[i];
    return math_full(&m, 0, t);
}

tn_tensor *math_put(tn_tensor *whole, tn_tensor *part, tn_tensor *t) {
    return tn_copy_(part, t) ? whole : NULL;
}
