/* count.c - which different elements there are, how many, and where.
 *
 * Invariant: elements are different if they are not equal: every NaN is an element of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* A line in an order in which equal elements stand together. */
typedef struct runs {
    tn_tensor *line;   /* [n] */
    tn_tensor *order;  /* i64 [n]: where each comes from; NULL: from its own place */
    tn_tensor *first;  /* bool [n]: begins a run */
    tn_tensor *starts; /* i64 [runs] */
    int64_t n;
} runs;

/* [n] */
static tn_tensor *all_of(tn_tensor *where, int64_t n, tn_dtype dtype, double value) {
    const tn_meta m = {.dtype = dtype, .rank = 1, .sizes = {n}};
    return math_full(&m, value, where);
}

static tn_tensor *joined(tn_tensor *a, tn_tensor *b) {
    return op_cat((tn_tensors){(tn_tensor *[]){a, b}, 2}, 0);
}

/* Along dim 0, from the second on: is it another than the one before? */
static tn_tensor *changes(tn_tensor *t, int64_t n) {
    return tn_ne(math_narrow(t, 0, 1, n - 1), math_narrow(t, 0, 0, n - 1));
}

static void find_runs(runs *r) {
    r->first = all_of(r->line, r->n ? 1 : 0, TN_BOOL, 1);
    if (r->n > 1) r->first = joined(r->first, changes(r->line, r->n));
    r->starts = op_squeeze(tn_nonzero(r->first), tnk_some_int(1));
}

/* For each element of x the number of its run, in x's shape. */
static tn_tensor *run_numbers(const runs *r, const tn_meta *x) {
    tn_tensor *numbers = tn_sub(tn_cumsum(r->first, 0), tnk_scalar_int(1));
    if (r->order) numbers = tn_scatter_add(tn_zeros_like(r->order), 0, r->order, numbers);
    return math_reshape(numbers, x->sizes, x->rank);
}

static tn_tensor *run_lengths(const runs *r) {
    tn_meta m;

    if (!tnk_meta(r->starts, &m) || m.sizes[0] == 0) return r->starts;
    tn_tensor *ends = joined(math_narrow(r->starts, 0, 1, m.sizes[0] - 1),
                             all_of(r->starts, 1, TN_I64, (double)r->n));
    return tn_sub(ends, r->starts);
}

/* Results that nobody asked for are empty. */
static tn_unique_result results(runs *r, const tn_meta *x, bool inverse, bool counts) {
    find_runs(r);
    tn_tensor *numbers = inverse ? run_numbers(r, x) : all_of(r->line, 0, TN_I64, 0);
    tn_tensor *lengths = counts ? run_lengths(r) : all_of(r->line, 0, TN_I64, 0);
    return (tn_unique_result){tn_gather(r->line, 0, r->starts), numbers, lengths};
}

static bool line_of(tn_tensor *x, tn_meta *m, runs *r) {
    if (!tnk_meta(x, m)) return false;
    r->n = math_meta_numel(m);
    r->line = math_reshape(x, &r->n, 1);
    return true;
}

tn_unique_result math_compose_unique(tn_tensor *x, bool sorted, bool return_inverse,
                                     bool return_counts) {
    runs r = {0};
    tn_meta m;

    (void)sorted; /* they are, always */
    if (!line_of(x, &m, &r)) return (tn_unique_result){0};
    const tn_sort_result y = op_sort(r.line, 0, false);
    r.line = y.values, r.order = y.indices;
    return r.order ? results(&r, &m, return_inverse, return_counts) : (tn_unique_result){0};
}

/* For each element of keys [n,m] how many different ones in its column are smaller: i64 [n,m]. */
static tn_tensor *ranks(tn_tensor *keys, int64_t n) {
    const tn_sort_result sorted = op_sort(keys, 0, false);
    tn_meta m;

    if (!tnk_meta(sorted.indices, &m)) return NULL;
    tn_tensor *rank = tn_zeros_like(sorted.indices);
    if (n < 2) return rank;
    m.sizes[0] = 1, m.dtype = TN_BOOL;
    tn_tensor *steps = joined(math_full(&m, 0, keys), changes(sorted.values, n));
    return tn_scatter_add(rank, 0, sorted.indices, tn_cumsum(steps, 0));
}

