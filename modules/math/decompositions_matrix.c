/* decompositions_matrix.c - matrix products written in other ops.
 *
 * Invariant: as in decompositions.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

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

    if (!math_meta(a, &a_meta) || !math_meta(b, &b_meta)) return NULL;
    if (b_meta.rank == 2) { /* a's batches are rows of one product */
        const int64_t rows[3] = {1, math_rows(&a_meta), a_meta.sizes[a_meta.rank - 1]};
        a = math_reshape(a, rows, 3);
        return tn_reshape(tn_gemm(a, tn_unsqueeze(b, 0)), sizes);
    }
    math_broadcast(&batch, a_meta.sizes, a_meta.rank - 2);
    math_broadcast(&batch, b_meta.sizes, b_meta.rank - 2);
    const int64_t n = math_meta_numel(&batch);
    return tn_reshape(tn_gemm(batched(a, &a_meta, &batch, n), batched(b, &b_meta, &batch, n)),
                      sizes);
}

tn_status math_compose_matmul(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *a = math_arg(args, n_args, 0), *b = math_arg(args, n_args, 1);
    tn_meta a_meta, b_meta, y = {0};

    (void)n_outs;
    if (!math_meta(a, &a_meta) || !math_meta(b, &b_meta)) return pending();
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
    return give(outs, product(a, b, (tn_ints){y.sizes, y.rank}));
}

tn_status math_compose_linear(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *b = math_arg(args, n_args, 2);
    tn_tensor *y =
        tn_matmul(math_arg(args, n_args, 0), tn_transpose(math_arg(args, n_args, 1), 0, 1));

    (void)n_outs;
    return give(outs, b ? tn_add(y, b) : y);
}
