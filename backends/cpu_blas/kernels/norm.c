/* norm.c - layer_norm(x, shape, w?, b?, eps) and its backward.
 *
 * Rows are independent; dw and db are summed down the rows, a tile of columns at a time, so the
 * bits do not depend on the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <string.h>

enum { TILE = 256 };

typedef struct job {
    const tn_view *x, *w, *b, *grad, *mean, *rstd; /* w, b: NULL if absent */
    const tn_view *y, *dw, *db;
    int64_t n, rows;
    int f64;
    double eps;
} job;

static const tn_view *optional(const tn_value *v) { return v->tag == TN_TAG_VIEW ? v->view : NULL; }
static bool is_plain(const tn_value *v) { return !optional(v) || tni_is_contiguous(v->view); }

static void answer(const tn_call *c, tn_verdict *v, uint32_t first, uint32_t end) {
    bool plain = true;
    for (uint32_t i = first; i < end; i++) plain = plain && is_plain(&c->args[i]);
    tni_answer(v, plain ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

void tni_layer_norm_supports(const tn_call *c, tn_verdict *v) {
    answer(c, v, 0, 4); /* args[1], the shape, is no view */
}

void tni_layer_norm_bwd_supports(const tn_call *c, tn_verdict *v) { answer(c, v, 0, 5); }

static double get(const tn_view *v, int64_t at) {
    return tni_is_f64(v) ? ((const double *)v->data)[at] : (double)((const float *)v->data)[at];
}

static void set(const tn_view *v, int64_t at, double x) {
    if (tni_is_f64(v))
        ((double *)v->data)[at] = x;
    else
        ((float *)v->data)[at] = (float)x;
}

static const void *data_of(const tn_view *v) { return v ? v->data : NULL; }

static void rows_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    tni_norm_row r = {.n = j->n, .w = data_of(j->w), .b = data_of(j->b), .eps = j->eps};
    for (int64_t i = begin; i < end; i++) {
        r.x = tni_at(j->x, i * j->n), r.y = tni_at(j->y, i * j->n);
        tni_vec->layer_norm[j->f64](&r);
        set(j->mean, i, r.mean), set(j->rstd, i, r.rstd);
    }
}

static int64_t product(const tn_value *sizes) {
    int64_t n = 1; /* cannot overflow: these are dims of x */
    for (uint32_t i = 0; i < sizes->aux; i++) n *= sizes->ints[i];
    return n;
}

static bool prepare(job *j, const tn_value *shape) {
    const int64_t numel = tn_view_numel(j->x);
    j->f64 = tni_is_f64(j->x), j->n = product(shape);
    j->rows = j->n == 0 ? 0 : numel / j->n;
    return numel > 0;
}

tn_status tni_layer_norm_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = {.x = tni_arg(c, 0),
             .w = optional(&c->args[2]),
             .b = optional(&c->args[3]),
             .y = tni_out(c, 0),
             .mean = tni_out(c, 1),
             .rstd = tni_out(c, 2),
             .eps = tni_number(&c->args[4], 1e-5)};
    if (prepare(&j, &c->args[1])) tni_parallel(c, j.rows, j.n, rows_range, &j);
    return TN_OK;
}

static tni_norm_row row_at(const job *j, int64_t i, int64_t first, int64_t n) {
    return (tni_norm_row){.n = n,
                          .x = tni_at(j->x, i * j->n + first),
                          .grad = tni_at(j->grad, i * j->n + first),
                          .w = data_of(j->w),
                          .mean = get(j->mean, i),
                          .rstd = get(j->rstd, i)};
}

static void dx_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        tni_norm_row r = row_at(j, i, 0, j->n);
        r.y = tni_at(j->y, i * j->n);
        tni_vec->layer_norm_bwd[j->f64](&r);
    }
}

static void wb_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t t = begin; t < end; t++) {
        double dw[TILE] = {0}, db[TILE] = {0};
        const int64_t first = t * TILE, n = tni_min(TILE, j->n - first);
        for (int64_t i = 0; i < j->rows; i++) {
            const tni_norm_row r = row_at(j, i, first, n);
            tni_vec->layer_norm_wb[j->f64](&r, dw, db);
        }
        for (int64_t i = 0; i < n; i++) set(j->dw, first + i, dw[i]), set(j->db, first + i, db[i]);
    }
}

tn_status tni_layer_norm_bwd_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = {.grad = tni_arg(c, 0),
             .x = tni_arg(c, 1),
             .w = optional(&c->args[2]),
             .mean = tni_arg(c, 3),
             .rstd = tni_arg(c, 4),
             .y = tni_out(c, 0),
             .dw = tni_out(c, 1),
             .db = tni_out(c, 2)};
    prepare(&j, &c->args[5]);
    if (j.n > 0 && j.rows > 0) tni_parallel(c, j.rows, j.n, dx_range, &j);
    if (j.n > 0) tni_parallel(c, (j.n + TILE - 1) / TILE, j.rows * TILE, wb_range, &j);
    return TN_OK;
}
