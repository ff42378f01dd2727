/* linear.c - products that start from something, linear's y = x w^T + b and the c + a b of plain
 * addmm and baddbmm; and linear's gradients of w and b.
 *
 * Leading dims of x, and of the gradient, are rows of one matrix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/kernels/kernels.h"

#include <string.h>

enum { BIAS_COLS = 256 }; /* columns of the gradient that are summed at a time */

/* x[.., n] as rows of equal distance; false if there is none. */
static bool as_rows(const tn_view *x, int64_t *rows, tni_matrix *out) {
    const int32_t last = x->rank - 1;
    *rows = 1, *out = (tni_matrix){x->sizes[last], x->strides[last], 0};
    for (int32_t d = last - 1; d >= 0; d--) {
        if (x->sizes[d] == 1) continue;
        if (*rows == 1)
            out->row = x->strides[d];
        else if (x->strides[d] != out->row * *rows)
            return false;
        *rows *= x->sizes[d];
        if (*rows == 0) return true;
    }
    return true;
}

static tni_matrix turned(tni_matrix x) { return (tni_matrix){x.col, x.row, 0}; }

typedef bool read_fn(const tn_call *, tni_gemm_shape *);

static void answer(const tn_call *c, tn_verdict *v, read_fn *read) {
    tni_gemm_shape s;
    tni_answer(v, read(c, &s) ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

static tn_status make_plan(tn_call *c, tn_plan *out, read_fn *read) {
    tni_product p = {.f64 = tni_is_f64(tni_arg(c, 1))};
    if (!read(c, &p.s))
        return tn_fail(c, TN_ERR_UNSUPPORTED, "linear: a layout changed after it was accepted");
    tni_gemm_choose(&p, c->max_threads);
    tni_product *kept = tn_plugin_host->alloc(tn_plugin_self, sizeof p);
    if (!kept) return tn_fail(c, TN_ERR_NOMEM, "linear: no memory for the plan");
    *kept = p;
    out->data = kept, out->workspace_bytes = p.workspace_bytes;
    return TN_OK;
}

/* ---- Forward ---------------------------------------------------------------------------------- */

static const tn_view *bias_of(const tn_call *c) {
    return c->args[2].tag == TN_TAG_VIEW ? c->args[2].view : NULL;
}

static bool read_linear(const tn_call *c, tni_gemm_shape *s) {
    const tn_view *x = tni_arg(c, 0), *w = tni_arg(c, 1), *b = bias_of(c);
    *s = (tni_gemm_shape){.batch = 1, .n = w->sizes[0], .k = w->sizes[1]};
    s->b = (tni_matrix){w->strides[1], w->strides[0], 0};
    if (b && b->sizes[0] > 1 && b->strides[0] != 1) return false;
    return as_rows(x, &s->m, &s->a) && tni_gemm_fits(s);
}

void tni_linear_supports(const tn_call *c, tn_verdict *v) { answer(c, v, read_linear); }

tn_status tni_linear_plan(tn_call *c, tn_plan *out) { return make_plan(c, out, read_linear); }

tn_status tni_linear_run(const void *plan, tn_call *c) {
    const tn_view *b = bias_of(c);
    const tni_gemm_data d = {.a = tni_arg(c, 0)->data,
                             .b = tni_arg(c, 1)->data,
                             .bias = b ? b->data : NULL,
                             .y = tni_out(c, 0)->data,
                             .workspace = c->workspace};
    tni_gemm_product(plan, c, &d, (c->flags & TN_CALL_DETERMINISTIC) != 0);
    return TN_OK;
}

/* ---- addmm and baddbmm, with alpha and beta 1 ------------------------------------------------- */

/* Strides of c's rows and matrices in the result; false: the decomposition can broadcast it. */
static bool read_added(const tn_view *c, const tni_gemm_shape *s, tni_gemm_data *d) {
    const int32_t r = c->rank;
    if (r == 0 || c->sizes[r - 1] != s->n) return false;
    d->bias = c->data;
    if (r > 1 && c->sizes[r - 2] > 1) d->bias_row = c->strides[r - 2];
    if (r > 2 && c->sizes[0] > 1) d->bias_batch = c->strides[0];
    return true;
}

static tni_matrix matrix_of(const tn_view *x) {
    const int32_t r = x->rank;
    return (tni_matrix){x->strides[r - 2], x->strides[r - 1], r == 3 ? x->strides[0] : 0};
}

static bool read_addmm(const tn_call *c, tni_gemm_shape *s) {
    const tn_view *added = tni_arg(c, 0), *a = tni_arg(c, 1), *b = tni_arg(c, 2);
    const int32_t r = a->rank, last = added->rank - 1;
    *s = (tni_gemm_shape){.batch = r == 3 ? a->sizes[0] : 1,
                          .m = a->sizes[r - 2],
                          .n = b->sizes[r - 1],
                          .k = a->sizes[r - 1],
                          .a = matrix_of(a),
                          .b = matrix_of(b)};
    return (last < 0 || added->sizes[last] <= 1 || added->strides[last] == 1) && tni_gemm_fits(s);
}

void tni_addmm_supports(const tn_call *c, tn_verdict *v) {
    tni_gemm_shape s;
    tni_gemm_data d = {0};
    const bool fits = read_addmm(c, &s);
    const bool plain = tni_number(&c->args[3], 1) == 1 && tni_number(&c->args[4], 1) == 1;
    if (!plain || !read_added(tni_arg(c, 0), &s, &d))
        tni_answer(v, TN_NO, TN_REASON_ATTRIBUTE);
    else
        tni_answer(v, fits ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

tn_status tni_addmm_plan(tn_call *c, tn_plan *out) { return make_plan(c, out, read_addmm); }

tn_status tni_addmm_run(const void *plan, tn_call *c) {
    const tni_product *p = plan;
    tni_gemm_data d = {.a = tni_arg(c, 1)->data,
                       .b = tni_arg(c, 2)->data,
                       .y = tni_out(c, 0)->data,
                       .workspace = c->workspace};
    read_added(tni_arg(c, 0), &p->s, &d);
    tni_gemm_product(p, c, &d, (c->flags & TN_CALL_DETERMINISTIC) != 0);
    return TN_OK;
}

/* ---- Backward: dw[O,I] = grad^T x, db[O] = sums of grad's columns ------------------------------ */

static bool read_bwd(const tn_call *c, tni_gemm_shape *s) {
    const tn_view *grad = tni_arg(c, 0), *x = tni_arg(c, 1);
    tni_matrix g;
    *s = (tni_gemm_shape){.batch = 1, .m = grad->sizes[grad->rank - 1], .n = x->sizes[x->rank - 1]};
    if (!as_rows(grad, &s->k, &g) || !as_rows(x, &s->k, &s->b)) return false;
    s->a = turned(g);
    return (g.col == 1 || s->m == 1) && tni_gemm_fits(s);
}

void tni_linear_bwd_supports(const tn_call *c, tn_verdict *v) { answer(c, v, read_bwd); }

tn_status tni_linear_bwd_plan(tn_call *c, tn_plan *out) { return make_plan(c, out, read_bwd); }

typedef struct bias_job {
    const tni_gemm_shape *s;
    const tn_view *grad, *db;
    int64_t row; /* stride of the gradient's rows */
} bias_job;

static void bias_range(void *arg, int64_t begin, int64_t end) {
    const bias_job *j = arg;
    const bool f64 = tni_is_f64(j->db);
    for (int64_t i = begin; i < end; i++) {
        tni_acc sums[BIAS_COLS] = {0};
        const int64_t first = i * BIAS_COLS, n = tni_min(BIAS_COLS, j->s->m - first);
        if (j->s->k > 0)
            tni_vec->reduce_cols[TNI_SUM][tni_lane_type(j->db->dtype)](tni_at(j->grad, first),
                                                                       j->s->k, j->row, n, sums);
        void *to = tni_at(j->db, first);
        if (f64)
            memcpy(to, sums, (size_t)n * sizeof(double));
        else
            tni_vec->lanes[TNI_F64][TNI_F32](n, to, sums, 0, 0);
    }
}

tn_status tni_linear_bwd_run(const void *plan, tn_call *c) {
    const tni_product *p = plan;
    const tn_view *grad = tni_arg(c, 0), *dw = tni_out(c, 0), *db = tni_out(c, 1);
    const tni_gemm_data d = {
        .a = grad->data, .b = tni_arg(c, 1)->data, .y = dw->data, .workspace = c->workspace};
    bias_job j = {.s = &p->s, .grad = grad, .db = db, .row = p->s.a.col};
    tni_gemm_product(p, c, &d, (c->flags & TN_CALL_DETERMINISTIC) != 0);
    tni_parallel(c, (p->s.m + BIAS_COLS - 1) / BIAS_COLS, BIAS_COLS * p->s.k, bias_range, &j);
    return TN_OK;
}
