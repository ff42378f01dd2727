/* shapes_reduce.c - shape rules of reductions, scans and what picks elements in an order.
 *
 * Invariant: as in shapes.c. The contract has made dims non-negative, and below the rank.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/rows.h"

#include <math.h>
#include <string.h>

static const tn_view *x_of(tn_infer *in) {
    if (in->n_args > 0 && in->args[0].tag == TN_TAG_VIEW) return in->args[0].view;
    tnk_fail_shape(in, TN_ERR_INVALID, "x is missing");
    return NULL;
}

/* The first argument with that tag behind x, or NULL: dim, dims and keepdim stand at several
 * places, and each is the only one of its kind. */
static const tn_value *with_tag(const tn_infer *in, int32_t tag) {
    for (uint32_t i = 1; i < in->n_args; i++)
        if (in->args[i].tag == tag) return &in->args[i];
    return NULL;
}

static bool is_float(tn_dtype d) {
    const int index = tn_dtype_index(d);
    return index >= 0 && (TN_MASK_FLOAT >> index & 1);
}

/* Bit i: dim i is reduced. No dim given means all. */
static uint32_t reduced_dims(const tn_infer *in, int32_t rank) {
    const tn_value *dims = with_tag(in, TN_TAG_INTS), *dim = with_tag(in, TN_TAG_INT);
    const uint32_t all = (1u << rank) - 1;
    uint32_t mask = 0;

    if (dim) return 1u << dim->i & all;
    if (!dims || dims->aux == 0) return all;
    for (uint32_t i = 0; i < dims->aux; i++) mask |= 1u << dims->ints[i];
    return mask & all;
}

static tn_status reduce(tn_infer *in, const tn_view *x, uint32_t dims) {
    const tn_value *keepdim = with_tag(in, TN_TAG_BOOL);

    for (uint32_t k = 0; k < in->n_outs; k++) {
        tn_meta *y = &in->outs[k];
        y->rank = 0;
        for (int32_t i = 0; i < x->rank; i++) {
            const bool gone = dims >> i & 1;
            if (!gone || (keepdim && keepdim->i)) y->sizes[y->rank++] = gone ? 1 : x->sizes[i];
        }
    }
    return TN_OK;
}

/* ---- Sums and products -------------------------------------------------------------------- */

/* Of booleans and integers in i64, so that counting does not wrap around. */
static void widen(tn_infer *in, const tn_view *x) {
    if (!is_float(x->dtype)) in->outs[0].dtype = TN_I64;
}

tn_status math_shape_sum(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    widen(in, x);
    return reduce(in, x, reduced_dims(in, x->rank));
}

tn_status math_shape_cumsum(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    widen(in, x);
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* Sums of squares leave the range of narrower floats, and a mean that is to be subtracted must
 * not be rounded to them: both results are f64. */
tn_status math_shape_moments(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    for (uint32_t k = 0; k < in->n_outs; k++) in->outs[k].dtype = TN_F64;
    return reduce(in, x, reduced_dims(in, x->rank));
}

/* any, all: boolean, but u8 of u8, as in PyTorch. */
tn_status math_shape_any(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    in->outs[0].dtype = tn_dtype_is(x->dtype, TN_U8) ? TN_U8 : TN_BOOL;
    return reduce(in, x, reduced_dims(in, x->rank));
}

tn_status math_shape_sum_to(tn_infer *in) {
    const tn_view *x = x_of(in);
    char from[TNK_LIST_BYTES], to[TNK_LIST_BYTES];
    tn_meta wide, *y = &in->outs[0];

    if (!x || in->n_args < 2) return TN_ERR_INVALID;
    const tn_status status = math_set_sizes(in, y, in->args[1].ints, in->args[1].aux, "sizes");
    if (status) return status;
    wide = *y;
    if (wide.rank > x->rank || !math_broadcast(&wide, x->sizes, x->rank) ||
        memcmp(wide.sizes, x->sizes, (size_t)x->rank * sizeof *x->sizes) != 0)
        return tnk_fail_shape(
            in, TN_ERR_SHAPE, "x%s cannot be summed to sizes %s: those do not broadcast to x",
            tnk_sizes_text(x->sizes, x->rank, from), tnk_sizes_text(y->sizes, y->rank, to));
    return TN_OK;
}

/* ---- Elements picked ---------------------------------------------------------------------- */

/* Nothing has no largest element. */
static tn_status pick(tn_infer *in, const tn_view *x, uint32_t dims) {
    char text[TNK_LIST_BYTES];

    for (int32_t i = 0; i < x->rank; i++)
        if (x->sizes[i] == 0 && dims >> i & 1)
            return tnk_fail_shape(in, TN_ERR_SHAPE,
                                  "x%s has size 0 in dim %d: there is no element to be picked",
                                  tnk_sizes_text(x->sizes, x->rank, text), (int)i);
    return reduce(in, x, dims);
}

/* amax, argmax, max.dim, median and so on */
tn_status math_shape_amax(tn_infer *in) {
    const tn_view *x = x_of(in);
    return x ? pick(in, x, reduced_dims(in, x->rank)) : TN_ERR_INVALID;
}

/* (x, p, dim, keepdim): sums of powers are 0 for nothing, but there is no largest element. */
tn_status math_shape_norm(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x || in->n_args < 2) return TN_ERR_INVALID;
    const uint32_t dims = reduced_dims(in, x->rank);
    const bool sum = in->args[1].f >= 0 && !isinf(in->args[1].f);
    return sum ? reduce(in, x, dims) : pick(in, x, dims);
}

