/* sort.c - extremes, sorting, and what stands where in an order.
 *
 * Invariant: sorting is stable and a NaN is largest, so every choice among equals here is the first
 * of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"
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

void math_grad_amax(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    math_share(c, &r, tn_eq(saved(c, "x"), math_as_kept(&r, saved(c, "y"))), NULL);
}

/* max.dim, topk, median.dim and so on: each result is the element of x at its index along dim. */
void math_grad_pick(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c), *indices = saved(c, "indices");
    tn_meta x, picked;

    if (!meta_of(c, "x", &x) || !tnk_meta(indices, &picked)) return;
    const int64_t dim = math_from_end(arg(c, "dim").i, x.rank);
    if (picked.rank < x.rank) g = tn_unsqueeze(g, dim), indices = tn_unsqueeze(indices, dim);
    set(c, "x", tn_scatter_add(math_full(&x, 0, g), dim, indices, g));
}

typedef struct ordered {
    tn_tensor *values, *indices;
    tn_meta x;
    int64_t dim, n; /* n: elements along dim */
} ordered;

/* Values and indices that have size 1 along dim, as results of a reduction. */
static tn_status give_pair(tn_value *outs, const ordered *s, tn_tensor *values, tn_tensor *indices,
                           tn_value keepdim) {
    static tn_op_ref squeeze = {"squeeze", 0, 0};

    if (s->x.rank && !keepdim.i) {
        values = MATH_CALL(&squeeze, tn_value_tensor(values), tn_int(s->dim));
        indices = MATH_CALL(&squeeze, tn_value_tensor(indices), tn_int(s->dim));
    }
    outs[1] = tn_value_tensor(indices);
    return give(outs, values);
}

/* (x, dim, keepdim), by argmax or argmin: the first of equals. */
static tn_status extreme(tn_op_ref *arg_op, const tn_value *args, uint32_t n_args, tn_value *outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    ordered s = {.dim = args[1].i};

    if (!tnk_meta(x, &s.x)) return tnk_pending();
    tn_tensor *at = MATH_CALL(arg_op, args[0], args[1], tn_bool(true));
    return give_pair(outs, &s, tn_gather(x, s.dim, at), at, args[2]);
}

tn_status math_compose_max_dim(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    static tn_op_ref op = {"argmax", 0, 0};
    (void)n_outs;
    return extreme(&op, args, n_args, outs);
}

tn_status math_compose_min_dim(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    static tn_op_ref op = {"argmin", 0, 0};
    (void)n_outs;
    return extreme(&op, args, n_args, outs);
}

/* max, min, median of all elements: as amax, but a result that is NaN goes to all that are. */
void math_grad_max(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, tn_value_none(), &r)) return;
    tn_tensor *x = saved(c, "x"), *y = saved(c, "y");
    math_share(c, &r, tn_where(tn_isnan(y), tn_isnan(x), tn_eq(x, y)), NULL);
}

static bool sort(tn_tensor *x, int64_t dim, bool descending, ordered *out) {
    static tn_op_ref op = {"sort", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_int(dim), tn_bool(descending)};
    tn_value parts[2] = {tn_value_none(), tn_value_none()};

    if (!tnk_meta(x, &out->x) || tn_plugin_ops->call(&op, args, 3, parts, 2) != TN_OK) return false;
    out->values = parts[0].tensor, out->indices = parts[1].tensor;
    out->dim = math_from_end(dim, out->x.rank);
    out->n = out->x.rank ? out->x.sizes[out->dim] : 1;
    return true;
}

tn_status math_compose_argsort(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    ordered s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[1].i, args[2].i, &s)) return tnk_pending();
    return give(outs, s.indices);
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
    return s->x.rank ? tn_contiguous(math_narrow(t, s->dim, start, n)) : t;
}

/* (x, k, dim, largest, sorted): always sorted */
tn_status math_compose_topk(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    ordered s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[2].i, args[3].i, &s)) return tnk_pending();
    outs[1] = tn_value_tensor(part(&s, s.indices, 0, args[1].i));
    return give(outs, part(&s, s.values, 0, args[1].i));
}

/* (x, k, dim, keepdim): the k-th along dim */
tn_status math_shape_kthvalue(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x || in->n_args < 3) return TN_ERR_INVALID;
    const int64_t k = in->args[1].i, dim = in->args[2].i, n = x->rank ? x->sizes[dim] : 1;
    if (k < 1 || k > n) return bad_k(in, x, dim, 1, n);
    return math_reduced_shape(in, x, x->rank ? 1u << dim : 0);
}

/* (x, k, dim, keepdim) */
tn_status math_compose_kthvalue(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    const int64_t at = args[1].i - 1;
    ordered s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[2].i, false, &s)) return tnk_pending();
    return give_pair(outs, &s, part(&s, s.values, at, 1), part(&s, s.indices, at, 1), args[3]);
}

/* Where in each sorted line the median stands: the lower of two. NaN, at the end, is the median if
 * there is one; or it does not count. */
static tn_tensor *median_position(const ordered *s, bool ignore_nan) {
    tn_tensor *nans = tn_to(tn_isnan(s->values), TN_I64);
    if (s->x.rank) nans = math_sum_keep(nans, &s->dim, 1);
    tn_tensor *valid = tn_sub(tnk_scalar_int(s->n), nans);
    if (!ignore_nan)
        return tn_where(tn_gt(nans, tnk_scalar_int(0)), valid, tnk_scalar_int((s->n - 1) / 2));
    tn_tensor *middle =
        tn_floor(tn_mul(tn_to(tn_sub(valid, tnk_scalar_int(1)), TN_F64), tnk_scalar(0.5)));
    return tn_to(tn_maximum(middle, tnk_scalar(0)), TN_I64);
}

/* (x, dim, keepdim) */
static tn_status median(const tn_value *args, uint32_t n_args, tn_value *outs, bool ignore_nan) {
    ordered s;

    if (!sort(math_arg(args, n_args, 0), args[1].i, false, &s)) return tnk_pending();
    tn_tensor *at = median_position(&s, ignore_nan);
    return give_pair(outs, &s, tn_gather(s.values, s.dim, at), tn_gather(s.indices, s.dim, at),
                     args[2]);
}

tn_status math_compose_median_dim(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    (void)n_outs;
    return median(args, n_args, outs, false);
}

/* Of all elements: (x) */
static tn_status median_of_all(const tn_value *args, uint32_t n_args, tn_value *outs,
                               bool ignore_nan) {
    tn_tensor *line = math_reshape(math_arg(args, n_args, 0), (int64_t[]){-1}, 1);
    const tn_value inner[] = {tn_value_tensor(line), tn_int(0), tn_bool(false)};
    tn_value pair[2] = {tn_value_none(), tn_value_none()};
    const tn_status status = median(inner, 3, pair, ignore_nan);

    outs[0] = pair[0];
    return status;
}

tn_status math_compose_median(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    (void)n_outs;
    return median_of_all(args, n_args, outs, false);
}

tn_status math_compose_nanmedian_dim(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    (void)n_outs;
    return median(args, n_args, outs, true);
}

tn_status math_compose_nanmedian(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    (void)n_outs;
    return median_of_all(args, n_args, outs, true);
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
