/* decompositions_rearrange.c - the same elements in another order, more often, or among others.
 *
 * Invariant: results are new tensors; whole rows are copied through views, and what no view shows
 * is picked by an index computed from the sizes alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

/* 0, 1, ... n-1 plus first, where x lives. */
static tn_tensor *count_from(int64_t first, int64_t n, tn_tensor *x) {
    static tn_op_ref arange = {"arange", 0, 0};
    tn_device device;

    if (!x || tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return MATH_CALL(&arange, tn_int(first), tn_int(first + n), tn_int(1), tn_value_dtype(TN_I64),
                     tn_value_device(device));
}

/* value as a 0-dim tensor of x's dtype */
static tn_tensor *of_dtype(tn_tensor *x, tn_value value) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    m.rank = 0;
    return tn_fill_(math_full(&m, 0, x), value);
}

/* ---- Order -------------------------------------------------------------------------------- */

static tn_tensor *backwards(tn_tensor *x, int64_t dim) {
    static tn_op_ref slice = {"slice", 0, 0};
    return MATH_CALL(&slice, tn_value_tensor(x), tn_int(dim), tn_value_none(), tn_value_none(),
                     tn_int(-1));
}

static tn_tensor *flipped(tn_tensor *x, const tn_value *dims) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    for (uint32_t i = 0; m.rank && i < dims->aux; i++) x = backwards(x, dims->ints[i]);
    return x;
}

tn_status math_compose_flip(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    (void)n_outs;
    return give(outs, tn_clone(flipped(math_arg(args, n_args, 0), &args[1])));
}

/* Quarter turns from the first of dims towards the second. */
tn_status math_compose_rot90(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    const int64_t a = args[2].ints[0], b = args[2].ints[1];
    tn_tensor *x = math_arg(args, n_args, 0);

    (void)n_outs;
    switch (args[1].i & 3) {
    case 1:
        x = tn_transpose(backwards(x, b), a, b);
        break;
    case 2:
        x = backwards(backwards(x, a), b);
        break;
    case 3:
        x = backwards(tn_transpose(x, a, b), b);
        break;
    default:
        break;
    }
    return give(outs, tn_clone(x));
}

static tn_tensor *rolled(tn_tensor *x, int64_t shift, int64_t dim) {
    tn_meta m;

    if (!tnk_meta(x, &m) || m.rank == 0 || m.sizes[dim] == 0) return tn_clone(x);
    const int64_t n = m.sizes[dim], back = shift % n < 0 ? shift % n + n : shift % n;
    tn_tensor *const parts[2] = {math_narrow(x, dim, n - back, back),
                                 math_narrow(x, dim, 0, n - back)};
    return back ? math_cat(parts, 2, dim) : tn_clone(x);
}

/* Without dims: as if flat. */
tn_status math_compose_roll(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *y = x;
    const tn_value *shifts = &args[1], *dims = &args[2];
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (shifts->aux == 0 || shifts->aux != (dims->aux ? dims->aux : 1))
        return tnk_raise(TN_ERR_INVALID,
                         "roll: there are %u shifts for %u dims; give one for each, or one and no "
                         "dims",
                         (unsigned)shifts->aux, (unsigned)dims->aux);
    if (dims->aux == 0)
        y = math_reshape(
            rolled(math_reshape(x, (int64_t[]){math_meta_numel(&m)}, 1), shifts->ints[0], 0),
            m.sizes, m.rank);
    for (uint32_t i = 0; i < dims->aux; i++) { /* a dim may be rolled twice */
        const int64_t dim = math_from_end(dims->ints[i], m.rank);
        if (dim < 0 || dim >= m.rank)
            return tnk_raise(TN_ERR_INDEX, "roll: dims[%u] is %lld, but x has %d dims", (unsigned)i,
                             (long long)dims->ints[i], (int)m.rank);
        y = rolled(y, shifts->ints[i], dim);
    }
    return give(outs, y);
}

