/* norm.c - layer_norm(x, shape, w?, b?, eps) and its backward.
 *
 * Rows are independent; dw and db are summed down the rows, a tile of columns at a time, so the
 * bits do not depend on the threads. 16-bit floats are widened a row at a time: the workspace has
 * w and b as f32, then two rows for every grain of rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/norm.h"

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { TILE = 256, MOST_GRAINS = 64 };

typedef struct job {
    const tn_view *x, *w, *b, *grad, *mean, *rstd; /* w, b: NULL if absent */
    const tn_view *y, *dw, *db;
    int64_t n, rows, grain; /* grain: rows a thread takes at a time */
    int f64;
    double eps;
    blas_convert_fn widen, narrow; /* NULL: elements are lanes */
    const void *w_lanes, *b_lanes;
    char *rooms; /* (grains, 2, room) bytes */
    int64_t room;
} job;

static bool is_plain(const tn_value *v) { return !blas_optional(v) || tnk_is_contiguous(v->view); }

static void answer(const tn_call *c, tn_verdict *v, uint32_t first, uint32_t end) {
    bool plain = true;
    for (uint32_t i = first; i < end; i++) plain = plain && is_plain(&c->args[i]);
    tnk_answer(v, plain ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

static void layer_norm_supports(const tn_call *c, tn_verdict *v) {
    answer(c, v, 0, 4); /* args[1], the shape, is no view */
}

static void layer_norm_bwd_supports(const tn_call *c, tn_verdict *v) { answer(c, v, 0, 5); }

static double get(const tn_view *v, int64_t at) {
    double x;
    if (tn_dtype_is(v->dtype, TN_F64)) return ((const double *)v->data)[at];
    blas_convert(1, TN_F64, &x, v->dtype, tnk_at(v, at));
    return x;
}

static void set(const tn_view *v, int64_t at, double x) {
    if (tn_dtype_is(v->dtype, TN_F64))
        ((double *)v->data)[at] = x;
    else
        blas_convert(1, v->dtype, tnk_at(v, at), TN_F64, &x);
}

/* ---- Rows as lanes --------------------------------------------------------------------------- */

/* n elements of v as lanes: where they are, or widened into `room`. */
static const void *lanes_of(const job *j, const tn_view *v, int64_t at, int64_t n, char *room) {
    if (!v || !j->widen) return v ? tnk_at(v, at) : NULL;
    j->widen(n, room, tnk_at(v, at));
    return room;
}

static char *room_of(const job *j, int64_t row, int k) {
    return j->widen ? j->rooms + (row / j->grain * 2 + k) * j->room : NULL;
}

static void *result_row(const job *j, int64_t row) {
    return j->narrow ? room_of(j, row, 0) : tnk_at(j->y, row * j->n);
}

static void finish_row(const job *j, int64_t row) {
    if (j->narrow) j->narrow(j->n, tnk_at(j->y, row * j->n), room_of(j, row, 0));
}

static void rows_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    blas_norm_row r = {.n = j->n, .w = j->w_lanes, .b = j->b_lanes, .eps = j->eps};
    for (int64_t i = begin; i < end; i++) {
        r.x = lanes_of(j, j->x, i * j->n, j->n, room_of(j, i, 0)), r.y = result_row(j, i);
        blas_code(norm)->forward[j->f64](&r);
        set(j->mean, i, r.mean), set(j->rstd, i, r.rstd);
        finish_row(j, i);
    }
}

static int64_t product(const tn_value *sizes) {
    int64_t n = 1; /* cannot overflow: these are dims of x */
    for (uint32_t i = 0; i < sizes->aux; i++) n *= sizes->ints[i];
    return n;
}

/* What follows from shapes and dtypes; false if the room for 16-bit floats overflows. */
static bool prepare(job *j, const tn_value *shape, uint64_t *bytes) {
    const int64_t numel = tn_view_numel(j->x);
    const int ix = tn_dtype_index(j->x->dtype);
    j->f64 = blas_is_f64(j->x), j->n = product(shape);
    j->rows = j->n == 0 ? 0 : numel / j->n;
    j->widen = blas_code(ewise)->widen[ix], j->narrow = blas_code(ewise)->narrow[ix];
    j->grain = tnk_max(tnk_max(1, TNK_GRAIN / tnk_max(1, j->n)), blas_pieces(j->rows, MOST_GRAINS));
    j->room = blas_round_up(j->n * (int64_t)sizeof(float), 64);
    *bytes = 0;
    if (!j->widen) return true;
    const int64_t rooms = 2 + 2 * blas_pieces(j->rows, j->grain);
    return !__builtin_mul_overflow((uint64_t)rooms, (uint64_t)j->room, bytes);
}

static tn_status plan_rows(tn_call *c, job *j, const tn_value *shape, tn_plan *plan) {
    if (prepare(j, shape, &plan->workspace_bytes)) return TN_OK;
    return tn_fail(c, TN_ERR_OVERFLOW, "the room for the rows of a norm overflows");
}

static void run_rows(const tn_call *c, job *j, tn_range_fn body) {
    j->rooms = (char *)c->workspace + (j->widen ? 2 * j->room : 0);
    j->w_lanes = lanes_of(j, j->w, 0, j->n, c->workspace);
    j->b_lanes = lanes_of(j, j->b, 0, j->n, (char *)c->workspace + (j->widen ? j->room : 0));
    if (j->rows <= j->grain)
        body(j, 0, j->rows);
    else
        tn_plugin_host->parallel_for(tn_plugin_self, j->rows, j->grain, c->max_threads, body, j);
}

static job forward_job(const tn_call *c) {
    return (job){.x = tnk_arg(c, 0),
                 .w = blas_optional(&c->args[2]),
                 .b = blas_optional(&c->args[3]),
                 .y = tnk_out(c, 0),
                 .mean = tnk_out(c, 1),
                 .rstd = tnk_out(c, 2),
                 .eps = tnk_number(&c->args[4], 1e-5)};
}

static tn_status layer_norm_plan(tn_call *c, tn_plan *plan) {
    job j = forward_job(c);
    return plan_rows(c, &j, &c->args[1], plan);
}

static tn_status layer_norm_run(const void *plan, tn_call *c) {
    (void)plan;
    uint64_t bytes;
    job j = forward_job(c);
    prepare(&j, &c->args[1], &bytes);
    if (j.rows > 0) run_rows(c, &j, rows_range);
    return TN_OK;
}

/* ---- Backward -------------------------------------------------------------------------------- */

static void dx_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    blas_norm_row r = {.n = j->n, .w = j->w_lanes};
    for (int64_t i = begin; i < end; i++) {
        r.x = lanes_of(j, j->x, i * j->n, j->n, room_of(j, i, 0));
        r.grad = lanes_of(j, j->grad, i * j->n, j->n, room_of(j, i, 1));
        r.mean = get(j->mean, i), r.rstd = get(j->rstd, i), r.y = result_row(j, i);
        blas_code(norm)->backward[j->f64](&r);
        finish_row(j, i);
    }
}

