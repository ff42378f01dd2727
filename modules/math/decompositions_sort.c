/* decompositions_sort.c - what sorting gives: largest elements, medians.
 *
 * Invariant: as in decompositions.c. Sorting is stable and a NaN is largest, so every choice among
 * equals here is the first of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

typedef struct sorted {
    tn_tensor *values, *indices;
    tn_meta x;
    int64_t dim, n; /* n: elements along dim */
} sorted;

static bool sort(tn_tensor *x, int64_t dim, bool descending, sorted *out) {
    static tn_op_ref op = {"sort", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_int(dim), tn_bool(descending)};
    tn_value parts[2] = {tn_value_none(), tn_value_none()};

    if (!tnk_meta(x, &out->x) || tn_plugin_ops->call(&op, args, 3, parts, 2) != TN_OK) return false;
    out->values = parts[0].tensor, out->indices = parts[1].tensor;
    out->dim = math_from_end(dim, out->x.rank);
    out->n = out->x.rank ? out->x.sizes[out->dim] : 1;
    return true;
}

/* Elements start .. start + n - 1 along dim; a 0-dim tensor is all of itself. */
static tn_tensor *part(const sorted *s, tn_tensor *t, int64_t start, int64_t n) {
    return s->x.rank ? tn_contiguous(math_narrow(t, s->dim, start, n)) : t;
}

/* Values and indices that have size 1 along dim, as results of a reduction. */
static tn_status give_pair(tn_value *outs, const sorted *s, tn_tensor *values, tn_tensor *indices,
                           tn_value keepdim) {
    static tn_op_ref squeeze = {"squeeze", 0, 0};

    if (s->x.rank && !keepdim.i) {
        values = MATH_CALL(&squeeze, tn_value_tensor(values), tn_int(s->dim));
        indices = MATH_CALL(&squeeze, tn_value_tensor(indices), tn_int(s->dim));
    }
    outs[1] = tn_value_tensor(indices);
    return give(outs, values);
}

/* ---- Order statistics --------------------------------------------------------------------- */

tn_status math_compose_argsort(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    sorted s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[1].i, args[2].i, &s)) return tnk_pending();
    return give(outs, s.indices);
}

/* (x, k, dim, largest, sorted): always sorted */
tn_status math_compose_topk(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    sorted s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[2].i, args[3].i, &s)) return tnk_pending();
    outs[1] = tn_value_tensor(part(&s, s.indices, 0, args[1].i));
    return give(outs, part(&s, s.values, 0, args[1].i));
}

/* (x, k, dim, keepdim) */
tn_status math_compose_kthvalue(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    const int64_t at = args[1].i - 1;
    sorted s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[2].i, false, &s)) return tnk_pending();
    return give_pair(outs, &s, part(&s, s.values, at, 1), part(&s, s.indices, at, 1), args[3]);
}

/* Where in each sorted line the median stands: the lower of two. NaN, at the end, is the median if
 * there is one; or it does not count. */
static tn_tensor *median_position(const sorted *s, bool ignore_nan) {
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
    sorted s;

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

tn_status math_compose_nanmedian_dim(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    (void)n_outs;
    return median(args, n_args, outs, true);
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

tn_status math_compose_nanmedian(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    (void)n_outs;
    return median_of_all(args, n_args, outs, true);
}

/* (x, dim, keepdim), by argmax or argmin: the first of equals. */
static tn_status extreme(tn_op_ref *arg_op, const tn_value *args, uint32_t n_args, tn_value *outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    sorted s = {.dim = args[1].i};

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
