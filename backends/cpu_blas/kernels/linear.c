/* linear.c - linear(x[*,I], w[O,I], b[O]?), linear_bwd(grad[*,O], x[*,I]) and the plain addmm(c, a, b):
 * a matrix product, and the sums or additions of rows that go with it, in one call.
 *
 * The product is gemm.c's: it gets a call of its own, with all leading dims as rows.
 * Invariant: the same bits for any number of threads wherever the product has them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <string.h>

typedef struct matrix {
    tn_view view;
    int64_t sizes[2], strides[2];
} matrix;

/* The product inside a call. */
typedef struct inner {
    tn_call call;
    matrix a, b, y;
    tn_value args[2], out;
} inner;

typedef struct plan {
    tn_plan product;
    uint64_t sums; /* where in the workspace linear_bwd's sums in double begin */
} plan;

static int64_t rows_of(const tn_view *v) {
    int64_t n = 1;
    for (int32_t i = 0; i < v->rank - 1; i++) n *= v->sizes[i];
    return n;
}

/* v with all leading dims as rows; other than matrices must be contiguous for that. */
static void matrix_of(const tn_view *v, matrix *out) {
    const bool strided = v->rank == 2;
    out->view = *v, out->view.rank = 2;
    out->sizes[0] = rows_of(v), out->sizes[1] = v->sizes[v->rank - 1];
    out->strides[0] = strided ? v->strides[0] : out->sizes[1];
    out->strides[1] = strided ? v->strides[1] : 1;
    out->view.sizes = out->sizes, out->view.strides = out->strides;
}

static void transpose(matrix *m) {
    const int64_t size = m->sizes[0], stride = m->strides[0];
    m->sizes[0] = m->sizes[1], m->sizes[1] = size;
    m->strides[0] = m->strides[1], m->strides[1] = stride;
}

static void connect(const tn_call *c, inner *in) {
    in->call = *c;
    in->args[0] = in->args[1] = in->out = tn_value_none();
    in->args[0].tag = in->args[1].tag = in->out.tag = TN_TAG_VIEW;
    in->args[0].view = &in->a.view, in->args[1].view = &in->b.view, in->out.view = &in->y.view;
    in->call.args = in->args, in->call.outs = &in->out;
    in->call.n_args = 2, in->call.n_outs = 1;
}

/* y = x times w transposed */
static void linear_product(const tn_call *c, inner *in) {
    matrix_of(tni_arg(c, 0), &in->a), matrix_of(tni_arg(c, 1), &in->b);
    matrix_of(tni_out(c, 0), &in->y);
    transpose(&in->b), connect(c, in);
}

/* y = a times b */
static void addmm_product(const tn_call *c, inner *in) {
    matrix_of(tni_arg(c, 1), &in->a), matrix_of(tni_arg(c, 2), &in->b);
    matrix_of(tni_out(c, 0), &in->y);
    connect(c, in);
}

/* dw = grad transposed times x */
static void linear_bwd_product(const tn_call *c, inner *in) {
    matrix_of(tni_arg(c, 0), &in->a), matrix_of(tni_arg(c, 1), &in->b);
    matrix_of(tni_out(c, 0), &in->y);
    transpose(&in->a), connect(c, in);
}

/* As the product, if what it leaves out is contiguous. */
static void supports(const inner *in, const tn_view *first, const tn_view *second, tn_verdict *v) {
    if ((first->rank == 2 || tni_is_contiguous(first)) &&
        (second->rank == 2 || tni_is_contiguous(second)))
        tni_gemm_supports(&in->call, v);
    else
        tni_answer(v, TN_YES_IF, TN_REASON_NONE);
}

/* ---- linear ---------------------------------------------------------------------------------- */

void tni_linear_supports(const tn_call *c, tn_verdict *v) {
    inner in;
    linear_product(c, &in);
    supports(&in, tni_arg(c, 0), tni_arg(c, 1), v);
    if (v->answer == TN_YES && c->args[2].tag == TN_TAG_VIEW && !tni_is_contiguous(tni_arg(c, 2)))
        tni_answer(v, TN_YES_IF, TN_REASON_NONE);
}

/* The product's plan inside of one more; room: bytes of workspace beside its own. */
static tn_status plan_product(tn_call *c, inner *in, uint64_t room, tn_plan *out) {
    plan *p = tn_plugin_host->alloc(tn_plugin_self, sizeof *p);
    if (!p) return tn_fail(c, TN_ERR_NOMEM, "linear: no memory for the plan");
    *p = (plan){.product = {.size = sizeof p->product}};
    const tn_status status = tni_gemm_plan(&in->call, &p->product);
    if (status != TN_OK) {
        tn_plugin_host->free(tn_plugin_self, p);
        return status;
    }
    p->sums = (p->product.workspace_bytes + 63) / 64 * 64;
    out->data = p, out->workspace_bytes = p->sums + room;
    return TN_OK;
}

tn_status tni_linear_plan(tn_call *c, tn_plan *out) {
    inner in;
    linear_product(c, &in);
    return plan_product(c, &in, 0, out);
}

void tni_linear_drop(void *data) {
    plan *p = data;
    tni_gemm_drop(p->product.data);
    tn_plugin_host->free(tn_plugin_self, p);
}

