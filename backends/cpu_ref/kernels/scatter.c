/* scatter.c - scatter, scatter_add, scatter_reduce, fold: what an index, or a window, spreads.
 *
 * Invariant: all indices are checked before anything is written; elements that meet are taken in
 * row-major order of index, so of those that scatter puts in one place the last stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/along.h"
#include "backends/cpu_ref/kernels.h"

/* ---- scatter --------------------------------------------------------------------------------- */

static void copy_elements(const tn_view *from, const tn_view *to) {
    const tn_view *const views[2] = {from, to};
    const int64_t numel = tn_view_numel(from);
    ref_walk w;
    if (numel > 0) ref_walk_start(&w, 2, views, 0);
    for (int64_t k = 0; k < numel; k++, ref_walk_next(&w, 1))
        memmove(ref_walk_at(&w, 1), ref_walk_at(&w, 0), (size_t)tnk_item_bytes(from));
}

tn_status ref_scatter(const void *plan, tn_call *c) {
    (void)plan;
    tn_view room[2];
    const tn_view *index = ref_with_dims(tnk_arg(c, 2), &room[0]);
    const tn_view *src = ref_with_dims(tnk_arg(c, 3), &room[1]);
    const int64_t numel = tn_view_numel(index);
    ref_along to;
    ref_along_dim(tnk_out(c, 0), c->args[1].i, &to);
    const tn_status status = ref_check_index(c, "scatter", "index", tnk_arg(c, 2), to.limit);
    if (status != TN_OK) return status;
    copy_elements(tnk_arg(c, 0), tnk_out(c, 0)); /* onto itself, in place */

    const tn_view *const views[3] = {index, src, &to.x};
    ref_walk w;
    if (numel > 0) ref_walk_start(&w, 3, views, 0);
    for (int64_t k = 0, at; k < numel; k++, ref_walk_next(&w, 1)) {
        ref_walk_load_i64(&w, 0, 1, &at);
        memcpy(tnk_at(&to.x, w.offset[2] + at * to.stride), ref_walk_at(&w, 1),
               (size_t)tnk_item_bytes(src));
    }
    return TN_OK;
}

/* ---- scatter_add, scatter_reduce: one cell in the workspace for each element of x ------------ */

typedef struct cell {
    union {
        double f;
        uint64_t i; /* wraps */
    };
    int64_t count; /* of what came together here */
} cell;

tn_status ref_scatter_plan(tn_call *c, tn_plan *plan) {
    const uint64_t n = (uint64_t)tn_view_numel(tnk_arg(c, 0));
    if (__builtin_mul_overflow(n, sizeof(cell), &plan->workspace_bytes))
        return tnk_fail(c, TN_ERR_OVERFLOW, "room for %llu sums overflows", (unsigned long long)n);
    return TN_OK;
}

/* Cells from a view, or a view from cells, in row-major order. */
static void move_cells(cell *cells, const tn_view *v, bool store) {
    const int64_t numel = tn_view_numel(v);
    const bool is_float = ref_is_float(tnk_dtype_index(v));
    ref_walk w;
    if (numel > 0) ref_walk_start(&w, 1, &v, 0);
    for (int64_t k = 0; k < numel; k++, ref_walk_next(&w, 1)) {
        if (is_float && store)
            ref_walk_store_f64(&w, 0, 1, &cells[k].f);
        else if (is_float)
            ref_walk_load_f64(&w, 0, 1, &cells[k].f);
        else if (store)
            ref_walk_store_i64(&w, 0, 1, (const int64_t *)&cells[k].i);
        else
            ref_walk_load_i64(&w, 0, 1, (int64_t *)&cells[k].i);
    }
}

typedef enum kind { SUM, PROD, MEAN, AMAX, AMIN } kind;

static kind kind_of(const tn_value *word) {
    static const char *const words[] = {"sum", "prod", "mean", "amax", "amin"};
    int k = SUM;
    while (k < AMIN && !(strlen(words[k]) == word->aux && !memcmp(words[k], word->str, word->aux)))
        k++;
    return (kind)k; /* the shape rule has refused other words */
}

static double join_f64(kind k, double a, double b) {
    switch (k) {
    case SUM:
    case MEAN:
        return a + b;
    case PROD:
        return a * b;
    case AMAX:
        return b != b || b > a ? b : a; /* a NaN stays */
    case AMIN:
        break;
    }
    return b != b || b < a ? b : a;
}

static uint64_t join_i64(kind k, uint64_t a, uint64_t b) {
    switch (k) {
    case SUM:
    case MEAN:
        return a + b;
    case PROD:
        return a * b;
    case AMAX:
        return (int64_t)b > (int64_t)a ? b : a;
    case AMIN:
        break;
    }
    return (int64_t)b < (int64_t)a ? b : a;
}

