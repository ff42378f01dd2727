/* sort.c - extremes, sorting, and what stands where in an order.
 *
 * Invariant: sorting is stable and a NaN is largest, so every choice among equals here is the first
 * of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"
#include "modules/math/reduce.h"
#include "modules/math/shapes.h"

/* Nothing has no largest element. */
tn_status math_pick(tn_infer *in, const tn_view *x, uint32_t dims) {
    char text[TNK_LIST_BYTES];

    for (int32_t i = 0; i < x->rank; i++)
        if (x->sizes[i] == 0 && dims >> i & 1)
            return tnk_fail_shape(in, TN_ERR_SHAPE,
                                  "x%s has size 0 in dim %d: there is no element to be picked",
                                  tnk_sizes_text(x->sizes, x->rank, text), (int)i);
    return math_reduced_shape(in, x, dims);
}

/* amax, argmax, max.dim, median and so on */
tn_status math_shape_amax(tn_infer *in) {
    const tn_view *x = x_of(in);
    return x ? math_pick(in, x, math_reduced_dims(in, x->rank)) : TN_ERR_INVALID;
}

void math_grad_amax(math_grad_amax_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    tn_tensor *chosen = tn_eq(TNK_SAVED(c, x), math_as_kept(&r, TNK_SAVED(c, y)));
    TNK_SET_GRAD(c, x, math_share(&r, TNK_GRAD(c, 0), chosen, NULL));
}

/* max.dim, topk, median.dim and so on: each result is the element of x at its index along dim. */
void math_grad_pick(math_grad_pick_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0), *indices = TNK_SAVED(c, indices);
    tn_meta x, picked;

    if (!TNK_META_OF(c, x, &x) || !tnk_meta(indices, &picked)) return;
    const int64_t dim = math_from_end(TNK_ARG(c, dim), x.rank);
    if (picked.rank < x.rank) g = tn_unsqueeze(g, dim), indices = tn_unsqueeze(indices, dim);
    TNK_SET_GRAD(c, x, tn_scatter_add(math_full(&x, 0, g), dim, indices, g));
}

typedef struct picked { /* elements of x along a dim, and where they stood */
    tn_tensor *values, *indices;
} picked;

/* Both have size 1 along dim: as results of a reduction. */
static picked reduced(int32_t rank, int64_t dim, picked p, bool keepdim) {
    if (rank == 0 || keepdim) return p;
    return (picked){op_squeeze(p.values, tnk_some_int(dim)),
                    op_squeeze(p.indices, tnk_some_int(dim))};
}

/* x's elements at the indices that argmax or argmin gave: the first of equals. */
static picked picked_at(tn_tensor *x, int64_t dim, tn_tensor *at, bool keepdim) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return (picked){NULL, NULL};
    return reduced(m.rank, dim, (picked){tn_gather(x, dim, at), at}, keepdim);
}

tn_max_dim_result math_compose_max_dim(tn_tensor *x, int64_t dim, bool keepdim) {
    const picked p = picked_at(x, dim, op_argmax(x, tnk_some_int(dim), true), keepdim);
    return (tn_max_dim_result){p.values, p.indices};
}

tn_min_dim_result math_compose_min_dim(tn_tensor *x, int64_t dim, bool keepdim) {
    const picked p = picked_at(x, dim, op_argmin(x, tnk_some_int(dim), true), keepdim);
    return (tn_min_dim_result){p.values, p.indices};
}

/* max, min, median of all elements: as amax, but a result that is NaN goes to all that are. */
void math_grad_max(math_grad_max_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, (tn_ints){NULL, 0});
    tn_tensor *x = TNK_SAVED(c, x), *y = TNK_SAVED(c, y);
    tn_tensor *chosen = tn_where(tn_isnan(y), tn_isnan(x), tn_eq(x, y));
    TNK_SET_GRAD(c, x, math_share(&r, TNK_GRAD(c, 0), chosen, NULL));
}

typedef struct ordered { /* x, sorted */
    tn_tensor *values, *indices;
    int32_t rank;
    int64_t dim, n; /* n: elements along dim */
} ordered;