/* ---- Triangles and diagonals -------------------------------------------------------------- */

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
    tn_tensor *limit = tn_unsqueeze(count_from(diagonal, rows, x), 1);
    return give(outs, tn_where(keeps(count_from(0, columns, x), limit), x, of_dtype(x, tn_int(0))));
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

/* ---- More of the same --------------------------------------------------------------------- */

/* Each dim of x repeats[i] times over, after new dims in front. */
static tn_tensor *repeated(tn_tensor *x, const int64_t *repeats, int32_t n) {
    int64_t split[2 * TN_MAX_RANK], wide[2 * TN_MAX_RANK], sizes[TN_MAX_RANK];
    int32_t rank = 0;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    for (int32_t i = 0; i < n; i++) {
        const int64_t size = i < n - m.rank ? 1 : m.sizes[i - (n - m.rank)];
        if (__builtin_mul_overflow(size, repeats[i], &sizes[i])) {
            tnk_raise(TN_ERR_OVERFLOW, "repeat: dim %d would have too many elements", (int)i);
            return NULL;
        }
        if (repeats[i] != 1) split[rank] = 1, wide[rank++] = repeats[i];
        if (repeats[i] == 1 || size != 1) split[rank] = size, wide[rank++] = size;
    }
    tn_tensor *y = tn_expand(math_reshape(x, split, rank), (tn_ints){wide, rank});
    return math_reshape(y ? tn_clone(y) : y, sizes, n);
}

tn_status math_compose_repeat(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (args[1].aux < (uint32_t)m.rank || args[1].aux > TN_MAX_RANK)
        return tnk_raise(TN_ERR_SHAPE, "repeat: repeats has %u entries, x has rank %d",
                         (unsigned)args[1].aux, (int)m.rank);
    return give(outs, repeated(x, args[1].ints, (int32_t)args[1].aux));
}

/* As repeat, with 1 for the dims in front that are not named. */
tn_status math_compose_tile(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    int64_t repeats[TN_MAX_RANK];
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (args[1].aux > TN_MAX_RANK)
        return tnk_raise(TN_ERR_SHAPE, "tile: dims has %u entries", (unsigned)args[1].aux);
    const int32_t given = (int32_t)args[1].aux, n = given > m.rank ? given : m.rank;
    for (int32_t i = 0; i < n; i++) repeats[i] = i < n - given ? 1 : args[1].ints[i - (n - given)];
    return give(outs, repeated(x, repeats, n));
}

/* Each element repeats times in a row; without dim of x as if flat. */
tn_status math_compose_repeat_interleave(const tn_value *args, uint32_t n_args, tn_value *outs,
                                         uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m, wide;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (args[2].tag != TN_TAG_INT || m.rank == 0)
        m.sizes[0] = math_meta_numel(&m), m.rank = 1, x = math_reshape(x, m.sizes, 1);
    const int64_t dim = args[2].tag == TN_TAG_INT ? args[2].i : 0;
    wide = m;
    if (m.rank == TN_MAX_RANK)
        return tnk_raise(TN_ERR_SHAPE, "repeat_interleave: rank 16 leaves no room to repeat in");
    for (int32_t i = m.rank++; i > dim; i--) wide.sizes[i] = m.sizes[i - 1];
    wide.sizes[dim + 1] = args[1].i;
    tn_tensor *y = tn_expand(tn_unsqueeze(x, dim + 1), (tn_ints){wide.sizes, m.rank});
    if (__builtin_mul_overflow(m.sizes[dim], args[1].i, &m.sizes[dim]))
        return tnk_raise(TN_ERR_OVERFLOW, "repeat_interleave: too many elements");
    return give(outs, math_reshape(y ? tn_clone(y) : y, m.sizes, m.rank - 1));
}

/* ---- Padding ------------------------------------------------------------------------------ */

/* What pad, in PyTorch's order (last dim first, before and behind), says of dim. */
static int64_t before(const tn_value *pad, const tn_meta *m, int64_t dim, bool behind) {
    const int64_t at = 2 * (m->rank - 1 - dim) + behind;
    return at < (int64_t)pad->aux ? pad->ints[at] : 0;
}

