/* matmul.c - matrix products, and what is made of them.
 *
 * Invariant: whatever a kernel reads by position is compared here first; a mismatch names both
 * arguments and their sizes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* The product of all sizes but the last. */
static int64_t rows_of(const tn_meta *m) {
    int64_t n = 1;
    for (int32_t i = 0; i < m->rank - 1; i++) n *= m->sizes[i];
    return n;
}

/* t, of rank 1 or more, with all leading dims in the rows. */
static tn_tensor *as_matrix(tn_tensor *t, const tn_meta *m) {
    const int64_t sizes[2] = {rows_of(m), m->sizes[m->rank - 1]};
    return m->rank == 2 ? t : math_reshape(t, sizes, 2);
}

/* [B,M,K] [B,K,N] -> [B,M,N]; the contract has compared them */
tn_status math_shape_gemm(tn_infer *in) {
    const tn_view *a = view_of(in, 0), *b = view_of(in, 1);

    if (!a || !b) return missing(in);
    return math_set_sizes(in, &in->outs[0], (int64_t[]){a->sizes[0], a->sizes[1], b->sizes[2]}, 3,
                          "result");
}

/* Sizes of the product of arguments i and i + 1, as results. */
static tn_status product_sizes(tn_infer *in, uint32_t i) {
    const tn_view *a = view_of(in, i), *b = view_of(in, i + 1);
    tn_meta y = {0};

    if (!a || !b) return missing(in);
    if (a->rank == 0 || b->rank == 0)
        return mismatch(in, "a", a, "b", b, "numbers are multiplied with mul");
    const int64_t a_inner = a->sizes[a->rank - 1],
                  b_inner = b->sizes[b->rank > 1 ? b->rank - 2 : 0];
    if (a_inner != b_inner)
        return mismatch(in, "a", a, "b", b,
                        "a's last size must equal b's last but one (the only one of a vector)");

    const int32_t a_batch = a->rank > 2 ? a->rank - 2 : 0, b_batch = b->rank > 2 ? b->rank - 2 : 0;
    if (!math_broadcast(&y, a->sizes, a_batch) || !math_broadcast(&y, b->sizes, b_batch))
        return mismatch(in, "a", a, "b", b, "the leading dims do not broadcast");
    if (a->rank > 1) y.sizes[y.rank++] = a->sizes[a->rank - 2];
    if (b->rank > 1) y.sizes[y.rank++] = b->sizes[b->rank - 1];
    return math_set_sizes(in, &in->outs[0], y.sizes, y.rank, "result");
}

tn_status math_shape_matmul(tn_infer *in) { return product_sizes(in, 0); }

static tn_tensor *last_two_exchanged(tn_tensor *t) { return tn_transpose(t, -2, -1); }

/* Transposed left times right. Where only `left` has batches, they are rows of one product: no sum
 * afterwards. */
static tn_tensor *left_product(tn_tensor *left, tn_tensor *right, bool one_product) {
    tn_meta l, r;

    if (!one_product) return tn_matmul(last_two_exchanged(left), right);
    if (!tnk_meta(left, &l) || !tnk_meta(right, &r)) return NULL;
    return tn_matmul(last_two_exchanged(as_matrix(left, &l)), as_matrix(right, &r));
}

/* A vector a counts as one row, a vector b as one column; y has then lost that dim. */
void math_grad_matmul(math_grad_matmul_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0);
    tn_meta a_meta, b_meta;

    if (!TNK_META_OF(c, a, &a_meta) || !TNK_META_OF(c, b, &b_meta)) return;
    const bool row = a_meta.rank == 1, column = b_meta.rank == 1;
    if (column) g = tn_unsqueeze(g, -1);
    if (row) g = tn_unsqueeze(g, -2);
    if (TNK_NEEDS(c, a)) {
        tn_tensor *b = TNK_SAVED(c, b);
        if (column) b = tn_unsqueeze(b, 1);
        TNK_SET_GRAD(c, a,
                     tn_matmul(g, last_two_exchanged(b))); /* [..,1,k] of a row: summed to [k] */
    }
    if (!TNK_NEEDS(c, b)) return;
    tn_tensor *a = TNK_SAVED(c, a);
    if (row) a = tn_unsqueeze(a, 0);
    tn_tensor *d_b = left_product(a, g, b_meta.rank <= 2 && a_meta.rank > 2);
    TNK_SET_GRAD(c, b, column ? tn_select(d_b, -1, 0) : d_b);
}

/* t's leading dims broadcast to batch and joined into one: [B,m,k]. Costs a copy only where strides
 * disagree. */
