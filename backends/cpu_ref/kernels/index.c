/* index.c - gather, scatter_add, nonzero_count, nonzero_fill.
 *
 * Invariant: no element is touched through an index before that index was checked; scatter_add
 * checks all of them before it writes anything, and adds in row-major order of index.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* ---- Indexing along one dim ------------------------------------------------------------------ */

/* x as seen from index's elements: it does not move along dim, where the index says how far. */
typedef struct along {
    tn_view x;
    int64_t strides[TN_MAX_RANK];
    int64_t limit, stride; /* size and stride of x along dim */
} along;

static void along_dim(const tn_view *x, int64_t dim, along *out) {
    const bool scalar = x->rank == 0; /* counts as one dim of size 1 */
    out->x = *x;
    for (int32_t d = 0; d < x->rank; d++) out->strides[d] = d == dim ? 0 : x->strides[d];
    out->x.strides = out->strides;
    out->limit = scalar ? 1 : x->sizes[dim];
    out->stride = scalar ? 0 : x->strides[dim];
}

typedef struct index_job {
    const tn_view *index;
    int64_t limit;
    tni_lowest bad;
} index_job;

static void check_range(void *arg, int64_t begin, int64_t end) {
    index_job *j = arg;
    int64_t at[TNI_BLOCK];
    tni_walk w;
    tni_walk_start(&w, 1, &j->index, begin);
    for (int64_t n; begin < end; begin += n, tni_walk_next(&w, n)) {
        n = tni_walk_run(&w, tni_min(TNI_BLOCK, end - begin));
        tni_walk_load_i64(&w, 0, n, at);
        for (int64_t k = 0; k < n; k++) {
            if (at[k] >= 0 && at[k] < j->limit) continue;
            tni_note_lowest(&j->bad, begin + k);
            return;
        }
    }
}

/* "[1, 2]" */
static void print_position(const tni_walk *w, char *out, size_t capacity) {
    size_t used = (size_t)snprintf(out, capacity, "[");
    for (int32_t d = 0; d < w->rank && used < capacity; d++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%lld", d ? ", " : "",
                                 (long long)w->index[d]);
    if (used < capacity) snprintf(out + used, capacity - used, "]");
}

tn_status tni_ref_check_index(tn_call *c, const char *op, const char *name, const tn_view *index,
                              int64_t limit) {
    index_job j = {index, limit, INT64_MAX};
    tni_parallel(c, tn_view_numel(index), 1, check_range, &j);
    if (j.bad == INT64_MAX) return TN_OK;
    char position[128];
    int64_t value;
    tni_walk w;
    tni_walk_start(&w, 1, &index, j.bad);
    tni_walk_load_i64(&w, 0, 1, &value);
    print_position(&w, position, sizeof position);
    return tni_fail(c, TN_ERR_INDEX, "%s: %s%s is %lld, must be at least 0 and below %lld", op,
                    name, position, (long long)value, (long long)limit);
}

/* ---- gather ---------------------------------------------------------------------------------- */

typedef struct gather_job {
    along from;
    const tn_view *views[3]; /* index, y, x */
} gather_job;

static void gather_range(void *arg, int64_t begin, int64_t end) {
    const gather_job *j = arg;
    const size_t bytes = (size_t)tni_item_bytes(j->views[1]);
    tni_walk w;
    tni_walk_start(&w, 3, j->views, begin);
    for (; begin < end; begin++, tni_walk_next(&w, 1)) {
        int64_t at;
        tni_walk_load_i64(&w, 0, 1, &at);
        memcpy(tni_walk_at(&w, 1), tni_view_at(&j->from.x, w.offset[2] + at * j->from.stride),
               bytes);
    }
}

tn_status tni_ref_gather(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *index = tni_arg(c, 2);
    gather_job j = {.views = {index, tni_out(c, 0), &j.from.x}};
    along_dim(tni_arg(c, 0), c->args[1].i, &j.from);
    const tn_status status = tni_ref_check_index(c, "gather", "index", index, j.from.limit);
    if (status == TN_OK) tni_parallel(c, tn_view_numel(index), 1, gather_range, &j);
    return status;
}

/* ---- scatter_add: sums in the workspace, one 8-byte cell per element of x -------------------- */

typedef union cell {
    double f;
    uint64_t i; /* wraps */
} cell;

tn_status tni_ref_scatter_add_plan(tn_call *c, tn_plan *plan) {
    const uint64_t n = (uint64_t)tn_view_numel(tni_arg(c, 0));
    if (__builtin_mul_overflow(n, sizeof(cell), &plan->workspace_bytes))
        return tni_fail(c, TN_ERR_OVERFLOW, "scatter_add: room for %llu sums overflows",
                        (unsigned long long)n);
    return TN_OK;
}

/* Cells from a view, or a view from cells, in row-major order. */
static void move_cells(cell *cells, const tn_view *v, bool store) {
    const int64_t numel = tn_view_numel(v);
    const bool is_float = tni_is_float(tni_ix(v));
    tni_walk w;
    if (numel > 0) tni_walk_start(&w, 1, &v, 0);
    for (int64_t n, at = 0; at < numel; at += n, tni_walk_next(&w, n)) {
        n = tni_walk_run(&w, numel);
        if (is_float && store)
            tni_walk_store_f64(&w, 0, n, &cells[at].f);
        else if (is_float)
            tni_walk_load_f64(&w, 0, n, &cells[at].f);
        else if (store)
            tni_walk_store_i64(&w, 0, n, (const int64_t *)&cells[at].i);
        else
            tni_walk_load_i64(&w, 0, n, (int64_t *)&cells[at].i);
    }
}