typedef struct addition { /* of rows to rows of y */
    const tn_view *y;
    const char *rows;
    int64_t cols, step; /* step: bytes from one of the rows to the next; 0: it is always the same */
    tni_ewise_fn add;
} addition;

static void add_rows(void *arg, int64_t begin, int64_t end) {
    const addition *j = arg;
    for (int64_t r = begin; r < end; r++) {
        void *row = tni_at(j->y, r * j->cols);
        j->add(j->cols, row, (const void *const[]){row, j->rows + r * j->step}, 0, &tni_no_attrs);
    }
}

/* The product, and `added` to it: as large, or one row. */
static tn_status run_and_add(const plan *p, const tn_call *c, inner *in, const tn_view *added) {
    const int64_t rows = in->y.sizes[0], cols = in->y.sizes[1];
    const tn_status status = tni_gemm_run(p->product.data, &in->call);
    if (status != TN_OK || !added || cols == 0) return status;
    addition j = {.y = tni_out(c, 0), .rows = added->data, .cols = cols};
    j.add = tni_vec->ewise->fn[TNI_EW_add][tni_lane_type(j.y->dtype)];
    if (tn_view_numel(added) == rows * cols) j.step = cols * (added->dtype.bits / 8);
    tni_parallel(c, rows, cols, add_rows, &j);
    return TN_OK;
}

tn_status tni_linear_run(const void *data, tn_call *c) {
    inner in;
    linear_product(c, &in);
    return run_and_add(data, c, &in, c->args[2].tag == TN_TAG_VIEW ? tni_arg(c, 2) : NULL);
}

/* ---- addmm, with alpha and beta 1 ------------------------------------------------------------ */

/* c is a row or as large as the result; otherwise it is for the decomposition to say. */
void tni_addmm_supports(const tn_call *c, tn_verdict *v) {
    const tn_view *added = tni_arg(c, 0);
    inner in;
    addmm_product(c, &in);
    const int64_t numel = tn_view_numel(added), cols = in.y.sizes[1];
    const bool fits = numel == in.y.sizes[0] * cols ||
                      (numel == cols && added->rank > 0 && added->sizes[added->rank - 1] == cols);
    if (!fits || tni_number(&c->args[3], 1) != 1 || tni_number(&c->args[4], 1) != 1)
        tni_answer(v, TN_NO, TN_REASON_ATTRIBUTE);
    else if (!tni_is_contiguous(added))
        tni_answer(v, TN_YES_IF, TN_REASON_NONE);
    else
        tni_gemm_supports(&in.call, v);
}

tn_status tni_addmm_plan(tn_call *c, tn_plan *out) {
    inner in;
    addmm_product(c, &in);
    return plan_product(c, &in, 0, out);
}

tn_status tni_addmm_run(const void *data, tn_call *c) {
    inner in;
    addmm_product(c, &in);
    return run_and_add(data, c, &in, tni_arg(c, 0));
}

/* ---- linear_bwd ------------------------------------------------------------------------------ */

void tni_linear_bwd_supports(const tn_call *c, tn_verdict *v) {
    inner in;
    linear_bwd_product(c, &in);
    supports(&in, tni_arg(c, 0), tni_arg(c, 1), v);
    if (v->answer == TN_YES && !tni_is_contiguous(tni_arg(c, 0)))
        tni_answer(v, TN_YES_IF, TN_REASON_NONE);
}

tn_status tni_linear_bwd_plan(tn_call *c, tn_plan *out) {
    inner in;
    linear_bwd_product(c, &in);
    return plan_product(c, &in, (uint64_t)in.y.sizes[0] * sizeof(double), out);
}

typedef struct sums {
    const tn_view *grad, *db;
    int64_t rows, cols;
    tni_acc *acc;
} sums;

static void sum_columns(void *arg, int64_t begin, int64_t end) {
    const sums *j = arg;
    tni_acc *acc = j->acc + begin;
    memset(acc, 0, (size_t)(end - begin) * sizeof *acc);
    tni_vec->reduce_cols[TNI_SUM][tni_lane_type(j->grad->dtype)](tni_at(j->grad, begin), j->rows,
                                                                 j->cols, end - begin, acc);
    if (tni_is_f64(j->db))
        memcpy(tni_at(j->db, begin), acc, (size_t)(end - begin) * sizeof *acc);
    else
        tni_vec->lanes[TNI_F64][TNI_F32](end - begin, tni_at(j->db, begin), acc, 0, 0);
}

tn_status tni_linear_bwd_run(const void *data, tn_call *c) {
    const plan *p = data;
    inner in;
    linear_bwd_product(c, &in);
    const tn_status status = tni_gemm_run(p->product.data, &in.call);
    if (status != TN_OK) return status;
    sums j = {.grad = tni_arg(c, 0),
              .db = tni_out(c, 1),
              .rows = in.a.sizes[1],
              .cols = in.a.sizes[0],
              .acc = (void *)((char *)c->workspace + p->sums)};
    tni_parallel(c, j.cols, tni_max(1, j.rows), sum_columns, &j);
    return TN_OK;
}