static tn_tensor *batched(tn_tensor *t, const tn_meta *m, const tn_meta *batch, int64_t n_batch) {
    int64_t sizes[TN_MAX_RANK];

    for (int32_t i = 0; i < batch->rank; i++) sizes[i] = batch->sizes[i];
    for (int32_t i = 0; i < 2; i++) sizes[batch->rank + i] = m->sizes[m->rank - 2 + i];
    t = tn_expand(t, (tn_ints){sizes, (int64_t)batch->rank + 2});
    return math_reshape(t, (int64_t[]){n_batch, m->sizes[m->rank - 2], m->sizes[m->rank - 1]}, 3);
}

/* Matrices with any leading dims -> [.., m, n] as `sizes`. */
static tn_tensor *product(tn_tensor *a, tn_tensor *b, tn_ints sizes) {
    tn_meta a_meta, b_meta, batch = {0};

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
    if (b_meta.rank == 2) { /* a's batches are rows of one product */
        const int64_t rows[3] = {1, rows_of(&a_meta), a_meta.sizes[a_meta.rank - 1]};
        a = math_reshape(a, rows, 3);
        return tn_reshape(tn_gemm(a, tn_unsqueeze(b, 0)), sizes);
    }
    math_broadcast(&batch, a_meta.sizes, a_meta.rank - 2);
    math_broadcast(&batch, b_meta.sizes, b_meta.rank - 2);
    const int64_t n = math_meta_numel(&batch);
    return tn_reshape(tn_gemm(batched(a, &a_meta, &batch, n), batched(b, &b_meta, &batch, n)),
                      sizes);
}

tn_tensor *math_compose_matmul(tn_tensor *a, tn_tensor *b) {
    tn_meta a_meta, b_meta, y = {0};

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
    math_broadcast(&y, a_meta.sizes, a_meta.rank > 2 ? a_meta.rank - 2 : 0);
    math_broadcast(&y, b_meta.sizes, b_meta.rank > 2 ? b_meta.rank - 2 : 0);
    if (a_meta.rank > 1)
        y.sizes[y.rank++] = a_meta.sizes[a_meta.rank - 2];
    else
        a = tn_unsqueeze(a, 0);
    if (b_meta.rank > 1)
        y.sizes[y.rank++] = b_meta.sizes[b_meta.rank - 1];
    else
        b = tn_unsqueeze(b, 1);
    return product(a, b, (tn_ints){y.sizes, y.rank});
}

/* (c, a, b, beta, alpha): the product's sizes, which c must broadcast to */
tn_status math_shape_addmm(tn_infer *in) {
    const tn_view *c = view_of(in, 0);
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];
    tn_status status;

    if (!c) return missing(in);
    if ((status = product_sizes(in, 1))) return status;
    if ((status = math_check_factor(in, 3, "beta"))) return status;
    if ((status = math_check_factor(in, 4, "alpha"))) return status;
    tn_meta y = in->outs[0];
    if (c->rank <= y.rank && math_broadcast(&y, c->sizes, c->rank) &&
        (!y.rank || !memcmp(y.sizes, in->outs[0].sizes, (size_t)y.rank * sizeof *y.sizes)))
        return TN_OK;
    return tnk_fail_shape(in, TN_ERR_SHAPE, "c%s does not broadcast to the product's sizes %s",
                          tnk_sizes_text(c->sizes, c->rank, have),
                          tnk_sizes_text(in->outs[0].sizes, in->outs[0].rank, want));
}

/* y = beta c + alpha a b */
void math_grad_addmm(math_grad_addmm_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0);

    if (TNK_NEEDS(c, c)) TNK_SET_GRAD(c, c, math_times(g, TNK_ARG(c, beta)));
    if (!TNK_NEEDS(c, a) && !TNK_NEEDS(c, b)) return;
    const tn_value alpha = TNK_ARG(c, alpha);
    if (alpha.tag == TN_TAG_FLOAT ? alpha.f != 1 : alpha.i != 1) /* g alpha is no result yet */
        g = math_times(math_wide(g), alpha);
    if (TNK_NEEDS(c, a)) TNK_SET_GRAD(c, a, tn_matmul(g, last_two_exchanged(TNK_SAVED(c, b))));
    if (TNK_NEEDS(c, b)) TNK_SET_GRAD(c, b, tn_matmul(last_two_exchanged(TNK_SAVED(c, a)), g));
}

static bool is_zero(tn_value number) {
    return number.tag == TN_TAG_FLOAT ? number.f == 0 : number.i == 0;
}

/* What stands beside a factor of 0 does not matter, not even if it is NaN. */
tn_tensor *math_compose_addmm(tn_tensor *c, tn_tensor *a, tn_tensor *b, tn_value beta,
                              tn_value alpha) {
    tn_tensor *y = tn_matmul(a, b);

    y = is_zero(alpha) ? tn_zeros_like(y) : math_times(y, alpha);
    if (!is_zero(beta)) y = tn_add(y, math_times(c, beta));
    return y;
}