/* x in the middle of value; a negative entry cuts off. */
tn_status math_compose_constant_pad(const tn_value *args, uint32_t n_args, tn_value *outs,
                                    uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_device device;
    tn_meta m, y;

    (void)n_outs;
    if (!tnk_meta(x, &m) || tn_plugin_ops->device(x, &device) != TN_OK) return tnk_pending();
    y = m;
    for (int32_t i = 0; i < m.rank; i++)
        y.sizes[i] += before(&args[1], &m, i, false) + before(&args[1], &m, i, true);
    tn_tensor *all = tn_plugin_ops->empty((tn_ints){y.sizes, y.rank}, m.dtype, device);
    tn_tensor *part = tn_fill_(all, args[2]);
    for (int32_t i = 0; part && x && i < m.rank; i++) {
        const int64_t left = before(&args[1], &m, i, false);
        const int64_t start = left < 0 ? -left : 0, place = left < 0 ? 0 : left;
        int64_t n = m.sizes[i] - start;
        if (n > y.sizes[i] - place) n = y.sizes[i] - place;
        if (n < 0) n = 0;
        x = math_narrow(x, i, n ? start : 0, n), part = math_narrow(part, i, n ? place : 0, n);
    }
    return give(outs, tn_copy_(part, x) ? all : NULL);
}

/* Which of n elements stands at each place from -left to n + right - 1. Where a side is cut off,
 * circular goes round in what is left, as PyTorch does; the others go by x as it was. */
static tn_tensor *source_of(tn_tensor *x, const tn_value *mode, int64_t n, int64_t left,
                            int64_t right) {
    static tn_op_ref clamp = {"clamp", 0, 0};
    tn_tensor *at = count_from(-left, left + n + right, x);

    if (math_says(mode, "circular")) {
        const int64_t first = left < 0 ? -left : 0, kept = n - first + (right < 0 ? right : 0);
        return tn_add(
            tn_remainder(tn_sub(at, tnk_scalar_int(first)), tnk_scalar_int(kept ? kept : 1)),
            tnk_scalar_int(first));
    }
    if (math_says(mode, "reflect"))
        return tn_sub(tnk_scalar_int(n - 1), tn_abs(tn_sub(tnk_scalar_int(n - 1), tn_abs(at))));
    return MATH_CALL(&clamp, tn_value_tensor(at), tn_int(0), tn_int(n - 1));
}

tn_status math_compose_pad(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *const x = math_arg(args, n_args, 0), *y = x;
    const tn_value *pad = &args[1];
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (math_says(&args[2], "constant"))
        return give(outs, tn_constant_pad(x, (tn_ints){pad->ints, pad->aux}, args[3]));
    for (int64_t i = m.rank - (int64_t)pad->aux / 2; i < m.rank; i++) {
        const int64_t left = before(pad, &m, i, false), right = before(pad, &m, i, true);
        if (left == 0 && right == 0) continue;
        y = tn_index_select(y, i, source_of(y, &args[2], m.sizes[i], left, right));
    }
    return give(outs, y == x ? tn_clone(x) : y);
}

/* ---- Masks -------------------------------------------------------------------------------- */

tn_status math_compose_masked_fill(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);

    (void)n_outs;
    return give(outs, tn_where(math_arg(args, n_args, 1), of_dtype(x, args[2]), x));
}

/* Refuses a 0-dim value that a dtype cannot hold, in the words of masked_fill. */
static bool is_held(tn_tensor *value, tn_dtype dtype) {
    static tn_op_ref masked_fill = {"masked_fill", 0, 0};
    const tn_meta one = {.dtype = dtype};
    tn_meta m;

    if (!tnk_meta(value, &m)) return false;
    const int index = tn_dtype_index(m.dtype);
    const bool is_float = index >= 0 && (TN_MASK_FLOAT >> index & 1);
    tn_value number = is_float ? tn_float(0) : tn_int(0);
    value = tn_to(value, is_float ? TN_F64 : TN_I64);
    if (!value || tn_plugin_ops->read(value, &number.i, sizeof number.i) != TN_OK) return false;
    return MATH_CALL(&masked_fill, tn_value_tensor(math_full(&one, 0, value)),
                     tn_value_tensor(tn_plugin_ops->scalar(tn_bool(false))), number) != NULL;
}

