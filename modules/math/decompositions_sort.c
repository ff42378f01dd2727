/* decompositions_sort.c - what sorting gives: order statistics, the set of values, counts.
 *
 * Invariant: as in decompositions.c. Sorting is stable and a NaN is largest, so every choice among
 * equals here is the first of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

#include <math.h>
#include <stdio.h>

static tn_tensor *whole(int64_t n) { return tn_plugin_ops->scalar(tn_int(n)); }

typedef struct sorted {
    tn_tensor *values, *indices;
    tn_meta x;
    int64_t dim, n; /* n: elements along dim */
} sorted;

static bool sort(tn_tensor *x, int64_t dim, bool descending, sorted *out) {
    static tn_op_ref op = {"sort", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_int(dim), tn_bool(descending)};
    tn_value parts[2] = {tn_value_none(), tn_value_none()};

    if (!math_meta(x, &out->x) || tn_plugin_ops->call(&op, args, 3, parts, 2) != TN_OK)
        return false;
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
    if (!sort(math_arg(args, n_args, 0), args[1].i, args[2].i, &s)) return pending();
    return give(outs, s.indices);
}

/* (x, k, dim, largest, sorted): always sorted */
tn_status math_compose_topk(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    sorted s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[2].i, args[3].i, &s)) return pending();
    outs[1] = tn_value_tensor(part(&s, s.indices, 0, args[1].i));
    return give(outs, part(&s, s.values, 0, args[1].i));
}

/* (x, k, dim, keepdim) */
tn_status math_compose_kthvalue(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    const int64_t at = args[1].i - 1;
    sorted s;

    (void)n_outs;
    if (!sort(math_arg(args, n_args, 0), args[2].i, false, &s)) return pending();
    return give_pair(outs, &s, part(&s, s.values, at, 1), part(&s, s.indices, at, 1), args[3]);
}

/* Where in each sorted line the median stands: the lower of two. NaN, at the end, is the median if
 * there is one; or it does not count. */
static tn_tensor *median_position(const sorted *s, bool ignore_nan) {
    tn_tensor *nans = tn_to(tn_isnan(s->values), TN_I64);
    if (s->x.rank) nans = math_sum_keep(nans, &s->dim, 1);
    tn_tensor *valid = tn_sub(whole(s->n), nans);
    if (!ignore_nan) return tn_where(tn_gt(nans, whole(0)), valid, whole((s->n - 1) / 2));
    tn_tensor *middle = tn_floor(tn_mul(tn_to(tn_sub(valid, whole(1)), TN_F64), math_number(0.5)));
    return tn_to(tn_maximum(middle, math_number(0)), TN_I64);
}