/* [*,I] [O,I] and [O] -> [*,O]; [*,I] [I] and [] -> [*] */
tn_status math_shape_linear(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *w = view_of(in, 1), *b = view_of(in, 2);
    int64_t sizes[TN_MAX_RANK];

    if (!x || !w) return missing(in);
    if (x->sizes[x->rank - 1] != w->sizes[w->rank - 1])
        return mismatch(in, "x", x, "w", w, "their last dims must be equal");
    if (b && (b->rank != w->rank - 1 || (b->rank && b->sizes[0] != w->sizes[0])))
        return mismatch(in, "b", b, "w", w, "b must have one number for each row of w");
    if (w->rank == 1) return math_set_sizes(in, &in->outs[0], x->sizes, x->rank - 1, "result");
    for (int32_t i = 0; i < x->rank - 1; i++) sizes[i] = x->sizes[i];
    sizes[x->rank - 1] = w->sizes[0];
    return math_set_sizes(in, &in->outs[0], sizes, x->rank, "result");
}

static int32_t rank_of(tn_tensor *t) {
    tn_meta m;
    return tnk_meta(t, &m) ? m.rank : 0;
}

/* One kernel for w and b together, where a provider has it. A w of rank 1 is one row. */
void math_grad_linear(math_grad_linear_ctx *c) {
    tn_tensor *grad = TNK_GRAD(c, 0), *w = TNK_NEEDS(c, x) ? TNK_SAVED(c, w) : NULL;
    tn_tensor *x = TNK_NEEDS(c, w) ? TNK_SAVED(c, x) : NULL;
    const bool row = w ? rank_of(w) == 1 : x && rank_of(grad) < rank_of(x);
    tn_tensor *g = row ? tn_unsqueeze(grad, -1) : grad;

    if (w) TNK_SET_GRAD(c, x, tn_matmul(g, row ? tn_unsqueeze(w, 0) : w));
    if (!x) {
        if (TNK_NEEDS(c, b)) TNK_SET_GRAD(c, b, grad);
        return;
    }
    const tn_linear_bwd_result d = tn_linear_bwd(g, x);
    TNK_SET_GRAD(c, w, row ? tn_select(d.dw, 0, 0) : d.dw);
    if (TNK_NEEDS(c, b)) TNK_SET_GRAD(c, b, row ? tn_select(d.db, 0, 0) : d.db);
}

tn_tensor *math_compose_linear(tn_tensor *x, tn_tensor *w, tn_tensor *b) {
    tn_meta m;

    if (!tnk_meta(w, &m)) return NULL;
    tn_tensor *y = tn_matmul(x, m.rank == 1 ? w : tn_transpose(w, 0, 1));

    return b ? tn_add(y, b) : y;
}

/* Do a and b have the same sizes, but for the last? */
static bool same_rows(const tn_view *a, const tn_view *b) {
    return a->rank == b->rank &&
           (a->rank < 2 || !memcmp(a->sizes, b->sizes, (size_t)(a->rank - 1) * sizeof *a->sizes));
}

/* grad[*,O] x[*,I] -> dw[O,I] db[O] */
tn_status math_shape_linear_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *x = view_of(in, 1);

    if (!grad || !x) return missing(in);
    if (!same_rows(grad, x))
        return mismatch(in, "grad", grad, "x", x, "all sizes but the last must be equal");
    const int64_t sizes[2] = {grad->sizes[grad->rank - 1], x->sizes[x->rank - 1]};
    const tn_status status = math_set_sizes(in, &in->outs[0], sizes, 2, "result");
    return status ? status : math_set_sizes(in, &in->outs[1], sizes, 1, "result");
}

tn_linear_bwd_result math_compose_linear_bwd(tn_tensor *grad, tn_tensor *x) {
    const int64_t first = 0;
    tn_meta g_meta, x_meta;

    if (!tnk_meta(grad, &g_meta) || !tnk_meta(x, &x_meta)) return (tn_linear_bwd_result){0};
    grad = as_matrix(grad, &g_meta);
    tn_tensor *db = op_sum_dim(grad, (tn_ints){&first, 1}, false);
    tn_tensor *dw = tn_matmul(tn_transpose(grad, 0, 1), as_matrix(x, &x_meta));
    return (tn_linear_bwd_result){dw, db};
}

/* x1[*,I] x2[*,J] w[O,I,J] -> [*,O]; the contract has compared I and J */
tn_status math_shape_bilinear(tn_infer *in) {
    const tn_view *x1 = view_of(in, 0), *x2 = view_of(in, 1), *w = view_of(in, 2);
    int64_t sizes[TN_MAX_RANK];

    if (!x1 || !x2 || !w) return missing(in);
    if (!same_rows(x1, x2))
        return mismatch(in, "x1", x1, "x2", x2, "all sizes but the last must be equal");
    for (int32_t i = 0; i < x1->rank - 1; i++) sizes[i] = x1->sizes[i];
    sizes[x1->rank - 1] = w->sizes[0];
    return math_set_sizes(in, &in->outs[0], sizes, x1->rank, "result");
}

