/* derivatives_matrix.c - derivatives of matrix products.
 *
 * Invariant: as in derivatives.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"

static tn_tensor *last_two_exchanged(tn_tensor *t) { return tn_transpose(t, -2, -1); }

/* Transposed left times right. Where only `left` has batches, they are rows of one product: no sum
 * afterwards. */
static tn_tensor *left_product(tn_tensor *left, tn_tensor *right, bool one_product) {
    tn_meta l, r;

    if (!one_product) return tn_matmul(last_two_exchanged(left), right);
    if (!tnk_meta(left, &l) || !tnk_meta(right, &r)) return NULL;
    return tn_matmul(last_two_exchanged(math_as_matrix(left, &l)), math_as_matrix(right, &r));
}

/* A vector a counts as one row, a vector b as one column; y has then lost that dim. */
void math_grad_matmul(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);
    tn_meta a_meta, b_meta;

    if (!meta_of(c, "a", &a_meta) || !meta_of(c, "b", &b_meta)) return;
    const bool row = a_meta.rank == 1, column = b_meta.rank == 1;
    if (column) g = tn_unsqueeze(g, -1);
    if (row) g = tn_unsqueeze(g, -2);
    if (needs(c, "a")) {
        tn_tensor *b = saved(c, "b");
        if (column) b = tn_unsqueeze(b, 1);
        set(c, "a", tn_matmul(g, last_two_exchanged(b))); /* [..,1,k] of a row: summed to [k] */
    }
    if (!needs(c, "b")) return;
    tn_tensor *a = saved(c, "a");
    if (row) a = tn_unsqueeze(a, 0);
    tn_tensor *d_b = left_product(a, g, b_meta.rank <= 2 && a_meta.rank > 2);
    set(c, "b", column ? tn_select(d_b, -1, 0) : d_b);
}

/* y = beta c + alpha a b */
void math_grad_addmm(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);

    if (needs(c, "c")) set(c, "c", math_times(g, arg(c, "beta")));
    if (!needs(c, "a") && !needs(c, "b")) return;
    const tn_value alpha = arg(c, "alpha");
    if (alpha.tag == TN_TAG_FLOAT ? alpha.f != 1 : alpha.i != 1) /* g alpha is no result yet */
        g = math_times(math_wide(g), alpha);
    if (needs(c, "a")) set(c, "a", tn_matmul(g, last_two_exchanged(saved(c, "b"))));
    if (needs(c, "b")) set(c, "b", tn_matmul(last_two_exchanged(saved(c, "a")), g));
}

static int32_t rank_of(tn_tensor *t) {
    tn_meta m;
    return tnk_meta(t, &m) ? m.rank : 0;
}

/* One kernel for w and b together, where a provider has it. A w of rank 1 is one row. */
void math_grad_linear(tn_grad_ctx *c) {
    tn_tensor *grad = grad_of(c), *w = needs(c, "x") ? saved(c, "w") : NULL;
    tn_tensor *x = needs(c, "w") ? saved(c, "x") : NULL;
    const bool row = w ? rank_of(w) == 1 : x && rank_of(grad) < rank_of(x);
    tn_tensor *g = row ? tn_unsqueeze(grad, -1) : grad;

    if (w) set(c, "x", tn_matmul(g, row ? tn_unsqueeze(w, 0) : w));
    if (!x) {
        if (needs(c, "b")) set(c, "b", grad);
        return;
    }
    const tn_linear_bwd_result d = tn_linear_bwd(g, x);
    set(c, "w", row ? tn_select(d.dw, 0, 0) : d.dw);
    if (needs(c, "b")) set(c, "b", row ? tn_select(d.db, 0, 0) : d.db);
}