static void join_cells(kind k, const ref_along *to, const tn_view *index, const tn_view *src) {
    const tn_view *const views[3] = {index, src, &to->x};
    const int64_t numel = tn_view_numel(index);
    const bool is_float = ref_is_float(tnk_dtype_index(src));
    cell *cells = to->x.data, x;
    ref_walk w;
    if (numel > 0) ref_walk_start(&w, 3, views, 0);
    for (int64_t n = 0, at; n < numel; n++, ref_walk_next(&w, 1)) {
        ref_walk_load_i64(&w, 0, 1, &at);
        cell *y = cells + w.offset[2] + at * to->stride;
        if (is_float)
            ref_walk_load_f64(&w, 1, 1, &x.f), y->f = y->count ? join_f64(k, y->f, x.f) : x.f;
        else
            ref_walk_load_i64(&w, 1, 1, (int64_t *)&x.i),
                y->i = y->count ? join_i64(k, y->i, x.i) : x.i;
        y->count++;
    }
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && a < 0); /* b > 0 */ }

/* Sums become means, those of integers in their own width and rounded down. */
static void divide_cells(cell *cells, const tn_view *y) {
    const int64_t numel = tn_view_numel(y);
    const bool is_float = ref_is_float(tnk_dtype_index(y));
    if (!is_float) move_cells(cells, y, true), move_cells(cells, y, false);
    for (cell *at = cells; at < cells + numel; at++) {
        if (at->count == 0) continue;
        if (is_float)
            at->f /= (double)at->count;
        else
            at->i = (uint64_t)floor_div((int64_t)at->i, at->count);
    }
}

static tn_status reduce_into(tn_call *c, const char *op, kind k, bool include_self) {
    int64_t strides[TN_MAX_RANK], step = 1;
    tn_view room[2];
    const tn_view *index = ref_with_dims(tnk_arg(c, 2), &room[0]);
    const tn_view *src = ref_with_dims(tnk_arg(c, 3), &room[1]);
    tn_view cells = *tnk_arg(c, 0); /* contiguous, of x's sizes, in the workspace */
    for (int32_t d = cells.rank - 1; d >= 0; step *= cells.sizes[d--]) strides[d] = step;
    cells.data = c->workspace, cells.byte_offset = 0, cells.strides = strides;

    ref_along to;
    ref_along_dim(&cells, c->args[1].i, &to);
    const tn_status status = ref_check_index(c, op, "index", tnk_arg(c, 2), to.limit);
    if (status != TN_OK) return status;
    cell *all = c->workspace;
    const int64_t numel = tn_view_numel(&cells);
    for (int64_t i = 0; i < numel; i++) all[i].count = include_self;
    move_cells(all, tnk_arg(c, 0), false);
    join_cells(k, &to, index, src);
    if (k == MEAN) divide_cells(all, tnk_out(c, 0));
    move_cells(all, tnk_out(c, 0), true);
    return TN_OK;
}

tn_status ref_scatter_add(const void *plan, tn_call *c) {
    (void)plan;
    return reduce_into(c, "scatter_add", SUM, true);
}

tn_status ref_scatter_reduce(const void *plan, tn_call *c) {
    (void)plan;
    return reduce_into(c, "scatter_reduce", kind_of(&c->args[4]), tnk_flag(&c->args[5]));
}

/* ---- fold: y[p] = the sum of x[w, k] over all windows w and places k in them, w step + k = p - */

typedef struct fold_job {
    const tn_view *x, *y; /* x: y's dims, those along dim counting windows; then places */
    int64_t dim, step;
} fold_job;

static void fold_range(void *arg, int64_t begin, int64_t end) {
    const fold_job *j = arg;
    const int64_t windows = j->x->sizes[j->dim], size = j->x->sizes[j->y->rank];
    const int64_t across = j->x->strides[j->dim], within = j->x->strides[j->y->rank];
    const bool is_float = ref_is_float(tnk_dtype_index(j->y));
    ref_walk w;
    ref_walk_start(&w, 1, &j->y, begin);
    for (; begin < end; begin++, ref_walk_next(&w, 1)) {
        const int64_t p = w.index[j->dim], late = p - size + 1;
        int64_t base = 0;
        for (int32_t d = 0; d < w.rank; d++)
            if (d != j->dim) base += w.index[d] * j->x->strides[d];
        double f = 0, one;
        uint64_t i = 0, whole;
        const int64_t first = late > 0 ? (late - 1) / j->step + 1 : 0;
        for (int64_t n = first; n < windows && n <= p / j->step; n++) {
            const void *at = tnk_at(j->x, base + n * across + (p - n * j->step) * within);
            if (is_float)
                ref_load_f64(tnk_dtype_index(j->x), at, 1, 1, &one), f += one;
            else
                ref_load_i64(tnk_dtype_index(j->x), at, 1, 1, (int64_t *)&whole), i += whole;
        }
        if (is_float)
            ref_walk_store_f64(&w, 0, 1, &f);
        else
            ref_walk_store_i64(&w, 0, 1, (const int64_t *)&i);
    }
}

tn_status ref_fold(const void *plan, tn_call *c) {
    (void)plan;
    fold_job j = {tnk_arg(c, 0), tnk_out(c, 0), c->args[2].i, c->args[4].i};
    tnk_parallel(c, tn_view_numel(j.y), 1, fold_range, &j);
    return TN_OK;
}