/* x1 times w[I, O J] is [.., O, J]; that times x2 is [.., O] */
tn_tensor *math_compose_bilinear(tn_tensor *x1, tn_tensor *x2, tn_tensor *w, tn_tensor *b) {
    tn_meta m, rows;

    w = tn_transpose(w, 0, 1);
    if (!tnk_meta(w, &m) || !tnk_meta(x1, &rows)) return NULL;
    const int64_t o = m.sizes[1], j = m.sizes[2];
    w = math_reshape(w, (int64_t[]){m.sizes[0], o * j}, 2);
    const int64_t n = rows_of(&rows);
    tn_tensor *left = math_reshape(tn_matmul(as_matrix(x1, &rows), w), (int64_t[]){n, o, j}, 3);
    tn_tensor *right = math_reshape(x2, (int64_t[]){n, j, 1}, 3);
    rows.sizes[rows.rank - 1] = o;
    tn_tensor *y = math_reshape(tn_gemm(left, right), rows.sizes, rows.rank);
    return b ? tn_add(y, b) : y;
}

tn_tensor *math_compose_trace(tn_tensor *x) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const int64_t n = m.sizes[0] < m.sizes[1] ? m.sizes[0] : m.sizes[1];
    return tn_sum(math_diagonal(math_narrow(math_narrow(x, 0, 0, n), 1, 0, n)));
}

/* x along dim as x[1] x[2] x[0]. */
static tn_tensor *turned(tn_tensor *x, int64_t dim) {
    tn_tensor *const parts[2] = {math_narrow(x, dim, 1, 2), math_narrow(x, dim, 0, 1)};
    return op_cat((tn_tensors){parts, 2}, dim);
}

static tn_tensor *no_three(const tn_meta *a, const tn_meta *b) {
    char a_text[TNK_LIST_BYTES], b_text[TNK_LIST_BYTES];
    return tnk_raise_null(TN_ERR_SHAPE, "a%s and b%s must have one rank, and both size 3 in dim",
                          tnk_sizes_text(a->sizes, a->rank, a_text),
                          tnk_sizes_text(b->sizes, b->rank, b_text));
}

/* a x b = turn(a turn(b) - turn(a) b); without dim along the first of size 3 */
tn_tensor *math_compose_cross(tn_tensor *a, tn_tensor *b, tn_maybe_int dim) {
    tn_meta m, a_meta, b_meta;

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
    if (a_meta.rank != b_meta.rank) return no_three(&a_meta, &b_meta);
    if (!math_broadcast_pair(&a, &b, &m)) return NULL;
    int64_t along = dim.set ? math_from_end(dim.value, m.rank) : 0;
    if (dim.set && (along < 0 || along >= m.rank))
        return tnk_raise_null(TN_ERR_INDEX, "dim is %lld, allowed are %d to %d",
                              (long long)dim.value, -(int)m.rank, (int)m.rank - 1);
    while (!dim.set && along < m.rank && m.sizes[along] != 3) along++;
    if (along >= m.rank || a_meta.sizes[along] != 3 || b_meta.sizes[along] != 3)
        return no_three(&a_meta, &b_meta);
    return turned(tn_sub(tn_mul(a, turned(b, along)), tn_mul(turned(a, along), b)), along);
}

/* Sizes of x with a 1 behind (after) or before every one; leading 1s make up for a lower rank. */
static tn_tensor *interleaved(tn_tensor *x, const tn_meta *m, int32_t rank, bool after) {
    int64_t sizes[2 * TN_MAX_RANK];

    for (int32_t i = 0; i < rank; i++) {
        const int32_t from = i - (rank - m->rank);
        sizes[2 * i + !after] = from < 0 ? 1 : m->sizes[from];
        sizes[2 * i + after] = 1;
    }
    return math_reshape(x, sizes, 2 * rank);
}

tn_tensor *math_compose_kron(tn_tensor *a, tn_tensor *b) {
    tn_meta a_meta, b_meta, y;

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
    const int32_t rank = a_meta.rank > b_meta.rank ? a_meta.rank : b_meta.rank;
    if (2 * rank > TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_SHAPE, "rank %d is more than %d, which this op can take",
                              (int)rank, TN_MAX_RANK / 2);
    tn_tensor *blocks =
        tn_mul(interleaved(a, &a_meta, rank, true), interleaved(b, &b_meta, rank, false));
    if (!tnk_meta(blocks, &y)) return NULL;
    for (int32_t i = 0; i < rank; i++) y.sizes[i] = y.sizes[2 * i] * y.sizes[2 * i + 1];
    return math_reshape(blocks, y.sizes, rank);
}