/* One number per row of [n,m], in the order of the rows: pairs of neighbouring columns become one
 * until one is left. */
static tn_tensor *row_ranks(tn_tensor *rows, int64_t n, int64_t columns) {
    tn_tensor *keys = ranks(rows, n);

    for (; keys && columns > 1; columns = columns / 2 + columns % 2) {
        tn_tensor *pair[2] = {keys, NULL};
        if (columns % 2) {
            const tn_meta column = {.dtype = TN_I64, .rank = 2, .sizes = {n, 1}};
            pair[1] = math_full(&column, 0, keys);
            keys = op_cat((tn_tensors){pair, 2}, 1);
        }
        for (int64_t k = 0; k < 2; k++)
            pair[k] = op_slice(keys, 1, tnk_some_int(k), tnk_no_int(), 2);
        keys = ranks(tn_add(tn_mul(pair[0], tnk_scalar_int(n)), pair[1]), n);
    }
    return math_reshape(keys, &n, 1);
}

/* x's dims with dim first; back[] undoes it. */
static tn_tensor *dim_first(tn_tensor *x, int64_t dim, int32_t rank, int64_t back[TN_MAX_RANK]) {
    int64_t order[TN_MAX_RANK];

    for (int32_t i = 0; i < rank; i++) {
        order[i] = i == 0 ? dim : i <= dim ? i - 1 : i;
        back[order[i]] = i;
    }
    return tn_permute(x, (tn_ints){order, rank});
}

/* Slices of x along dim 0 at index. */
static tn_tensor *taken(tn_tensor *x, tn_tensor *index) {
    tn_meta m, k;

    if (!tnk_meta(x, &m) || !tnk_meta(index, &k)) return NULL;
    m.sizes[0] = k.sizes[0];
    for (int32_t i = 1; i < m.rank; i++) index = tn_unsqueeze(index, -1);
    return tn_gather(x, 0, tn_expand(index, (tn_ints){m.sizes, m.rank}));
}

/* unique of the slices' ranks */
tn_unique_dim_result math_compose_unique_dim(tn_tensor *x, int64_t dim, bool sorted,
                                             bool return_inverse, bool return_counts) {
    int64_t back[TN_MAX_RANK] = {0};
    const tn_unique_dim_result nothing = {0};
    runs r = {0};
    tn_meta m;

    (void)sorted; /* they are, always */
    if (!tnk_meta(x, &m)) return nothing;
    x = dim_first(x, math_from_end(dim, m.rank), m.rank, back);
    if (!tnk_meta(x, &m)) return nothing;
    tn_meta slice = m, line = {.rank = 1, .sizes = {m.sizes[0]}};
    slice.sizes[0] = 1;
    r.n = m.sizes[0];
    const int64_t columns = math_meta_numel(&slice);
    if (columns == 0) tnk_raise(TN_ERR_SHAPE, "x has slices of size 0: they cannot be told apart");
    if (columns == 0) return nothing;
    tn_tensor *rows = math_reshape(x, (int64_t[]){r.n, columns}, 2);
    const tn_sort_result y = op_sort(row_ranks(rows, r.n, columns), 0, false);
    r.line = y.values, r.order = y.indices;
    if (!r.order) return nothing;
    const tn_unique_result u = results(&r, &line, return_inverse, return_counts);
    tn_tensor *values = taken(x, tn_gather(r.order, 0, r.starts));
    return (tn_unique_dim_result){tn_permute(values, (tn_ints){back, m.rank}), u.inverse, u.counts};
}

tn_unique_consecutive_result math_compose_unique_consecutive(tn_tensor *x, bool return_inverse,
                                                             bool return_counts) {
    runs r = {0};
    tn_meta m;

    if (!line_of(x, &m, &r)) return (tn_unique_consecutive_result){0};
    const tn_unique_result u = results(&r, &m, return_inverse, return_counts);
    return (tn_unique_consecutive_result){u.values, u.inverse, u.counts};
}