static void add_to_cells(const along *to, const tn_view *index, const tn_view *src) {
    const tn_view *const views[3] = {index, src, &to->x};
    const int64_t numel = tn_view_numel(index);
    const bool is_float = tni_is_float(tni_ix(src));
    cell *cells = to->x.data, x;
    tni_walk w;
    if (numel == 0) return;
    tni_walk_start(&w, 3, views, 0);
    for (int64_t k = 0; k < numel; k++, tni_walk_next(&w, 1)) {
        int64_t at;
        tni_walk_load_i64(&w, 0, 1, &at);
        cell *sum = cells + w.offset[2] + at * to->stride;
        if (is_float)
            tni_walk_load_f64(&w, 1, 1, &x.f), sum->f += x.f;
        else
            tni_walk_load_i64(&w, 1, 1, (int64_t *)&x.i), sum->i += x.i;
    }
}

tn_status tni_ref_scatter_add(const void *plan, tn_call *c) {
    (void)plan;
    int64_t strides[TN_MAX_RANK], step = 1;
    tn_view cells = *tni_arg(c, 0); /* contiguous, of x's sizes, in the workspace */
    for (int32_t d = cells.rank - 1; d >= 0; step *= cells.sizes[d--]) strides[d] = step;
    cells.data = c->workspace, cells.byte_offset = 0, cells.strides = strides;

    along to;
    along_dim(&cells, c->args[1].i, &to);
    const tn_status status =
        tni_ref_check_index(c, "scatter_add", "index", tni_arg(c, 2), to.limit);
    if (status != TN_OK) return status;
    move_cells(c->workspace, tni_arg(c, 0), false);
    add_to_cells(&to, tni_arg(c, 2), tni_arg(c, 3));
    move_cells(c->workspace, tni_out(c, 0), true);
    return TN_OK;
}

/* ---- nonzero --------------------------------------------------------------------------------- */

/* out[k]: is element k of the run nonzero? NaN is. */
static void load_nonzero(const tni_walk *w, int64_t n, bool *out) {
    double f[TNI_BLOCK];
    int64_t i[TNI_BLOCK];
    if (tni_is_float(tni_ix(w->views[0]))) {
        tni_walk_load_f64(w, 0, n, f);
        for (int64_t k = 0; k < n; k++) out[k] = f[k] != 0;
    } else {
        tni_walk_load_i64(w, 0, n, i);
        for (int64_t k = 0; k < n; k++) out[k] = i[k] != 0;
    }
}

static void count_range(void *arg, int64_t begin, int64_t end, void *partial) {
    int64_t *count = partial;
    const tn_view *x = arg;
    bool nonzero[TNI_BLOCK];
    tni_walk w;
    tni_walk_start(&w, 1, &x, begin);
    for (int64_t n; begin < end; begin += n, tni_walk_next(&w, n)) {
        n = tni_walk_run(&w, tni_min(TNI_BLOCK, end - begin));
        load_nonzero(&w, n, nonzero);
        for (int64_t k = 0; k < n; k++) *count += nonzero[k];
    }
}

static void count_join(void *arg, void *left, const void *right) {
    (void)arg;
    *(int64_t *)left += *(const int64_t *)right;
}

tn_status tni_ref_nonzero_count(const void *plan, tn_call *c) {
    (void)plan;
    int64_t count = 0;
    tn_view x = *tni_arg(c, 0);
    const tn_status status = tn_plugin_host->parallel_reduce(tn_plugin_self, tn_view_numel(&x),
                                                             TNI_GRAIN, c->max_threads, count_range,
                                                             count_join, &x, &count, sizeof count);
    if (status != TN_OK)
        return tni_fail(c, status, "nonzero_count: could not combine partial counts");
    memcpy(tni_view_at(tni_out(c, 0), 0), &count, sizeof count);
    return TN_OK;
}

/* Writes the indices of x's nonzero elements to y (rows, rank); returns how many there are. */
static int64_t fill_nonzero(const tn_view *x, const tn_view *y, int64_t rows) {
    const int64_t numel = tn_view_numel(x);
    int64_t found = 0;
    bool nonzero;
    tni_walk w;
    if (numel == 0) return 0;
    tni_walk_start(&w, 1, &x, 0);
    for (int64_t k = 0; k < numel; k++, tni_walk_next(&w, 1)) {
        load_nonzero(&w, 1, &nonzero);
        if (!nonzero) continue;
        for (int32_t d = 0; d < x->rank && found < rows; d++)
            memcpy(tni_view_at(y, found * x->rank + d), &w.index[d], sizeof w.index[d]);
        found++;
    }
    return found;
}

tn_status tni_ref_nonzero_fill(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *y = tni_out(c, 0);
    const int64_t rows = y->sizes[0], found = fill_nonzero(tni_arg(c, 0), y, rows);
    if (found == rows) return TN_OK;
    return tni_fail(c, TN_ERR_INVALID,
                    "nonzero_fill: n is %lld, but %lld elements are not 0; pass nonzero_count(x)",
                    (long long)rows, (long long)found);
}
