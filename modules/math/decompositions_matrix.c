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

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
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
    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return tnk_pending();
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
    tn_tensor *w = math_arg(args, n_args, 1), *b = math_arg(args, n_args, 2);
    tn_meta m;

    if (!tnk_meta(w, &m)) return tnk_pending();
    tn_tensor *y = tn_matmul(math_arg(args, n_args, 0), m.rank == 1 ? w : tn_transpose(w, 0, 1));

    (void)n_outs;
    return give(outs, b ? tn_add(y, b) : y);
}

static bool is_zero(tn_value number) {
    return number.tag == TN_TAG_FLOAT ? number.f == 0 : number.i == 0;
}

/* (c, a, b, beta, alpha): what stands beside a factor of 0 does not matter, not even if it is
 * NaN. */
tn_status math_compose_addmm(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    tn_tensor *y = tn_matmul(math_arg(args, n_args, 1), math_arg(args, n_args, 2));

    (void)n_outs;
    y = is_zero(args[4]) ? tn_zeros_like(y) : math_times(y, args[4]);
    if (!is_zero(args[3])) y = tn_add(y, math_times(math_arg(args, n_args, 0), args[3]));
    return give(outs, y);
}

/* (grad, x) -> dw, db */
tn_status math_compose_linear_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *x = math_arg(args, n_args, 1);
    const int64_t first = 0;
    tn_meta g_meta, x_meta;

    (void)n_outs;
    if (!tnk_meta(grad, &g_meta) || !tnk_meta(x, &x_meta)) return tnk_pending();
    grad = math_as_matrix(grad, &g_meta);
    outs[1] = tn_value_tensor(tn_sum_dim(grad, (tn_ints){&first, 1}, NULL));
    return give(outs, tn_matmul(tn_transpose(grad, 0, 1), math_as_matrix(x, &x_meta)));
}

/* x1 times w[I, O J] is [.., O, J]; that times x2 is [.., O] */
tn_status math_compose_bilinear(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x1 = math_arg(args, n_args, 0), *b = math_arg(args, n_args, 3);
    tn_tensor *w = tn_transpose(math_arg(args, n_args, 2), 0, 1);
    tn_meta m, rows;

    (void)n_outs;
    if (!tnk_meta(w, &m) || !tnk_meta(x1, &rows)) return tnk_pending();
    const int64_t o = m.sizes[1], j = m.sizes[2];
    w = math_reshape(w, (int64_t[]){m.sizes[0], o * j}, 2);
    const int64_t n = math_rows(&rows);
    tn_tensor *left =
        math_reshape(tn_matmul(math_as_matrix(x1, &rows), w), (int64_t[]){n, o, j}, 3);
    tn_tensor *right = math_reshape(math_arg(args, n_args, 1), (int64_t[]){n, j, 1}, 3);
    rows.sizes[rows.rank - 1] = o;
    tn_tensor *y = math_reshape(tn_gemm(left, right), rows.sizes, rows.rank);
    return give(outs, b ? tn_add(y, b) : y);
}

tn_status math_compose_trace(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t n = m.sizes[0] < m.sizes[1] ? m.sizes[0] : m.sizes[1];
    return give(outs, tn_sum(math_diagonal(math_narrow(math_narrow(x, 0, 0, n), 1, 0, n))));
}

/* x along dim as x[1] x[2] x[0]. */
static tn_tensor *turned(tn_tensor *x, int64_t dim) {
    tn_tensor *const parts[2] = {math_narrow(x, dim, 1, 2), math_narrow(x, dim, 0, 1)};
    return math_cat(parts, 2, dim);
}

static tn_status no_three(const tn_meta *a, const tn_meta *b) {
    char a_text[TNK_LIST_BYTES], b_text[TNK_LIST_BYTES];
    return tnk_raise(TN_ERR_SHAPE, "a%s and b%s must have one rank, and both size 3 in dim",
                     tnk_sizes_text(a->sizes, a->rank, a_text),
                     tnk_sizes_text(b->sizes, b->rank, b_text));
}

/* a x b = turn(a turn(b) - turn(a) b) */
tn_status math_compose_cross(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    tn_tensor *a = math_arg(args, n_args, 0), *b = math_arg(args, n_args, 1);
    int64_t dim = 0;
    tn_meta m, a_meta, b_meta;

    (void)n_outs;
    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return tnk_pending();
    if (a_meta.rank != b_meta.rank) return no_three(&a_meta, &b_meta);
    if (!math_broadcast_pair(&a, &b, &m)) return tnk_pending();
    if (args[2].tag == TN_TAG_INT) {
        dim = math_from_end(args[2].i, m.rank);
        if (dim < 0 || dim >= m.rank)
            return tnk_raise(TN_ERR_INDEX, "dim is %lld, allowed are %d to %d",
                             (long long)args[2].i, -(int)m.rank, (int)m.rank - 1);
    } else {
        while (dim < m.rank && m.sizes[dim] != 3) dim++;
    }
    if (dim >= m.rank || a_meta.sizes[dim] != 3 || b_meta.sizes[dim] != 3)
        return no_three(&a_meta, &b_meta);
    return give(outs, turned(tn_sub(tn_mul(a, turned(b, dim)), tn_mul(turned(a, dim), b)), dim));
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

tn_status math_compose_kron(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    tn_tensor *a = math_arg(args, n_args, 0), *b = math_arg(args, n_args, 1);
    tn_meta a_meta, b_meta, y;

    (void)n_outs;
    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return tnk_pending();
    const int32_t rank = a_meta.rank > b_meta.rank ? a_meta.rank : b_meta.rank;
    if (2 * rank > TN_MAX_RANK)
        return tnk_raise(TN_ERR_SHAPE, "rank %d is more than %d, which this op can take", (int)rank,
                         TN_MAX_RANK / 2);
    tn_tensor *blocks =
        tn_mul(interleaved(a, &a_meta, rank, true), interleaved(b, &b_meta, rank, false));
    if (!tnk_meta(blocks, &y)) return tnk_pending();
    for (int32_t i = 0; i < rank; i++) y.sizes[i] = y.sizes[2 * i] * y.sizes[2 * i + 1];
    return give(outs, math_reshape(blocks, y.sizes, rank));
}
