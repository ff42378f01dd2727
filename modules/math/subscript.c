/* subscript.c - x[i, j, ...] and x[mask], read and written.
 *
 * As in PyTorch: a boolean tensor stands for the indices of its true elements, one tensor for each
 * of its dims; absent entries take a whole dim; index tensors broadcast together, and their dims
 * land where the first of them was, or in front if a whole dim stands between them.
 * Invariant: the indexed dims are moved to the front and made one; below there are only rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

typedef struct plan {
    const char *op;
    tn_tensor *index[TN_MAX_RANK]; /* for each dim of x, of i64; NULL: the whole dim */
    tn_meta x, together;           /* together: the index tensors, broadcast */
    int32_t n, first;              /* indexed dims; the first of them */
    bool apart;                    /* a whole dim stands between them */
    int64_t order[TN_MAX_RANK];    /* x's dims, indexed ones in front */
} plan;

static bool refuse_rank(const plan *p, uint32_t entry) {
    tnk_raise(TN_ERR_INDEX, "%s: indices[%u] is one too many for x of rank %d", p->op,
              (unsigned)entry, (int)p->x.rank);
    return false;
}

/* One index for each of the mask's dims. */
static bool take_mask(plan *p, tn_tensor *mask, const tn_meta *m, uint32_t entry, int32_t *dim) {
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (m->rank > p->x.rank - *dim) return refuse_rank(p, entry);
    if (m->rank && memcmp(m->sizes, p->x.sizes + *dim, (size_t)m->rank * sizeof *m->sizes) != 0) {
        tnk_raise(TN_ERR_INDEX, "%s: indices[%u] is a mask of sizes %s, but x has %s there", p->op,
                  (unsigned)entry, tnk_sizes_text(m->sizes, m->rank, have),
                  tnk_sizes_text(p->x.sizes + *dim, m->rank, want));
        return false;
    }
    tn_tensor *at = tn_nonzero(mask);
    for (int32_t i = 0; i < m->rank; i++) p->index[(*dim)++] = tn_select(at, 1, i);
    return at != NULL;
}

static bool take_entry(plan *p, tn_tensor *t, uint32_t entry, int32_t *dim) {
    tn_meta m;

    if (!t) return ++*dim <= p->x.rank || refuse_rank(p, entry);
    if (!tnk_meta(t, &m)) return false;
    const int index = tn_dtype_index(m.dtype);
    if (index == TN_IX_BOOL && m.rank > 0) return take_mask(p, t, &m, entry, dim);
    if (index != TN_IX_I64 && index != TN_IX_I32) {
        tnk_raise(TN_ERR_DTYPE,
                  "%s: indices[%u] must be integers, i64 or i32, or a mask of rank 1 or more; "
                  "convert it",
                  p->op, (unsigned)entry);
        return false;
    }
    if (*dim >= p->x.rank) return refuse_rank(p, entry);
    if (index != TN_IX_I64) t = tn_to(t, TN_I64);
    p->index[*dim] = tn_wrap_index(t, p->x.sizes[*dim]);
    return p->index[(*dim)++] != NULL;
}

/* Which dims are indexed, and in what order all stand once those are in front. */
static void arrange(plan *p) {
    int32_t rest = 0, last = -1;

    p->first = -1;
    for (int32_t i = 0; i < p->x.rank; i++) {
        if (!p->index[i]) continue;
        if (p->first < 0) p->first = i;
        p->apart = p->apart || (last >= 0 && last != i - 1);
        p->order[p->n++] = last = i;
    }
    for (int32_t i = 0; i < p->x.rank; i++)
        if (!p->index[i]) p->order[p->n + rest++] = i;
    if (p->apart) p->first = 0;
}

