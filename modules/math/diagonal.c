/* diagonal.c - diagonals and triangles of matrices.
 *
 * Invariant: diagonal is a view; the others are new tensors, made through views.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"
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

void math_grad_diagonal(tn_grad_ctx *c) {
    static tn_op_ref op = {"diagonal_bwd", 0, 0};
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    set(c, "x",
        MATH_CALL(&op, tn_value_tensor(grad_of(c)), tn_value_ints((tn_ints){x.sizes, x.rank}),
                  arg(c, "offset"), arg(c, "dim1"), arg(c, "dim2")));
}

tn_status math_compose_diagonal_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                    uint32_t n_outs) {
    static tn_op_ref op = {"diagonal", 0, 0};

    (void)n_outs;
    return math_put_back(&op, args, n_args, outs);
}

/* x where column - row stands in the given relation to diagonal, else 0. */
static tn_status triangle(const tn_value *args, uint32_t n_args, tn_value *outs,
                          tn_tensor *(*keeps)(tn_tensor *, tn_tensor *)) {
    tn_tensor *x = math_arg(args, n_args, 0);
    int64_t diagonal = args[1].i;
    tn_meta m;

    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t rows = m.sizes[m.rank - 2], columns = m.sizes[m.rank - 1];
    if (diagonal < -rows) diagonal = -rows; /* beyond these nothing changes */
    if (diagonal > columns) diagonal = columns;
    tn_tensor *limit = tn_unsqueeze(math_count_from(diagonal, rows, x), 1);
    return give(outs, tn_where(keeps(math_count_from(0, columns, x), limit), x,
                               math_of_dtype(x, tn_int(0))));
}

tn_status math_compose_tril(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    (void)n_outs;
    return triangle(args, n_args, outs, tn_le);
}

tn_status math_compose_triu(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    (void)n_outs;
    return triangle(args, n_args, outs, tn_ge);
}

/* Zeros with x on the diagonal of dims dim1 and dim2. */
static tn_tensor *embedded(tn_tensor *x, int64_t offset, int64_t dim1, int64_t dim2) {
    static tn_op_ref op = {"diagonal_bwd", 0, 0};
    tn_meta m;
    int64_t sizes[TN_MAX_RANK], side;

    if (!tnk_meta(x, &m)) return NULL;
    const int32_t rank = m.rank + 1;
    if (__builtin_add_overflow(m.sizes[m.rank - 1], offset < 0 ? -(offset + 1) : offset, &side) ||
        __builtin_add_overflow(side, offset < 0, &side)) {
        tnk_raise(TN_ERR_OVERFLOW, "diag_embed: offset %lld is too large", (long long)offset);
        return NULL;
    }
    for (int32_t i = 0, from = 0; i < rank; i++)
        sizes[i] = i == dim1 || i == dim2 ? side : m.sizes[from++];
    return MATH_CALL(&op, tn_value_tensor(x), tn_value_ints((tn_ints){sizes, rank}), tn_int(offset),
                     tn_int(dim1), tn_int(dim2));
}

/* A vector becomes a matrix, of a matrix the diagonal is taken. */
tn_status math_compose_diag(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    static tn_op_ref diagonal = {"diagonal", 0, 0};
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (m.rank == 1) return give(outs, embedded(x, args[1].i, 0, 1));
    return give(outs, tn_clone(MATH_CALL(&diagonal, tn_value_tensor(x), args[1])));
}

/* (x, offset, dim1, dim2): the dims are those of the result */
tn_status math_compose_diag_embed(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t rank = m.rank + 1;
    for (int i = 2; i < 4; i++)
        if (args[i].i < -rank || args[i].i >= rank)
            return tnk_raise(TN_ERR_INDEX, "diag_embed: dim%d is %lld, allowed are %lld to %lld",
                             i - 1, (long long)args[i].i, (long long)-rank, (long long)rank - 1);
    const int64_t dim1 = math_from_end(args[2].i, rank), dim2 = math_from_end(args[3].i, rank);
    if (dim1 == dim2 || rank > TN_MAX_RANK)
        return tnk_raise(TN_ERR_INVALID,
                         rank > TN_MAX_RANK ? "diag_embed: rank %lld would be more than 16"
                                            : "diag_embed: dim1 and dim2 are both %lld",
                         (long long)(rank > TN_MAX_RANK ? rank : dim1));
    return give(outs, embedded(x, args[1].i, dim1, dim2));
}
