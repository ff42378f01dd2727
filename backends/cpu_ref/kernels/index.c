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
    int64_t bad; /* lowest position; INT64_MAX: none */
} index_job;

static void check_range(void *arg, int64_t begin, int64_t end) {
    index_job *j = arg;
    int64_t at[REF_BLOCK];
    ref_walk w;
    ref_walk_start(&w, 1, &j->index, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        ref_walk_load_i64(&w, 0, n, at);
        for (int64_t k = 0; k < n; k++) {
            if (at[k] >= j->low && at[k] < j->limit) continue;
            tnk_note_lowest(&j->bad, begin + k);
            return;
        }
    }
}

static tn_status check_index(tn_call *c, const char *op, const char *name, const tn_view *index,
                             int64_t low, int64_t limit) {
    index_job j = {index, low, limit, INT64_MAX};
    tnk_parallel(c, tn_view_numel(index), 1, check_range, &j);
    if (j.bad == INT64_MAX) return TN_OK;
    char position[TNK_LIST_BYTES];
    int64_t value;
    ref_walk w;
    ref_walk_start(&w, 1, &index, j.bad);
    ref_walk_load_i64(&w, 0, 1, &value);
    if (c->device_error) return tnk_fail_later(c, TN_ERR_INDEX, value, limit);
    return tnk_fail(c, TN_ERR_INDEX, "%s: %s%s is %lld, must be at least %lld and below %lld", op,
                    name, tnk_position_text(index->sizes, index->rank, j.bad, position),
                    (long long)value, (long long)low, (long long)limit);
}

tn_status ref_check_index(tn_call *c, const char *op, const char *name, const tn_view *index,
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
    int64_t at[REF_BLOCK];
    ref_walk w;
    ref_walk_start(&w, 2, j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        ref_walk_load_i64(&w, 0, n, at);
        for (int64_t k = 0; k < n; k++) at[k] += at[k] < 0 ? j->size : 0;
        ref_walk_store_i64(&w, 1, n, at);
    }
}

tn_status ref_wrap_index(const void *plan, tn_call *c) {
    (void)plan;
    wrap_job j = {{tnk_arg(c, 0), tnk_out(c, 0)}, c->args[1].i};
    const tn_status status = check_index(c, "wrap_index", "index", j.views[0], -j.size, j.size);
    if (status == TN_OK) tnk_parallel(c, tn_view_numel(j.views[0]), 1, wrap_range, &j);
    return status;
}

/* ---- gather ---------------------------------------------------------------------------------- */

typedef struct gather_job {
    ref_along from;
    const tn_view *views[3]; /* index, y, x */
} gather_job;

static void gather_range(void *arg, int64_t begin, int64_t end) {
    const gather_job *j = arg;
    const size_t bytes = (size_t)tnk_item_bytes(j->views[1]);
    ref_walk w;
    ref_walk_start(&w, 3, j->views, begin);
    for (; begin < end; begin++, ref_walk_next(&w, 1)) {
        int64_t at;
        ref_walk_load_i64(&w, 0, 1, &at);
        memcpy(ref_walk_at(&w, 1), tnk_at(&j->from.x, w.offset[2] + at * j->from.stride), bytes);
    }
}

tn_status ref_gather(const void *plan, tn_call *c) {
    (void)plan;
    tn_view room[2];
    const tn_view *index = ref_with_dims(tnk_arg(c, 2), &room[0]);
    gather_job j = {.views = {index, ref_with_dims(tnk_out(c, 0), &room[1]), &j.from.x}};
    ref_along_dim(tnk_arg(c, 0), c->args[1].i, &j.from);
    const tn_status status = ref_check_index(c, "gather", "index", tnk_arg(c, 2), j.from.limit);
    if (status == TN_OK) tnk_parallel(c, tn_view_numel(index), 1, gather_range, &j);
    return status;
}

/* ---- nonzero --------------------------------------------------------------------------------- */

/* out[k]: is element k of the run nonzero? NaN is. */
static void load_nonzero(const ref_walk *w, int64_t n, bool *out) {
    double f[REF_BLOCK];
    int64_t i[REF_BLOCK];
    if (ref_is_float(tnk_dtype_index(w->views[0]))) {
        ref_walk_load_f64(w, 0, n, f);
        for (int64_t k = 0; k < n; k++) out[k] = f[k] != 0;
    } else {
        ref_walk_load_i64(w, 0, n, i);
        for (int64_t k = 0; k < n; k++) out[k] = i[k] != 0;
    }
}

static void count_range(void *arg, int64_t begin, int64_t end, void *partial) {
    int64_t *count = partial;
    const tn_view *x = arg;
    bool nonzero[REF_BLOCK];
    ref_walk w;
    ref_walk_start(&w, 1, &x, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        load_nonzero(&w, n, nonzero);
        for (int64_t k = 0; k < n; k++) *count += nonzero[k];
    }
}

static void count_join(void *arg, void *left, const void *right) {
    (void)arg;
    *(int64_t *)left += *(const int64_t *)right;
}

tn_status ref_nonzero_count(const void *plan, tn_call *c) {
    (void)plan;
    int64_t count = 0;
    tn_view x = *tnk_arg(c, 0);
    const tn_status status = tn_plugin_host->parallel_reduce(tn_plugin_self, tn_view_numel(&x),
                                                             TNK_GRAIN, c->max_threads, count_range,
                                                             count_join, &x, &count, sizeof count);
    if (status != TN_OK)
        return tnk_fail(c, status, "nonzero_count: could not combine partial counts");
    memcpy(tnk_at(tnk_out(c, 0), 0), &count, sizeof count);
    return TN_OK;
}

/* Writes the indices of x's nonzero elements to y (rows, rank); returns how many there are. */
static int64_t fill_nonzero(const tn_view *x, const tn_view *y, int64_t rows) {
    const int64_t numel = tn_view_numel(x);
    int64_t found = 0;
    bool nonzero;
    ref_walk w;
    if (numel == 0) return 0;
    ref_walk_start(&w, 1, &x, 0);
    for (int64_t k = 0; k < numel; k++, ref_walk_next(&w, 1)) {
        load_nonzero(&w, 1, &nonzero);
        if (!nonzero) continue;
        for (int32_t d = 0; d < x->rank && found < rows; d++)
            memcpy(tnk_at(y, found * x->rank + d), &w.index[d], sizeof w.index[d]);
        found++;
    }
    return found;
}

tn_status ref_nonzero_fill(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *y = tnk_out(c, 0);
    const int64_t rows = y->sizes[0], found = fill_nonzero(tnk_arg(c, 0), y, rows);
    if (found == rows) return TN_OK;
    return tnk_fail(c, TN_ERR_INVALID,
                    "nonzero_fill: n is %lld, but %lld elements are not 0; pass nonzero_count(x)",
                    (long long)rows, (long long)found);
}
