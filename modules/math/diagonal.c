/* diagonal.c - diagonals and triangles of matrices.
 *
 * Invariant: diagonal is a view; the others are new tensors, made through views.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* The elements at (i, i + offset) of dims dim1 and dim2, as a new last dim. */
tn_status math_shape_diagonal(tn_infer *in) {
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    const int64_t dim1 = in->args[2].i, dim2 = in->args[3].i;
    if (dim1 == dim2)
        return tnk_fail_shape(in, TN_ERR_INVALID, "dim1 and dim2 are both %lld", (long long)dim1);
    const int64_t rows = y.sizes[dim1], columns = y.sizes[dim2];
    const int64_t offset = clip(in->args[1].i, -rows, columns);
    const int64_t across = y.strides[dim1], along = y.strides[dim2];
    int64_t n = offset < 0 ? rows + offset : rows;
    if (n > columns - (offset > 0 ? offset : 0)) n = columns - (offset > 0 ? offset : 0);
    if (n > 0) y.offset = offset < 0 ? -offset * across : offset * along;
    int32_t rank = 0;
    for (int32_t i = 0; i < y.rank; i++) {
        if (i == dim1 || i == dim2) continue;
        y.sizes[rank] = y.sizes[i], y.strides[rank++] = y.strides[i];
    }
    y.sizes[rank] = n, y.strides[rank] = n > 1 ? across + along : 1;
    y.rank = rank + 1;
    return math_finish_view(in, &y);
}

void math_grad_diagonal(math_grad_diagonal_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    TNK_SET_GRAD(c, x,
                 op_diagonal_bwd(TNK_GRAD(c, 0), (tn_ints){x.sizes, x.rank}, TNK_ARG(c, offset),
                                 TNK_ARG(c, dim1), TNK_ARG(c, dim2)));
}

tn_tensor *math_compose_diagonal_bwd(tn_tensor *grad, tn_ints sizes, int64_t offset, int64_t dim1,
                                     int64_t dim2) {
    tn_tensor *whole = math_zeros(grad, sizes);
    return math_put(whole, op_diagonal(whole, offset, dim1, dim2), grad);
}

/* x where column - row stands in the given relation to diagonal, else 0. */
static tn_tensor *triangle(tn_tensor *x, int64_t diagonal,
                           tn_tensor *(*keeps)(tn_tensor *, tn_tensor *)) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const int64_t rows = m.sizes[m.rank - 2], columns = m.sizes[m.rank - 1];
    if (diagonal < -rows) diagonal = -rows; /* beyond these nothing changes */
    if (diagonal > columns) diagonal = columns;
    tn_tensor *limit = tn_unsqueeze(math_count_from(diagonal, rows, x), 1);
    return tn_where(keeps(math_count_from(0, columns, x), limit), x, math_of_dtype(x, tn_int(0)));
}

tn_tensor *math_compose_tril(tn_tensor *x, int64_t diagonal) {
    return triangle(x, diagonal, tn_le);
}

tn_tensor *math_compose_triu(tn_tensor *x, int64_t diagonal) {
    return triangle(x, diagonal, tn_ge);
}

/* Zeros with x on the diagonal of dims dim1 and dim2. */
static tn_tensor *embedded(tn_tensor *x, int64_t offset, int64_t dim1, int64_t dim2) {
    tn_meta m;
    int64_t sizes[TN_MAX_RANK], side;

    if (!tnk_meta(x, &m)) return NULL;
    const int32_t rank = m.rank + 1;
    if (__builtin_add_overflow(m.sizes[m.rank - 1], offset < 0 ? -(offset + 1) : offset, &side) ||
        __builtin_add_overflow(side, offset < 0, &side))
        return tnk_raise_null(TN_ERR_OVERFLOW, "diag_embed: offset %lld is too large",
                              (long long)offset);
    for (int32_t i = 0, from = 0; i < rank; i++)
        sizes[i] = i == dim1 || i == dim2 ? side : m.sizes[from++];
    return op_diagonal_bwd(x, (tn_ints){sizes, rank}, offset, dim1, dim2);
}

/* A vector becomes a matrix, of a matrix the diagonal is taken. */
tn_tensor *math_compose_diag(tn_tensor *x, int64_t diagonal) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (m.rank == 1) return embedded(x, diagonal, 0, 1);
    return tn_clone(op_diagonal(x, diagonal, 0, 1));
}

/* the dims are those of the result */
tn_tensor *math_compose_diag_embed(tn_tensor *x, int64_t offset, int64_t dim1, int64_t dim2) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const int64_t rank = m.rank + 1;
    const int64_t dims[2] = {dim1, dim2};
    for (int i = 0; i < 2; i++)
        if (dims[i] < -rank || dims[i] >= rank)
            return tnk_raise_null(TN_ERR_INDEX,
                                  "diag_embed: dim%d is %lld, allowed are %lld to %lld", i + 1,
                                  (long long)dims[i], (long long)-rank, (long long)rank - 1);
    dim1 = math_from_end(dim1, rank);
    dim2 = math_from_end(dim2, rank);
    if (dim1 == dim2 || rank > TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_INVALID,
                              rank > TN_MAX_RANK ? "diag_embed: rank %lld would be more than 16"
                                                 : "diag_embed: dim1 and dim2 are both %lld",
                              (long long)(rank > TN_MAX_RANK ? rank : dim1));
    return embedded(x, offset, dim1, dim2);
}