/* (x, dim, keepdim) */
static tn_status median(const tn_value *args, uint32_t n_args, tn_value *outs, bool ignore_nan) {
    sorted s;

    if (!sort(math_arg(args, n_args, 0), args[1].i, false, &s)) return pending();
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

    if (!math_meta(x, &s.x)) return pending();
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

/* ---- Sets and counts ---------------------------------------------------------------------- */

static tn_tensor *all_of(tn_tensor *t, int64_t n, tn_dtype dtype, double value) { /* [n] */
    tn_meta m = {.dtype = dtype, .rank = 1, .sizes = {n}};
    return math_full(&m, value, t);
}

static tn_tensor *joined(tn_tensor *a, tn_tensor *b) {
    return math_cat((tn_tensor *[]){a, b}, 2, 0);
}

/* What unique finds in `line` [n], where equal elements stand together: element i of x is line[k]
 * for order[i] = k; NULL: in the same order. */
typedef struct runs {
    tn_tensor *line, *order;
    int64_t n;
    tn_tensor *first;  /* bool [n]: begins a run */
    tn_tensor *starts; /* i64 [runs] */
} runs;

static void find_runs(runs *r) {
    static tn_op_ref squeeze = {"squeeze", 0, 0};
    if (r->n > 0)
        r->first =
            joined(all_of(r->line, 1, TN_BOOL, 1), tn_ne(math_narrow(r->line, 0, 1, r->n - 1),
                                                         math_narrow(r->line, 0, 0, r->n - 1)));
    else
        r->first = all_of(r->line, 0, TN_BOOL, 1);
    r->starts = MATH_CALL(&squeeze, tn_value_tensor(tn_nonzero(r->first)), tn_int(1));
}

/* For each element of x the number of its run, in x's shape. */
static tn_tensor *run_numbers(const runs *r, const tn_meta *x) {
    tn_tensor *numbers = tn_sub(tn_cumsum(r->first, 0), whole(1));
    if (r->order) numbers = tn_scatter_add(tn_zeros_like(r->order), 0, r->order, numbers);
    return math_reshape(numbers, x->sizes, x->rank);
}

static tn_tensor *run_lengths(const runs *r) {
    tn_meta m;

    if (!math_meta(r->starts, &m) || m.sizes[0] == 0) return r->starts;
    tn_tensor *ends = joined(math_narrow(r->starts, 0, 1, m.sizes[0] - 1),
                             all_of(r->starts, 1, TN_I64, (double)r->n));
    return tn_sub(ends, r->starts);
}

/* Results that nobody asked for are empty. */
static tn_status give_runs(tn_value *outs, runs *r, const tn_meta *x, tn_value inverse,
                           tn_value counts) {
    find_runs(r);
    outs[1] = tn_value_tensor(inverse.i ? run_numbers(r, x) : all_of(r->line, 0, TN_I64, 0));
    outs[2] = tn_value_tensor(counts.i ? run_lengths(r) : all_of(r->line, 0, TN_I64, 0));
    return give(outs, tn_gather(r->line, 0, r->starts));
}

static bool line_of(tn_tensor *x, tn_meta *m, runs *r) {
    if (!math_meta(x, m)) return false;
    r->n = math_meta_numel(m);
    r->line = math_reshape(x, &r->n, 1);
    return true;
}

/* (x, sorted, return_inverse, return_counts): always sorted */
tn_status math_compose_unique(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    runs r = {0};
    sorted s;
    tn_meta x;

    (void)n_outs;
    if (!line_of(math_arg(args, n_args, 0), &x, &r) || !sort(r.line, 0, false, &s))
        return pending();
    r.line = s.values, r.order = s.indices;
    return give_runs(outs, &r, &x, args[2], args[3]);
}

/* (x, return_inverse, return_counts) */
tn_status math_compose_unique_consecutive(const tn_value *args, uint32_t n_args, tn_value *outs,
                                          uint32_t n_outs) {
    runs r = {0};
    tn_meta x;

    (void)n_outs;
    if (!line_of(math_arg(args, n_args, 0), &x, &r)) return pending();
    return give_runs(outs, &r, &x, args[1], args[2]);
}

/* The smallest and largest element of x, as a dtype of 8 bytes; false: an error is pending. */
static bool bounds(tn_tensor *x, tn_dtype dtype, void *low, void *high) {
    tn_tensor *least = tn_to(tn_min(x), dtype), *most = tn_to(tn_max(x), dtype);

    return most && tn_plugin_ops->read(least, low, 8) == TN_OK &&
           tn_plugin_ops->read(most, high, 8) == TN_OK;
}

static tn_status fail(tn_status code, const char *text) {
    return tn_plugin_ops->fail(code, text, tn_strlen(text));
}

/* (x, weights?, minlength) */
tn_status math_compose_bincount(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *weights = math_arg(args, n_args, 1);
    int64_t low = 0, high = -1;
    char text[120];
    tn_meta m;

    (void)n_outs;
    if (!math_meta(x, &m) || (m.sizes[0] > 0 && !bounds(x, TN_I64, &low, &high))) return pending();
    if (low < 0) {
        snprintf(text, sizeof text, "x holds %lld: only numbers from 0 on can be counted",
                 (long long)low);
        return fail(TN_ERR_INDEX, text);
    }
    if (high == INT64_MAX)
        return fail(TN_ERR_OVERFLOW, "x holds a number too large to count up to");
    const int64_t n = high + 1 > args[2].i ? high + 1 : args[2].i;
    tn_tensor *ones = weights ? weights : all_of(x, m.sizes[0], TN_I64, 1);
    if (!math_meta(ones, &m)) return pending();
    if (weights && !tn_dtype_is(m.dtype, TN_F32)) m.dtype = TN_F64;
    return give(
        outs, tn_scatter_add(all_of(x, n, m.dtype, 0), 0, tn_to(x, TN_I64), tn_to(ones, m.dtype)));
}

/* Of x, or as asked for; equal ones are moved apart. False: failed. */
static bool range(tn_tensor *x, int64_t n, double *low, double *high) {
    char text[160];

    if (*low == *high && n > 0 && !bounds(x, TN_F64, low, high)) return false;
    if (*low == *high) *low -= 1, *high += 1;
    if (*low < *high && isfinite(*high - *low)) return true;
    snprintf(text, sizeof text,
             "the range %g to %g cannot be cut into parts: it must be finite, and max above min",
             *low, *high);
    fail(TN_ERR_INVALID, text);
    return false;
}

/* (x, bins, min, max) */
tn_status math_compose_histc(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    static tn_op_ref clamp = {"clamp", 0, 0};
    double low = args[2].f, high = args[3].f;
    const int64_t bins = args[1].i;
    runs r = {0};
    tn_meta m;

    (void)n_outs;
    if (!line_of(math_arg(args, n_args, 0), &m, &r) || !range(r.line, r.n, &low, &high))
        return pending();
    tn_tensor *x = tn_to(r.line, TN_F64), *least = math_number(low), *most = math_number(high);
    tn_tensor *inside = tn_mul(tn_ge(x, least), tn_le(x, most));
    tn_tensor *share = tn_div(tn_sub(x, least), math_number(high - low));
    tn_tensor *bin = tn_to(tn_floor(tn_mul(share, math_number((double)bins))), TN_I64);
    bin = MATH_CALL(&clamp, tn_value_tensor(bin), tn_float(0), tn_float((double)(bins - 1)));
    tn_tensor *counts = all_of(x, bins, TN_I64, 0);
    return give(outs, tn_to(tn_scatter_add(counts, 0, bin, tn_to(inside, TN_I64)), m.dtype));
}
