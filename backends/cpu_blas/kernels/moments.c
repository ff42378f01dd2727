/* moments.c - mean and sum((x - mean)^2) over [outer, n, inner]: two passes, in double.
 *
 * Invariant: as in reduce.c, where n is cut, and in what order partial sums meet, follows from the
 * shape alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/reduce.h"

#include <string.h>

enum { WIDE_TILE = 256, NARROW_TILE = 32, LONG_COLUMN = 4096, BLOCK = 2048 };

typedef struct job {
    const tn_view *x, *mean, *m2;
    int wide;             /* f64 lanes, else f32 */
    tni_convert_fn widen; /* NULL: elements are lanes */
    int64_t n, inner, tiles;
    int64_t element, cols; /* cut along n: first element of x, columns */
    const double *centre;  /* cut along n: NULL for the sums, then the means */
} job;

/* acc[k] += the sum over `rows` rows of column k, of x or of its squared distance from centre[k]. */
static void add_rows(const job *j, const char *at, int64_t rows, int64_t cols, const double *centre,
                     double *acc) {
    float lanes[BLOCK];
    const int type = j->wide ? TNI_F64 : TNI_F32;
    const int64_t bytes = j->x->dtype.bits / 8, run = j->inner == 1 ? 1 : cols;
    for (int64_t r = 0, m; r < rows; r += m, at += m * j->inner * bytes) {
        m = j->widen ? tni_min(BLOCK / run, rows - r) : rows;
        if (j->widen && j->inner == 1) j->widen(m, lanes, at);
        for (int64_t k = 0; j->widen && j->inner > 1 && k < m; k++)
            j->widen(cols, lanes + k * cols, at + k * j->inner * bytes);
        const void *x = j->widen ? (const void *)lanes : at;
        const int64_t ld = j->widen ? cols : j->inner;
        if (j->inner == 1)
            *acc += centre ? tni_vec->squares_row[j->wide](x, m, *centre)
                           : tni_vec->reduce_row[TNI_SUM][type](x, m).f;
        else if (centre)
            tni_vec->squares_cols[j->wide](x, m, ld, cols, centre, acc);
        else
            tni_vec->reduce_cols[TNI_SUM][type](x, m, ld, cols, (tni_acc *)(void *)acc);
    }
}

static void put(const job *j, const tn_view *v, int64_t at, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (j->wide)
            ((double *)v->data)[at + i] = x[i];
        else
            ((float *)v->data)[at + i] = (float)x[i];
}

static void tiles_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t t = begin; t < end; t++) {
        const int64_t o = t / j->tiles, first = t % j->tiles * WIDE_TILE;
        const int64_t cols = tni_min(WIDE_TILE, j->inner - first);
        const char *x = tni_at(j->x, o * j->n * j->inner + first);
        double mean[WIDE_TILE] = {0}, m2[WIDE_TILE] = {0};
        add_rows(j, x, j->n, cols, NULL, mean);
        for (int64_t i = 0; i < cols; i++) mean[i] /= (double)j->n;
        add_rows(j, x, j->n, cols, mean, m2);
        put(j, j->mean, o * j->inner + first, mean, cols);
        put(j, j->m2, o * j->inner + first, m2, cols);
    }
}

/* ---- n cut into pieces ----------------------------------------------------------------------- */

static void piece_range(void *arg, int64_t begin, int64_t end, void *partial) {
    const job *j = arg;
    memset(partial, 0, (size_t)j->cols * sizeof(double));
    add_rows(j, tni_at(j->x, j->element + begin * j->inner), end - begin, j->cols, j->centre,
             partial);
}

static void add_pieces(void *arg, void *left, const void *right) {
    const job *j = arg;
    for (int64_t i = 0; i < j->cols; i++) ((double *)left)[i] += ((const double *)right)[i];
}

static tn_status sum_pieces(const tn_call *c, job *j, const double *centre, double *out) {
    j->centre = centre;
    return tn_plugin_host->parallel_reduce(tn_plugin_self, j->n, TNI_GRAIN / j->cols,
                                           c->max_threads, piece_range, add_pieces, j, out,
                                           (uint32_t)((uint64_t)j->cols * sizeof *out));
}

static tn_status run_cut(const tn_call *c, job *j, int64_t outer) {
    double mean[NARROW_TILE], m2[NARROW_TILE];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t first = 0; first < j->inner; first += NARROW_TILE) {
            j->cols = tni_min(NARROW_TILE, j->inner - first);
            j->element = o * j->n * j->inner + first;
            tn_status s = sum_pieces(c, j, NULL, mean);
            for (int64_t i = 0; i < j->cols; i++) mean[i] /= (double)j->n;
            if (s == TN_OK) s = sum_pieces(c, j, mean, m2);
            if (s != TN_OK) return s;
            put(j, j->mean, o * j->inner + first, mean, j->cols);
            put(j, j->m2, o * j->inner + first, m2, j->cols);
        }
    return TN_OK;
}

tn_status tni_moments_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tni_arg(c, 0);
    const int64_t outer = x->sizes[0], n = x->sizes[1], inner = x->sizes[2];
    job j = {.x = x, .mean = tni_out(c, 0), .m2 = tni_out(c, 1), .n = n, .inner = inner};
    j.wide = tni_is_f64(x), j.widen = tni_vec->ewise->widen[tn_dtype_index(x->dtype)];
    if (outer == 0 || inner == 0) return TN_OK;
    if (inner == 1 ? n > TNI_GRAIN : n >= LONG_COLUMN && inner <= WIDE_TILE)
        return run_cut(c, &j, outer);
    j.tiles = (inner + WIDE_TILE - 1) / WIDE_TILE;
    tni_parallel(c, outer * j.tiles, n * tni_min(inner, WIDE_TILE), tiles_range, &j);
    return TN_OK;
}
