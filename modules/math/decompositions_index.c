/* decompositions_index.c - picking and spreading rows, by one index for each element.
 *
 * Invariant: an index of rows is shown to every element of its row as a view of stride 0, so that
 * the kernels below see the same bounds rule.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

/* index, of rank 1 (or 0: one row), for every element of x's rows along dim. */
static tn_tensor *row_index(tn_tensor *x, int64_t dim, tn_tensor *index) {
    tn_meta m, have;

    if (!tnk_meta(x, &m) || !tnk_meta(index, &have)) return NULL;
    if (m.rank == 0) return math_reshape(index, NULL, 0);
    int64_t sizes[TN_MAX_RANK];
    for (int32_t i = 0; i < m.rank; i++) sizes[i] = 1;
    sizes[dim] = m.sizes[dim] = math_meta_numel(&have);
    return tn_expand(math_reshape(index, sizes, m.rank), (tn_ints){m.sizes, m.rank});
}

tn_status math_compose_scatter_value(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 2);
    tn_meta m, one;

    (void)n_outs;
    if (!tnk_meta(x, &one) || !tnk_meta(index, &m)) return tnk_pending();
    one.rank = 0;
    tn_tensor *value = tn_fill_(math_full(&one, 0, x), args[3]);
    return give(outs,
                tn_scatter(x, args[1].i, index, tn_expand(value, (tn_ints){m.sizes, m.rank})));
}

tn_status math_compose_index_select(const tn_value *args, uint32_t n_args, tn_value *outs,
                                    uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);

    (void)n_outs;
    return give(outs, tn_gather(x, args[1].i, row_index(x, args[1].i, math_arg(args, n_args, 2))));
}

tn_status math_compose_index_add(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_tensor *index = row_index(x, args[1].i, math_arg(args, n_args, 2));

    (void)n_outs;
    return give(
        outs, tn_scatter_add(x, args[1].i, index, math_times(math_arg(args, n_args, 3), args[4])));
}

tn_status math_compose_index_copy(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_tensor *index = row_index(x, args[1].i, math_arg(args, n_args, 2));

    (void)n_outs;
    return give(outs, tn_scatter(x, args[1].i, index, math_arg(args, n_args, 3)));
}

/* Here negative indices count from the end, as PyTorch has it. */
tn_status math_compose_index_fill(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 2);
    const int64_t dim = args[1].i;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    index = tn_wrap_index(index, m.rank ? m.sizes[dim] : 1);
    return give(outs, tn_scatter_value(x, dim, row_index(x, dim, index), args[3]));
}

/* ---- Tables ------------------------------------------------------------------------------- */

static tn_tensor *flat(tn_tensor *t) { return math_reshape(t, (int64_t[]){-1}, 1); }

tn_status math_compose_embedding(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *weight = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 1);
    tn_meta w, m;

    (void)n_outs;
    if (!tnk_meta(weight, &w) || !tnk_meta(index, &m)) return tnk_pending();
    tn_tensor *rows = tn_index_select(weight, 0, flat(index));
    m.sizes[m.rank] = w.sizes[1]; /* the shape rule has checked the rank */
    return give(outs, math_reshape(rows, m.sizes, m.rank + 1));
}

/* (grad, index, num, padding_idx) */
tn_status math_compose_embedding_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 1);
    tn_meta m, n;

    (void)n_outs;
    if (!tnk_meta(grad, &m) || !tnk_meta(index, &n)) return tnk_pending();
    const int64_t row = m.sizes[m.rank - 1];
    index = flat(index);
    tn_tensor *rows = math_reshape(grad, (int64_t[]){math_meta_numel(&n), row}, 2);
    if (args[3].tag == TN_TAG_INT)
        rows = tn_masked_fill(rows, tn_unsqueeze(tn_eq(index, tnk_scalar_int(args[3].i)), 1),
                              tn_int(0));
    m.rank = 2, m.sizes[0] = args[2].i, m.sizes[1] = row;
    static tn_op_ref op = {"index_add", 0, 0};
    return give(outs, MATH_CALL(&op, tn_value_tensor(math_full(&m, 0, grad)), tn_int(0),
                                tn_value_tensor(index), tn_value_tensor(rows)));
}