static bool broadcast_indices(plan *p) {
    char a[TNK_LIST_BYTES], b[TNK_LIST_BYTES];
    tn_meta m;

    for (int32_t i = 0; i < p->x.rank; i++) {
        if (!p->index[i]) continue;
        if (!tnk_meta(p->index[i], &m)) return false;
        const tn_meta have = p->together;
        if (math_broadcast(&p->together, m.sizes, m.rank)) continue;
        tnk_raise(TN_ERR_INDEX, "%s: index tensors of sizes %s and %s do not broadcast", p->op,
                  tnk_sizes_text(have.sizes, have.rank, a), tnk_sizes_text(m.sizes, m.rank, b));
        return false;
    }
    if (p->together.rank + p->x.rank - p->n <= TN_MAX_RANK) return true;
    tnk_raise(TN_ERR_SHAPE, "%s: the result would have rank %d; at most %d are possible", p->op,
              (int)(p->together.rank + p->x.rank - p->n), TN_MAX_RANK);
    return false;
}

static bool make_plan(plan *p, const char *op, tn_tensor *x, tn_tensors indices) {
    int32_t dim = 0;

    memset(p, 0, sizeof *p);
    p->op = op;
    if (!tnk_meta(x, &p->x)) return false;
    for (int64_t i = 0; i < indices.n; i++)
        if (!take_entry(p, indices.ptr[i], (uint32_t)i, &dim)) return false;
    arrange(p);
    if (p->n) return broadcast_indices(p);
    tnk_raise(TN_ERR_INVALID, "%s: indices names no tensor", op);
    return false;
}

/* The indexed dims of x as one, in front: [rows, rest...]. rows is filled, shape is that view's. */
static tn_tensor *as_rows(const plan *p, tn_tensor *x, tn_meta *shape) {
    int64_t rows = 1;

    shape->rank = 1;
    for (int32_t i = 0; i < p->x.rank; i++)
        if (i < p->n)
            rows *= p->x.sizes[p->order[i]];
        else
            shape->sizes[shape->rank++] = p->x.sizes[p->order[i]];
    shape->sizes[0] = rows;
    x = tn_permute(x, (tn_ints){p->order, p->x.rank});
    return p->n == 1 ? x : math_reshape(x, shape->sizes, shape->rank);
}

/* The row that each element of the broadcast indices names. */
static tn_tensor *row_of(const plan *p) {
    tn_tensor *row = NULL;

    for (int32_t i = 0; i < p->n; i++) {
        const int64_t dim = p->order[i];
        tn_tensor *size = tn_plugin_ops->scalar(tn_int(p->x.sizes[dim]));
        row = i ? tn_add(tn_mul(row, size), p->index[dim]) : p->index[dim];
    }
    row = tn_expand(row, (tn_ints){p->together.sizes, p->together.rank});
    return math_reshape(row, (int64_t[]){math_meta_numel(&p->together)}, 1);
}

/* The dims of the result: together's in front, then the whole ones; and that order moved so that
 * together's stand at p->first. */
static int32_t result_dims(const plan *p, tn_meta *front, int64_t place[TN_MAX_RANK]) {
    const int32_t n = p->together.rank, rest = p->x.rank - p->n;

    front->rank = n + rest;
    memcpy(front->sizes, p->together.sizes, (size_t)n * sizeof *front->sizes);
    for (int32_t i = 0; i < rest; i++) front->sizes[n + i] = p->x.sizes[p->order[p->n + i]];
    for (int32_t i = 0; i < front->rank; i++)
        place[i] = i < p->first ? n + i : i < p->first + n ? i - p->first : i;
    return front->rank;
}

tn_tensor *math_compose_index(tn_tensor *x, tn_tensors indices) {
    int64_t place[TN_MAX_RANK];
    tn_meta rows, front;
    plan p;

    if (!make_plan(&p, "index", x, indices)) return NULL;
    const int32_t rank = result_dims(&p, &front, place);
    tn_tensor *y = tn_index_select(as_rows(&p, x, &rows), 0, row_of(&p));
    y = math_reshape(y, front.sizes, rank);
    return p.first ? tn_contiguous(tn_permute(y, (tn_ints){place, rank})) : y;
}

