/* reduce.c - sum.dim, amax, amin over [outer, n, inner].
 *
 * Invariant: where n is cut, and in what order partial results meet, follows from the shape alone.
 * A row longer than TNI_GRAIN, or few columns under many rows, are cut along n; all else is not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <math.h>
#include <string.h>

enum {
    WIDE_TILE = 256,  /* columns done together when n is not cut */
    NARROW_TILE = 32, /* ... when it is: a partial is 256 bytes */
    LONG_COLUMN = 4096
};

typedef struct job {
    int kind, wide;
    const tn_view *x, *y;
    int64_t n, inner, tiles; /* tiles: of WIDE_TILE columns per outer */
    int64_t element, cols;   /* cut along n: first element of x, columns */
} job;

static double start_value(int kind) {
    return kind == TNI_SUM ? 0 : kind == TNI_MAX ? -(double)INFINITY : (double)INFINITY;
}

static double combine(int kind, double a, double b) {
    if (kind == TNI_SUM) return a + b;
    const bool keep = kind == TNI_MAX ? a >= b : a <= b;
    return keep || isnan(a) ? a : b;
}

static void put(const job *j, int64_t at, const double *v, int64_t n) {
    if (j->wide)
        memcpy(tni_at(j->y, at), v, (size_t)n * sizeof *v);
    else
        for (int64_t i = 0; i < n; i++) ((float *)j->y->data)[at + i] = (float)v[i];
}

static void rows_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t o = begin; o < end; o++) {
        const double v = tni_vec->reduce_row[j->kind][j->wide](tni_at(j->x, o * j->n), j->n);
        put(j, o, &v, 1);
    }
}

static void tiles_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    double acc[WIDE_TILE];
    for (int64_t t = begin; t < end; t++) {
        const int64_t o = t / j->tiles, first = t % j->tiles * WIDE_TILE;
        const int64_t cols = tni_min(WIDE_TILE, j->inner - first);
        for (int64_t i = 0; i < cols; i++) acc[i] = start_value(j->kind);
        tni_vec->reduce_cols[j->kind][j->wide](tni_at(j->x, o * j->n * j->inner + first), j->n,
                                               j->inner, cols, acc);
        put(j, o * j->inner + first, acc, cols);
    }
}

static void piece_range(void *arg, int64_t begin, int64_t end, void *partial) {
    const job *j = arg;
    double *acc = partial;
    const void *x = tni_at(j->x, j->element + begin * j->inner);
    if (j->inner == 1) {
        *acc = tni_vec->reduce_row[j->kind][j->wide](x, end - begin);
        return;
    }
    for (int64_t i = 0; i < j->cols; i++) acc[i] = start_value(j->kind);
    tni_vec->reduce_cols[j->kind][j->wide](x, end - begin, j->inner, j->cols, acc);
}

static void combine_pieces(void *arg, void *left, const void *right) {
    const job *j = arg;
    double *a = left;
    const double *b = right;
    for (int64_t i = 0; i < j->cols; i++) a[i] = combine(j->kind, a[i], b[i]);
}

/* Every outer, NARROW_TILE columns at a time, cut along n. */
static tn_status run_cut(const tn_call *c, job *j, int64_t outer) {
    double acc[NARROW_TILE];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t first = 0; first < j->inner; first += NARROW_TILE) {
            j->cols = tni_min(NARROW_TILE, j->inner - first);
            j->element = o * j->n * j->inner + first;
            const tn_status s = tn_plugin_host->parallel_reduce(
                tn_plugin_self, j->n, TNI_GRAIN / j->cols, c->max_threads, piece_range,
                combine_pieces, j, acc, (uint32_t)((uint64_t)j->cols * sizeof *acc));
            if (s != TN_OK) return s;
            put(j, o * j->inner + first, acc, j->cols);
        }
    return TN_OK;
}

static tn_status run(tn_call *c, int kind) {
    const tn_view *x = tni_arg(c, 0);
    const int64_t outer = x->sizes[0], n = x->sizes[1], inner = x->sizes[2];
    job j = {
        .kind = kind, .wide = tni_is_f64(x), .x = x, .y = tni_out(c, 0), .n = n, .inner = inner};
    if (outer == 0 || inner == 0) return TN_OK;
    if (n == 0 && kind != TNI_SUM)
        return tn_fail(c, TN_ERR_SHAPE,
                       kind == TNI_MAX
                           ? "amax: the reduced dims hold no element, so there is no largest one"
                           : "amin: the reduced dims hold no element, so there is no smallest one");
    if (inner == 1 ? n > TNI_GRAIN : n >= LONG_COLUMN && inner <= WIDE_TILE)
        return run_cut(c, &j, outer);
    if (inner == 1) {
        tni_parallel(c, outer, n, rows_range, &j);
        return TN_OK;
    }
    j.tiles = (inner + WIDE_TILE - 1) / WIDE_TILE;
    tni_parallel(c, outer * j.tiles, n * tni_min(inner, WIDE_TILE), tiles_range, &j);
    return TN_OK;
}

tn_status tni_sum_run(const void *plan, tn_call *c) { return (void)plan, run(c, TNI_SUM); }
tn_status tni_amax_run(const void *plan, tn_call *c) { return (void)plan, run(c, TNI_MAX); }
tn_status tni_amin_run(const void *plan, tn_call *c) { return (void)plan, run(c, TNI_MIN); }