static void wb_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    float x[TILE], grad[TILE];
    for (int64_t t = begin; t < end; t++) {
        double dw[TILE] = {0}, db[TILE] = {0};
        const int64_t first = t * TILE, n = tnk_min(TILE, j->n - first);
        for (int64_t i = 0; i < j->rows; i++) {
            const blas_norm_row r = {.n = n,
                                     .x = lanes_of(j, j->x, i * j->n + first, n, (char *)x),
                                     .grad =
                                         lanes_of(j, j->grad, i * j->n + first, n, (char *)grad),
                                     .mean = get(j->mean, i),
                                     .rstd = get(j->rstd, i)};
            blas_code(norm)->weights[j->f64](&r, dw, db);
        }
        blas_convert(n, j->dw->dtype, tnk_at(j->dw, first), TN_F64, dw);
        blas_convert(n, j->db->dtype, tnk_at(j->db, first), TN_F64, db);
    }
}

static job backward_job(const tn_call *c) {
    return (job){.grad = tnk_arg(c, 0),
                 .x = tnk_arg(c, 1),
                 .w = blas_optional(&c->args[2]),
                 .mean = tnk_arg(c, 3),
                 .rstd = tnk_arg(c, 4),
                 .y = tnk_out(c, 0),
                 .dw = tnk_out(c, 1),
                 .db = tnk_out(c, 2)};
}

static tn_status layer_norm_bwd_plan(tn_call *c, tn_plan *plan) {
    job j = backward_job(c);
    return plan_rows(c, &j, &c->args[5], plan);
}

static tn_status layer_norm_bwd_run(const void *plan, tn_call *c) {
    (void)plan;
    uint64_t bytes;
    job j = backward_job(c);
    prepare(&j, &c->args[5], &bytes);
    if (j.rows > 0) run_rows(c, &j, dx_range);
    if (j.n > 0) tnk_parallel(c, blas_pieces(j.n, TILE), j.rows * TILE, wb_range, &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(layer_norm, 5), .dtypes = TN_MASK_FLOAT, .supports = layer_norm_supports,
     .plan = layer_norm_plan, .run = layer_norm_run},
    {BLAS_ROW(layer_norm_bwd, 6), .dtypes = TN_MASK_FLOAT, .supports = layer_norm_bwd_supports,
     .plan = layer_norm_bwd_plan, .run = layer_norm_bwd_run},
};
/* clang-format on */
const tnk_family blas_norm_rows = TNK_FAMILY(rows);
