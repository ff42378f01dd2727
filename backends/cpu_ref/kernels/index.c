/* index.c - the check of indices; gather, wrap_index, nonzero_count, nonzero_fill.
 *
 * Invariant: no element is touched through an index before that index was checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/along.h"
#include "backends/cpu_ref/kernels.h"

/* ---- Indexing along one dim ------------------------------------------------------------------ */

typedef struct index_job {
    const tn_view *index;
    int64_t low, limit;
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
            if (at[k] >= j->low && at[k] < j->limit) continue;
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

static tn_status check_index(tn_call *c, const char *op, const char *name, const tn_view *index,
                             int64_t low, int64_t limit) {
    index_job j = {index, low, limit, INT64_MAX};
    tni_parallel(c, tn_view_numel(index), 1, check_range, &j);
    if (j.bad == INT64_MAX) return TN_OK;
    char position[128];
    int64_t value;
    tni_walk w;
    tni_walk_start(&w, 1, &index, j.bad);
    tni_walk_load_i64(&w, 0, 1, &value);
    print_position(&w, position, sizeof position);
    return tni_fail(c, TN_ERR_INDEX, "%s: %s%s is %lld, must be at least %lld and below %lld", op,
                    name, position, (long long)value, (long long)low, (long long)limit);
}

tn_status tni_ref_check_index(tn_call *c, const char *op, const char *name, const tn_view *index,
                              int64_t limit) {
    return check_index(c, op, name, index, 0, limit);
}

/* ---- wrap_index ------------------------------------------------------------------------------ */

typedef struct wrap_job {
    const tn_view *views[2]; /* index, y */
    int64_t size;
} wrap_job;

static void wrap_range(void *arg, int64_t begin, int64_t end) {
    const wrap_job *j = arg;
    int64_t at[TNI_BLOCK];
    tni_walk w;
    tni_walk_start(&w, 2, j->views, begin);
    for (int64_t n; begin < end; begin += n, tni_walk_next(&w, n)) {
        n = tni_walk_run(&w, tni_min(TNI_BLOCK, end - begin));
        tni_walk_load_i64(&w, 0, n, at);
        for (int64_t k = 0; k < n; k++) at[k] += at[k] < 0 ? j->size : 0;
        tni_walk_store_i64(&w, 1, n, at);
    }
}

tn_status tni_ref_wrap_index(const void *plan, tn_call *c) {
    (void)plan;
    wrap_job j = {{tni_arg(c, 0), tni_out(c, 0)}, c->args[1].i};
    const tn_status status = check_index(c, "wrap_index", "index", j.views[0], -j.size, j.size);
    if (status == TN_OK) tni_parallel(c, tn_view_numel(j.views[0]), 1, wrap_range, &j);
    return status;
}

/* ---- gather ---------------------------------------------------------------------------------- */

typedef struct gather_job {
    tni_along from;
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
    tn_view room[2];
    const tn_view *index = tni_with_dims(tni_arg(c, 2), &room[0]);
    gather_job j = {.views = {index, tni_with_dims(tni_out(c, 0), &room[1]), &j.from.x}};
    tni_along_dim(tni_arg(c, 0), c->args[1].i, &j.from);
    const tn_status status = tni_ref_check_index(c, "gather", "index", tni_arg(c, 2), j.from.limit);
    if (status == TN_OK) tni_parallel(c, tn_view_numel(index), 1, gather_range, &j);
    return status;
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
