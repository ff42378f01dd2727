/* derivatives_matrix.c - derivatives of matrix products.
 *
 * Invariant: as in derivatives.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"

static tn_tensor *last_two_exchanged(tn_tensor *t) { return tn_transpose(t, -2, -1); }

/* t as a matrix with all leading dims in the rows. */
static tn_tensor *as_matrix(tn_tensor *t, const tn_meta *m) {
    const int64_t sizes[2] = {math_rows(m), m->sizes[m->rank - 1]};
    return math_reshape(t, sizes, 2);
}

/* Transposed left times right. Where only `left` has batches, they are rows of one product: no sum
 * afterwards. */
static tn_tensor *left_product(tn_tensor *left, tn_tensor *right, bool one_product) {
    tn_meta l, r;

    if (!one_product) return tn_matmul(last_two_exchanged(left), right);
    if (!math_meta(left, &l) || !math_meta(right, &r)) return NULL;
    return tn_matmul(last_two_exchanged(as_matrix(left, &l)), as_matrix(right, &r));
}

/* A vector a counts as one row, a vector b as one column; y has then lost that dim. */
void math_grad_matmul(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c), *a = saved(c, "a"), *b = saved(c, "b");
    tn_meta a_meta, b_meta;

    if (!meta_of(c, "a", &a_meta) || !meta_of(c, "b", &b_meta)) return;
    const bool row = a_meta.rank == 1, column = b_meta.rank == 1;
    if (column) b = tn_unsqueeze(b, 1), g = tn_unsqueeze(g, -1);
    if (row) a = tn_unsqueeze(a, 0), g = tn_unsqueeze(g, -2);
    if (needs(c, "a"))
        set(c, "a", tn_matmul(g, last_two_exchanged(b))); /* [..,1,k] of a row: summed to [k] */
    if (!needs(c, "b")) return;
    tn_tensor *d_b = left_product(a, g, b_meta.rank <= 2 && a_meta.rank > 2);
    set(c, "b", column ? tn_select(d_b, -1, 0) : d_b);
}

void math_grad_linear(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);

    if (needs(c, "x")) set(c, "x", tn_matmul(g, saved(c, "w")));
    if (needs(c, "b")) set(c, "b", g);
    if (!needs(c, "w")) return;
    tn_meta g_meta, x_meta;
    tn_tensor *x = saved(c, "x");
    if (!math_meta(g, &g_meta) || !math_meta(x, &x_meta)) return;
    set(c, "w", tn_matmul(last_two_exchanged(as_matrix(g, &g_meta)), as_matrix(x, &x_meta)));
}