/* x, with rows put, or added, at the places along dim 0. */
static tn_tensor *put_rows(tn_tensor *x, tn_tensor *at, tn_tensor *rows, bool accumulate) {
    return accumulate ? op_index_add(x, 0, at, rows, tn_int(1)) : tn_index_copy(x, 0, at, rows);
}

tn_tensor *math_compose_index_put(tn_tensor *x, tn_tensors indices, tn_tensor *values,
                                  bool accumulate) {
    int64_t place[TN_MAX_RANK], back[TN_MAX_RANK], sizes[TN_MAX_RANK];
    tn_meta rows, front, m;
    plan p;

    if (!make_plan(&p, "index_put", x, indices) || !tnk_meta(values, &m)) return NULL;
    if (!tn_dtype_is(m.dtype, p.x.dtype))
        return tnk_raise_null(TN_ERR_DTYPE, "index_put: values must have x's dtype; convert them");
    const int32_t rank = result_dims(&p, &front, place);
    for (int32_t i = 0; i < rank; i++) sizes[i] = front.sizes[place[i]], back[place[i]] = i;
    values = tn_permute(tn_expand(values, (tn_ints){sizes, rank}), (tn_ints){back, rank});
    x = as_rows(&p, x, &rows);
    rows.sizes[0] = math_meta_numel(&p.together);
    values = math_reshape(values, rows.sizes, rows.rank);
    tn_tensor *row = row_of(&p);
    tn_tensor *y = put_rows(x, row, values, accumulate);
    for (int32_t i = 0; i < p.x.rank; i++) sizes[i] = p.x.sizes[p.order[i]], back[p.order[i]] = i;
    y = tn_permute(math_reshape(y, sizes, p.x.rank), (tn_ints){back, p.x.rank});
    return tn_contiguous(y);
}

static tn_tensor *flat(tn_tensor *t) { return math_reshape(t, (int64_t[]){-1}, 1); }

/* x as if flat, index as its places. */
static bool flat_index(tn_tensor **x, tn_tensor **index) {
    tn_meta m;

    if (!tnk_meta(*x, &m)) return false;
    *index = tn_wrap_index(flat(*index), math_meta_numel(&m)), *x = flat(*x);
    return *x && *index;
}

tn_tensor *math_compose_take(tn_tensor *x, tn_tensor *index) {
    tn_meta m;

    if (!tnk_meta(index, &m) || !flat_index(&x, &index)) return NULL;
    return math_reshape(tn_index_select(x, 0, index), m.sizes, m.rank);
}

/* (x, index, source): as x; index and source have as many elements */
tn_status math_shape_put(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 1), *source = view_of(in, 2);

    if (!x || !index || !source) return missing(in);
    if (tn_view_numel(index) != tn_view_numel(source))
        return mismatch(in, "index", index, "source", source, "both need as many elements");
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

tn_tensor *math_compose_put(tn_tensor *x, tn_tensor *index, tn_tensor *source, bool accumulate) {
    tn_meta m;

    source = flat(source);
    if (!tnk_meta(x, &m) || !flat_index(&x, &index)) return NULL;
    return math_reshape(put_rows(x, index, source, accumulate), m.sizes, m.rank);
}

/* gather, with x and index broadcast in all dims but dim; without dim both as if flat. Negative
 * indices count from the end. */