/* False: an error is pending. */
static bool sort(tn_tensor *x, int64_t dim, bool descending, ordered *out) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return false;
    const tn_sort_result y = op_sort(x, dim, descending);
    dim = math_from_end(dim, m.rank);
    *out = (ordered){y.values, y.indices, m.rank, dim, m.rank ? m.sizes[dim] : 1};
    return y.indices != NULL;
}

tn_tensor *math_compose_argsort(tn_tensor *x, int64_t dim, bool descending) {
    ordered s;

    return sort(x, dim, descending, &s) ? s.indices : NULL;
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

/* Elements start .. start + n - 1 along dim; a 0-dim tensor is all of itself. */
static tn_tensor *part(const ordered *s, tn_tensor *t, int64_t start, int64_t n) {
    return s->rank ? tn_contiguous(math_narrow(t, s->dim, start, n)) : t;
}

tn_topk_result math_compose_topk(tn_tensor *x, int64_t k, int64_t dim, bool largest, bool sorted) {
    ordered s;

    (void)sorted; /* they are, always */
    if (!sort(x, dim, largest, &s)) return (tn_topk_result){NULL, NULL};
    return (tn_topk_result){part(&s, s.values, 0, k), part(&s, s.indices, 0, k)};
}

/* the k-th along dim */
tn_status math_shape_kthvalue(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x || in->n_args < 3) return TN_ERR_INVALID;
    const int64_t k = in->args[1].i, dim = in->args[2].i, n = x->rank ? x->sizes[dim] : 1;
    if (k < 1 || k > n) return bad_k(in, x, dim, 1, n);
    return math_reduced_shape(in, x, x->rank ? 1u << dim : 0);
}

tn_kthvalue_result math_compose_kthvalue(tn_tensor *x, int64_t k, int64_t dim, bool keepdim) {
    ordered s;

    if (!sort(x, dim, false, &s)) return (tn_kthvalue_result){NULL, NULL};
    const picked at = {part(&s, s.values, k - 1, 1), part(&s, s.indices, k - 1, 1)};
    const picked p = reduced(s.rank, s.dim, at, keepdim);
    return (tn_kthvalue_result){p.values, p.indices};
}

/* Where in each sorted line the median stands: the lower of two. NaN, at the end, is the median if
 * there is one; or it does not count. */
static tn_tensor *median_position(const ordered *s, bool ignore_nan) {
    tn_tensor *nans = tn_to(tn_isnan(s->values), TN_I64);
    if (s->rank) nans = math_sum_keep(nans, &s->dim, 1);
    tn_tensor *valid = tn_sub(tnk_scalar_int(s->n), nans);
    if (!ignore_nan)
        return tn_where(tn_gt(nans, tnk_scalar_int(0)), valid, tnk_scalar_int((s->n - 1) / 2));
    tn_tensor *middle =
        tn_floor(tn_mul(tn_to(tn_sub(valid, tnk_scalar_int(1)), TN_F64), tnk_scalar(0.5)));
    return tn_to(tn_maximum(middle, tnk_scalar(0)), TN_I64);
}

static picked median(tn_tensor *x, int64_t dim, bool keepdim, bool ignore_nan) {
    ordered s;

    if (!sort(x, dim, false, &s)) return (picked){NULL, NULL};
    tn_tensor *at = median_position(&s, ignore_nan);
    const picked p = {tn_gather(s.values, s.dim, at), tn_gather(s.indices, s.dim, at)};
    return reduced(s.rank, s.dim, p, keepdim);
}

tn_median_dim_result math_compose_median_dim(tn_tensor *x, int64_t dim, bool keepdim) {
    const picked p = median(x, dim, keepdim, false);
    return (tn_median_dim_result){p.values, p.indices};
}

tn_nanmedian_dim_result math_compose_nanmedian_dim(tn_tensor *x, int64_t dim, bool keepdim) {
    const picked p = median(x, dim, keepdim, true);
    return (tn_nanmedian_dim_result){p.values, p.indices};
}

static tn_tensor *as_line(tn_tensor *x) { return math_reshape(x, (int64_t[]){-1}, 1); }

tn_tensor *math_compose_median(tn_tensor *x) { return median(as_line(x), 0, false, false).values; }

tn_tensor *math_compose_nanmedian(tn_tensor *x) {
    return median(as_line(x), 0, false, true).values;
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