tn_status math_compose_masked_fill_tensor(const tn_value *args, uint32_t n_args, tn_value *outs,
                                          uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *value = math_arg(args, n_args, 2);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m) || !is_held(value, m.dtype)) return tnk_pending();
    return give(outs, tn_where(math_arg(args, n_args, 1), tn_to(value, m.dtype), x));
}

/* Both as large as they are together. */
static bool broadcast_both(tn_tensor **x, tn_tensor **mask, tn_meta *together) {
    char a[TNK_LIST_BYTES], b[TNK_LIST_BYTES];
    tn_meta m;

    if (!tnk_meta(*x, together) || !tnk_meta(*mask, &m)) return false;
    const tn_meta have = *together;
    if (!math_broadcast(together, m.sizes, m.rank)) {
        tnk_raise(TN_ERR_SHAPE, "x%s and mask%s do not broadcast",
                  tnk_sizes_text(have.sizes, have.rank, a), tnk_sizes_text(m.sizes, m.rank, b));
        return false;
    }
    const tn_ints sizes = {together->sizes, together->rank};
    *x = tn_expand(*x, sizes), *mask = tn_expand(*mask, sizes);
    return *x && *mask;
}

static tn_tensor *flat(tn_tensor *t) { return math_reshape(t, (int64_t[]){-1}, 1); }

tn_status math_compose_masked_select(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *mask = math_arg(args, n_args, 1);
    tn_meta m;

    (void)n_outs;
    if (!broadcast_both(&x, &mask, &m)) return tnk_pending();
    return give(outs, tn_index_select(flat(x), 0, flat(tn_nonzero(flat(mask)))));
}

/* source at the number of true elements before each place: what the mask hides reads the first. */
tn_status math_compose_masked_scatter(const tn_value *args, uint32_t n_args, tn_value *outs,
                                      uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *mask = math_arg(args, n_args, 1);
    tn_meta m;

    (void)n_outs;
    if (!broadcast_both(&x, &mask, &m)) return tnk_pending();
    tn_tensor *seen = tn_sub(tn_cumsum(tn_to(flat(mask), TN_I64), 0), tnk_scalar_int(1));
    tn_tensor *place = tn_where(flat(mask), seen, tnk_scalar_int(0));
    tn_tensor *picked = tn_index_select(flat(math_arg(args, n_args, 2)), 0, place);
    return give(outs, tn_where(mask, math_reshape(picked, m.sizes, m.rank), x));
}

/* ---- Joins -------------------------------------------------------------------------------- */

/* Joined once each has `least` dims: vectors become rows, numbers vectors. */
static tn_status join(const tn_value *xs, int32_t least, tn_value *outs) {
    const uint64_t n = xs->aux;
    tn_tensor **list = tn_plugin_host->alloc(tn_plugin_self, (n ? n : 1) * sizeof *list);
    tn_meta m = {.rank = 1};

    if (!list) return tnk_raise(TN_ERR_NOMEM, "no memory for the list");
    for (uint64_t i = 0; i < n; i++) {
        list[i] = xs->tensors[i];
        for (int32_t rank = tnk_meta(list[i], &m) ? m.rank : least; rank < least; rank++)
            list[i] = tn_unsqueeze(list[i], 0);
    }
    const int64_t dim = least == 1 && m.rank > 1;
    tn_tensor *y = math_cat(list, (int64_t)n, dim);
    tn_plugin_host->free(tn_plugin_self, list);
    return give(outs, y);
}

tn_status math_compose_hstack(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    (void)n_args, (void)n_outs;
    return join(&args[0], 1, outs);
}

tn_status math_compose_vstack(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    (void)n_args, (void)n_outs;
    return join(&args[0], 2, outs);
}