/* The smallest and largest element of x, as a dtype of 8 bytes; false: an error is pending. */
static bool bounds(tn_tensor *x, tn_dtype dtype, void *low, void *high) {
    tn_tensor *least = tn_to(tn_min(x), dtype), *most = tn_to(tn_max(x), dtype);

    return most && tn_plugin_ops->read(least, low, 8) == TN_OK &&
           tn_plugin_ops->read(most, high, 8) == TN_OK;
}

tn_tensor *math_compose_bincount(tn_tensor *x, tn_tensor *weights, int64_t minlength) {
    int64_t low = 0, high = -1;
    tn_meta m;

    if (!tnk_meta(x, &m) || (m.sizes[0] > 0 && !bounds(x, TN_I64, &low, &high))) return NULL;
    if (low < 0)
        return tnk_raise_null(TN_ERR_INDEX, "x holds %lld: only numbers from 0 on can be counted",
                              (long long)low);
    if (high == INT64_MAX)
        return tnk_raise_null(TN_ERR_OVERFLOW, "x holds a number too large to count up to");
    const int64_t n = high + 1 > minlength ? high + 1 : minlength;
    tn_tensor *ones = weights ? weights : all_of(x, m.sizes[0], TN_I64, 1);
    if (!tnk_meta(ones, &m)) return NULL;
    if (weights && !tn_dtype_is(m.dtype, TN_F32)) m.dtype = TN_F64;
    return tn_scatter_add(all_of(x, n, m.dtype, 0), 0, tn_to(x, TN_I64), tn_to(ones, m.dtype));
}

/* Of x, or as asked for; equal ones are moved apart. False: failed. */
static bool range(tn_tensor *x, int64_t n, double *low, double *high) {
    if (*low == *high && n > 0 && !bounds(x, TN_F64, low, high)) return false;
    if (*low == *high) *low -= 1, *high += 1;
    if (*low < *high && isfinite(*high - *low)) return true;
    tnk_raise(TN_ERR_INVALID,
              "the range %g to %g cannot be cut into parts: it must be finite, and max above min",
              *low, *high);
    return false;
}

tn_tensor *math_compose_histc(tn_tensor *x, int64_t bins, double min, double max) {
    runs r = {0};
    tn_meta m;

    if (!line_of(x, &m, &r) || !range(r.line, r.n, &min, &max)) return NULL;
    x = tn_to(r.line, TN_F64);
    tn_tensor *least = tnk_scalar(min), *most = tnk_scalar(max);
    tn_tensor *inside = tn_mul(tn_ge(x, least), tn_le(x, most));
    tn_tensor *share = tn_div(tn_sub(x, least), tnk_scalar(max - min));
    tn_tensor *bin = tn_to(tn_floor(tn_mul(share, tnk_scalar((double)bins))), TN_I64);
    bin = op_clamp(bin, tn_int(0), tn_int(bins - 1));
    tn_tensor *counts = all_of(x, bins, TN_I64, 0);
    return tn_to(tn_scatter_add(counts, 0, bin, tn_to(inside, TN_I64)), m.dtype);
}

tn_status math_shape_scalar(tn_infer *in) {
    in->outs[0].rank = 0;
    return TN_OK;
}

tn_status math_shape_nonzero_fill(tn_infer *in) {
    const tn_view *x = view_of(in, 0);

    if (!x || in->n_args < 2) return tnk_fail_shape(in, TN_ERR_INVALID, "x or n is missing");
    return math_set_sizes(in, &in->outs[0], (int64_t[]){in->args[1].i, x->rank}, 2, "result");
}

tn_tensor *math_compose_nonzero(tn_tensor *x) {
    tn_tensor *count = tn_nonzero_count(x);
    int64_t n = 0;

    if (!count || tn_plugin_ops->read(count, &n, sizeof n) != TN_OK) return NULL;
    return tn_nonzero_fill(x, n);
}
