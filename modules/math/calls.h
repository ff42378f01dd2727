/* calls.h - what derivatives and decompositions share: small steps over the generated wrappers.
 *
 * All results belong to the current scope. A NULL result means that an error is pending; it may be
 * passed on, because every op then does nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_CALLS_H
#define TENON_MATH_CALLS_H

#include "modules/math/math_rows.h"
#include "modules/math/shapes.h"

/* ---- Numbers and dtypes ---------------------------------------------------------------------- */

static inline tn_tensor *times(tn_tensor *t, double factor) {
    return tn_mul(t, tnk_scalar(factor));
}
static inline tn_tensor *plus(tn_tensor *t, double term) { return tn_add(t, tnk_scalar(term)); }

/* The tensor itself where number is 1. Integers stay what they are: the number is truncated. */
tn_tensor *math_times(tn_tensor *, tn_value number);
/* t as dtype; itself if it is that. */
tn_tensor *math_as(tn_tensor *t, tn_dtype dtype);
/* f32 of 16-bit floats, others as they are. */
tn_tensor *math_wide(tn_tensor *);
/* About the largest power of 2 up to t, which divides without rounding; 1 where t is 0, infinite or
 * NaN. */
tn_tensor *math_unit(tn_tensor *t);
/* t, with 0 for -inf, the logarithm of nothing. */
tn_tensor *math_finite_or_0(tn_tensor *);

/* ---- New tensors ----------------------------------------------------------------------------- */

/* A new tensor of `value`, with sizes and dtype of a meta, where `where` lives. */
tn_tensor *math_full(const tn_meta *, double value, tn_tensor *where);
/* The value as a 0-dim tensor of x's dtype. */
tn_tensor *math_of_dtype(tn_tensor *x, tn_value);
/* 0, 1, ... n-1 plus first, where x lives. */
tn_tensor *math_count_from(int64_t first, int64_t n, tn_tensor *x);
/* Zeros of those sizes, of the dtype and device of t. */
tn_tensor *math_zeros(tn_tensor *t, tn_ints sizes);
/* whole, after t was copied into part, a view of it. */
tn_tensor *math_put(tn_tensor *whole, tn_tensor *part, tn_tensor *t);

/* ---- Sizes and dims -------------------------------------------------------------------------- */

/* A dim in -rank..rank-1 made non-negative; rank 0 counts as 1. */
int64_t math_from_end(int64_t dim, int64_t rank);
tn_tensor *math_reshape(tn_tensor *, const int64_t *sizes, int32_t rank);
/* Elements start .. start + n - 1 along dim: a view. */
tn_tensor *math_narrow(tn_tensor *, int64_t dim, int64_t start, int64_t n);
/* Back to front along dim: a view. */
tn_tensor *math_reversed(tn_tensor *, int64_t dim);
/* t moved on by one along dim, with `first` where that leaves room. */
tn_tensor *math_shifted(tn_tensor *, int64_t dim, double first);
/* The sum over dims, which stay with size 1. */
tn_tensor *math_sum_keep(tn_tensor *, const int64_t *dims, int64_t n);
/* The diagonal of the last two dims, of equal size, as the last dim. */
tn_tensor *math_diagonal(tn_tensor *);
/* Both in the sizes that they broadcast to, which come into m. False: an error is pending. */
bool math_broadcast_pair(tn_tensor **a, tn_tensor **b, tn_meta *m);

#endif