tn_tensor *math_compose_take_along_dim(tn_tensor *x, tn_tensor *index, tn_maybe_int along_dim) {
    const int64_t dim = along_dim.value;
    char a[TNK_LIST_BYTES], b[TNK_LIST_BYTES];
    tn_meta m, n;

    if (!along_dim.set) return flat_index(&x, &index) ? tn_gather(x, 0, index) : NULL;
    if (!tnk_meta(x, &m) || !tnk_meta(index, &n)) return NULL;
    index = tn_wrap_index(index, m.rank ? m.sizes[dim] : 1);
    tn_meta both = m;
    if (n.rank == m.rank && m.rank) both.sizes[dim] = 1;
    const int64_t along = n.rank == m.rank && m.rank ? n.sizes[dim] : 1;
    if (n.rank == m.rank && m.rank) n.sizes[dim] = 1;
    if (n.rank != m.rank || !math_broadcast(&both, n.sizes, n.rank))
        return tnk_raise_null(
            TN_ERR_SHAPE, "take_along_dim: x%s and index%s do not fit beside dim %lld",
            tnk_sizes_text(m.sizes, m.rank, a), tnk_sizes_text(n.sizes, n.rank, b), (long long)dim);
    if (m.rank == 0) return tn_gather(x, 0, index);
    both.sizes[dim] = m.sizes[dim];
    x = tn_expand(x, (tn_ints){both.sizes, both.rank});
    both.sizes[dim] = along;
    return tn_gather(x, dim, tn_expand(index, (tn_ints){both.sizes, both.rank}));
}

tn_tensor *math_compose_masked_fill(tn_tensor *x, tn_tensor *mask, tn_value value) {
    return tn_where(mask, math_of_dtype(x, value), x);
}

/* Refuses a 0-dim value that a dtype cannot hold, in the words of masked_fill. */
static bool is_held(tn_tensor *value, tn_dtype dtype) {
    const tn_meta one = {.dtype = dtype};
    tn_meta m;

    if (!tnk_meta(value, &m)) return false;
    const bool is_float = tn_dtype_in(m.dtype, TN_MASK_FLOAT);
    tn_value number = is_float ? tn_float(0) : tn_int(0);
    value = tn_to(value, is_float ? TN_F64 : TN_I64);
    if (!value || tn_plugin_ops->read(value, &number.i, sizeof number.i) != TN_OK) return false;
    tn_tensor *nowhere = tn_plugin_ops->scalar(tn_bool(false));
    return tn_masked_fill(math_full(&one, 0, value), nowhere, number) != NULL;
}

tn_tensor *math_compose_masked_fill_tensor(tn_tensor *x, tn_tensor *mask, tn_tensor *value) {
    tn_meta m;

    if (!tnk_meta(x, &m) || !is_held(value, m.dtype)) return NULL;
    return tn_where(mask, tn_to(value, m.dtype), x);
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

tn_tensor *math_compose_masked_select(tn_tensor *x, tn_tensor *mask) {
    tn_meta m;

    if (!broadcast_both(&x, &mask, &m)) return NULL;
    return tn_index_select(flat(x), 0, flat(tn_nonzero(flat(mask))));
}

/* (x, mask): broadcast */
tn_status math_shape_masked(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *mask = view_of(in, 1);
    tn_meta both;

    if (!x || !mask) return missing(in);
    math_view_meta(x, &both);
    if (!math_broadcast(&both, mask->sizes, mask->rank))
        return mismatch(in, "x", x, "mask", mask, "they must broadcast");
    return math_set_sizes(in, &in->outs[0], both.sizes, both.rank, "result");
}

/* source at the number of true elements before each place: what the mask hides reads the first. */
tn_tensor *math_compose_masked_scatter(tn_tensor *x, tn_tensor *mask, tn_tensor *source) {
    tn_meta m;

    if (!broadcast_both(&x, &mask, &m)) return NULL;
    tn_tensor *seen = tn_sub(tn_cumsum(tn_to(flat(mask), TN_I64), 0), tnk_scalar_int(1));
    tn_tensor *place = tn_where(flat(mask), seen, tnk_scalar_int(0));
    tn_tensor *picked = tn_index_select(flat(source), 0, place);
    return tn_where(mask, math_reshape(picked, m.sizes, m.rank), x);
}