static tn_status bad_k(tn_infer *in, const tn_view *x, int64_t dim, int64_t low, int64_t n) {
    char text[TNK_LIST_BYTES];
    return tnk_fail_shape(
        in, TN_ERR_INDEX,
        "k is %lld, but x%s has %lld elements along dim %lld: allowed are %lld to %lld",
        (long long)in->args[1].i, tnk_sizes_text(x->sizes, x->rank, text), (long long)n,
        (long long)dim, (long long)low, (long long)n);
}

/* (x, k, dim, ..): k elements along dim */
tn_status math_shape_topk(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x || in->n_args < 3) return TN_ERR_INVALID;
    const int64_t k = in->args[1].i, dim = in->args[2].i, n = x->rank ? x->sizes[dim] : 1;
    if (k < (x->rank ? 0 : 1) || k > n) return bad_k(in, x, dim, x->rank ? 0 : 1, n);
    for (uint32_t i = 0; i < in->n_outs; i++) {
        const tn_status status = math_set_sizes(in, &in->outs[i], x->sizes, x->rank, "x");
        if (status) return status;
        if (x->rank) in->outs[i].sizes[dim] = k;
    }
    return TN_OK;
}

/* (x, k, dim, keepdim): the k-th along dim */
tn_status math_shape_kthvalue(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x || in->n_args < 3) return TN_ERR_INVALID;
    const int64_t k = in->args[1].i, dim = in->args[2].i, n = x->rank ? x->sizes[dim] : 1;
    if (k < 1 || k > n) return bad_k(in, x, dim, 1, n);
    return reduce(in, x, x->rank ? 1u << dim : 0);
}

/* One sorted line for all values, or one for each of their last dims. */
tn_status math_shape_searchsorted(tn_infer *in) {
    const tn_view *sorted = x_of(in), *values;
    char a[TNK_LIST_BYTES], b[TNK_LIST_BYTES];

    if (!sorted || in->n_args < 2 || in->args[1].tag != TN_TAG_VIEW) return TN_ERR_INVALID;
    values = in->args[1].view;
    bool fits = sorted->rank == 1 || sorted->rank == values->rank;
    for (int32_t i = 0; fits && i < sorted->rank - 1; i++)
        fits = sorted->sizes[i] == values->sizes[i];
    if (!fits)
        return tnk_fail_shape(
            in, TN_ERR_SHAPE,
            "sorted%s must be one line, or have the sizes of values%s but for the last",
            tnk_sizes_text(sorted->sizes, sorted->rank, a),
            tnk_sizes_text(values->sizes, values->rank, b));
    return math_set_sizes(in, &in->outs[0], values->sizes, values->rank, "values");
}
