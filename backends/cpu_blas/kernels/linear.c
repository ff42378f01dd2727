/* linear.c - products that start from something, linear's y = x w^T + b and the c + a b of plain
 * addmm and baddbmm; and linear's gradients of w and b. Of 16-bit floats, too: rounded once.
 *
 * Leading dims of x, and of the gradient, are rows of one matrix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/kernels/kernels.h"
#include "backends/cpu_blas/kernels/reduce.h"

enum { BIAS_COLS = 256, BIAS_ROWS = 8 }; /* of the gradient: summed, widened at a time */

/* x[.., n] as rows of equal distance; false if there is none. */
static bool as_rows(const tn_view *x, int64_t *rows, blas_matrix *out) {
    const int32_t last = x->rank - 1;
    *rows = 1, *out = (blas_matrix){x->sizes[last], x->strides[last], 0};
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

static blas_matrix turned(blas_matrix x) { return (blas_matrix){x.col, x.row, 0}; }

typedef struct plan {
    blas_gemm_shape s;
    bool is_half;
    union {
        blas_product full; /* f32, f64 */
        blas_half half;
    };
} plan;

typedef struct reading {                               /* how a call is read */
    bool (*shape)(const tn_call *, blas_gemm_shape *); /* false: contiguous copies would help */
    void (*data)(const tn_call *, blas_gemm_data *);   /* all but y and workspace */
} reading;

static void answer(const tn_call *c, tn_verdict *v, const reading *read) {
    blas_gemm_shape s;
    tnk_answer(v, read->shape(c, &s) ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

static tn_status make_plan(tn_call *c, tn_plan *out, const reading *read) {
    const tn_dtype dtype = tnk_arg(c, 1)->dtype;
    plan p = {.is_half = dtype.bits == 16};
    blas_gemm_data d;
    if (!read->shape(c, &p.s))
        return tn_fail(c, TN_ERR_UNSUPPORTED, "linear: a layout changed after it was accepted");
    if (p.is_half) {
        read->data(c, &d);
        p.half = (blas_half){.s = p.s, .dtype = dtype};
        blas_half_choose(&p.half, c->max_threads, &d);
        out->workspace_bytes = p.half.workspace_bytes;
    } else {
        p.full = (blas_product){.s = p.s, .f64 = dtype.bits == 64};
        blas_gemm_choose(&p.full, c->max_threads);
        out->workspace_bytes = p.full.workspace_bytes;
    }
    return blas_gemm_keep(c, out, "linear", &p, sizeof p);
}

static void run(const plan *p, const tn_call *c, const reading *read) {
    blas_gemm_data d;
    read->data(c, &d);
    d.y = tnk_out(c, 0)->data, d.workspace = c->workspace;
    if (p->is_half)
        blas_half_product(&p->half, c, &d);
    else
        blas_gemm_product(&p->full, c, &d, (c->flags & TN_CALL_DETERMINISTIC) != 0);
}

/* ---- Forward --------------------------------------------------------------------------------- */

static bool linear_shape(const tn_call *c, blas_gemm_shape *s) {
    const tn_view *x = tnk_arg(c, 0), *w = tnk_arg(c, 1), *b = blas_optional(&c->args[2]);
    *s = (blas_gemm_shape){.batch = 1, .n = w->sizes[0], .k = w->sizes[1]};
    s->b = (blas_matrix){w->strides[1], w->strides[0], 0};
    if (b && b->sizes[0] > 1 && b->strides[0] != 1) return false;
    return as_rows(x, &s->m, &s->a) && blas_gemm_fits(s);
}

static void linear_data(const tn_call *c, blas_gemm_data *d) {
    const tn_view *b = blas_optional(&c->args[2]);
    *d = (blas_gemm_data){.a = tnk_arg(c, 0)->data, .b = tnk_arg(c, 1)->data, .biased = b != NULL};
    if (b) d->bias = b->data;
}

static const reading of_linear = {linear_shape, linear_data};

static void linear_supports(const tn_call *c, tn_verdict *v) {
    if (tnk_arg(c, 1)->rank == 2)
        answer(c, v, &of_linear);
    else /* one row is matmul's, in the decomposition */
        tnk_answer(v, TN_NO, TN_REASON_RANK);
}

static tn_status linear_plan(tn_call *c, tn_plan *out) { return make_plan(c, out, &of_linear); }

static tn_status linear_run(const void *data, tn_call *c) {
    run(data, c, &of_linear);
    return TN_OK;
}

/* ---- addmm and baddbmm, with alpha and beta 1 ------------------------------------------------ */

static bool is_added(const tn_view *c, const blas_gemm_shape *s) {
    return c->rank > 0 && c->sizes[c->rank - 1] == s->n; /* else the decomposition broadcasts it */
}

static blas_matrix matrix_of(const tn_view *x) {
    const int32_t r = x->rank;
    return (blas_matrix){x->strides[r - 2], x->strides[r - 1], r == 3 ? x->strides[0] : 0};
}

static bool addmm_shape(const tn_call *c, blas_gemm_shape *s) {
    const tn_view *added = tnk_arg(c, 0), *a = tnk_arg(c, 1), *b = tnk_arg(c, 2);
    const int32_t r = a->rank, last = added->rank - 1;
    *s = (blas_gemm_shape){.batch = r == 3 ? a->sizes[0] : 1,
                           .m = a->sizes[r - 2],
                           .n = b->sizes[r - 1],
                           .k = a->sizes[r - 1],
                           .a = matrix_of(a),
                           .b = matrix_of(b)};
    return (last < 0 || added->sizes[last] <= 1 || added->strides[last] == 1) && blas_gemm_fits(s);
}

static void addmm_data(const tn_call *c, blas_gemm_data *d) {
    const tn_view *added = tnk_arg(c, 0);
    const int32_t r = added->rank;
    *d = (blas_gemm_data){.a = tnk_arg(c, 1)->data, .b = tnk_arg(c, 2)->data};
    d->bias = added->data, d->biased = true;
    if (r > 1 && added->sizes[r - 2] > 1) d->bias_row = added->strides[r - 2];
    if (r > 2 && added->sizes[0] > 1) d->bias_batch = added->strides[0];
}

static const reading of_addmm = {addmm_shape, addmm_data};

static void addmm_supports(const tn_call *c, tn_verdict *v) {
    blas_gemm_shape s;
    const bool fits = addmm_shape(c, &s);
    const bool plain = tnk_number(&c->args[3], 1) == 1 && tnk_number(&c->args[4], 1) == 1;
    if (!plain || !is_added(tnk_arg(c, 0), &s))
        tnk_answer(v, TN_NO, TN_REASON_ATTRIBUTE);
    else
        tnk_answer(v, fits ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

static tn_status addmm_plan(tn_call *c, tn_plan *out) { return make_plan(c, out, &of_addmm); }

static tn_status addmm_run(const void *data, tn_call *c) {
    run(data, c, &of_addmm);
    return TN_OK;
}

/* ---- Backward: dw[O,I] = grad^T x, db[O] = sums of grad's columns ---------------------------- */

static bool bwd_shape(const tn_call *c, blas_gemm_shape *s) {
    const tn_view *grad = tnk_arg(c, 0), *x = tnk_arg(c, 1);
    blas_matrix g;
    *s =
        (blas_gemm_shape){.batch = 1, .m = grad->sizes[grad->rank - 1], .n = x->sizes[x->rank - 1]};
    if (!as_rows(grad, &s->k, &g) || !as_rows(x, &s->k, &s->b)) return false;
    s->a = turned(g);
    return (g.col == 1 || s->m == 1) && blas_gemm_fits(s);
}

static void bwd_data(const tn_call *c, blas_gemm_data *d) {
    *d = (blas_gemm_data){.a = tnk_arg(c, 0)->data, .b = tnk_arg(c, 1)->data};
}

static const reading of_bwd = {bwd_shape, bwd_data};

static void linear_bwd_supports(const tn_call *c, tn_verdict *v) { answer(c, v, &of_bwd); }

static tn_status linear_bwd_plan(tn_call *c, tn_plan *out) { return make_plan(c, out, &of_bwd); }

typedef struct bias_job {
    const blas_gemm_shape *s;
    const tn_view *grad, *db;
    int64_t row; /* stride of the gradient's rows */
} bias_job;

/* Adds the columns of rows first .. first + rows - 1, n of them from `first_col` on. */
static void add_columns(const bias_job *j, int64_t first, int64_t rows, int64_t first_col,
                        int64_t n, blas_acc *sums) {
    float lanes[BIAS_ROWS * BIAS_COLS];
    const blas_convert_fn widen = blas_code(ewise)->widen[tn_dtype_index(j->db->dtype)];
    const int type = blas_lane_type(j->db->dtype);
    for (int64_t r = 0; widen && r < rows; r++)
        widen(n, lanes + r * n, tnk_at(j->grad, (first + r) * j->row + first_col));
    const void *x = widen ? (const void *)lanes : tnk_at(j->grad, first * j->row + first_col);
    blas_code(reduce)->cols[BLAS_SUM][type](x, rows, widen ? n : j->row, n, sums);
}

static void bias_range(void *arg, int64_t begin, int64_t end) {
    const bias_job *j = arg;
    const int64_t most = j->db->dtype.bits == 16 ? BIAS_ROWS : tnk_max(1, j->s->k);
    for (int64_t i = begin; i < end; i++) {
        blas_acc sums[BIAS_COLS] = {0};
        const int64_t first = i * BIAS_COLS, n = tnk_min(BIAS_COLS, j->s->m - first);
        for (int64_t r = 0; r < j->s->k; r += most)
            add_columns(j, r, tnk_min(most, j->s->k - r), first, n, sums);
        blas_convert(n, j->db->dtype, tnk_at(j->db, first), TN_F64, sums);
    }
}

static tn_status linear_bwd_run(const void *data, tn_call *c) {
    const plan *p = data;
    bias_job j = {.s = &p->s, .grad = tnk_arg(c, 0), .db = tnk_out(c, 1), .row = p->s.a.col};
    run(p, c, &of_bwd);
    tnk_parallel(c, blas_pieces(p->s.m, BIAS_COLS), BIAS_COLS * p->s.k, bias_range, &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
#define PRODUCT(op_, n_args, name)                                                                 \
    {BLAS_ROW(op_, n_args), .dtypes = TN_MASK_FLOAT, .supports = name##_supports,                  \
     .plan = name##_plan, .run = name##_run, .drop = blas_gemm_drop}
static const tn_kernel rows[] = {
    PRODUCT(linear, 3, linear),
    PRODUCT(addmm, 5, addmm),
    PRODUCT(baddbmm, 5, addmm),
    PRODUCT(linear_bwd, 2, linear_bwd),
};
/* clang-format on */
const tnk_family blas_linear_rows = TNK_FAMILY(rows);
