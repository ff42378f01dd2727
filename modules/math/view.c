/* view.c - views: the same bytes seen in other sizes and strides.
 *
 * Invariant: strides count elements and offset counts from the argument's first element; every
 * element that a result shows is one that the argument shows. Nothing is copied but what flatten
 * and unflatten cannot show without it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

tn_status math_shape_transpose(tn_infer *in) {
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    if (y.rank > 0) { /* a 0-dim tensor counts as having one dim */
        const int64_t a = in->args[1].i, b = in->args[2].i, size = y.sizes[a],
                      stride = y.strides[a];
        y.sizes[a] = y.sizes[b], y.strides[a] = y.strides[b];
        y.sizes[b] = size, y.strides[b] = stride;
    }
    return math_finish_view(in, &y);
}

/* the contract has refused dims that are wrong or repeated */
tn_status math_shape_permute(tn_infer *in) {
    tn_meta x, y;

    if (!math_start_view(in, &x)) return TN_ERR_INVALID;
    y = x;
    if (in->args[1].aux != (uint32_t)x.rank)
        return tnk_fail_shape(in, TN_ERR_SHAPE,
                              "dims has %u entries, x has rank %d: every dim must be named once",
                              (unsigned)in->args[1].aux, (int)x.rank);
    for (int32_t i = 0; i < x.rank; i++) {
        const int64_t from = in->args[1].ints[i];
        y.sizes[i] = x.sizes[from], y.strides[i] = x.strides[from];
    }
    return math_finish_view(in, &y);
}

void math_grad_permute(math_grad_permute_ctx *c) {
    const tn_ints dims = TNK_ARG(c, dims);
    int64_t back[TN_MAX_RANK] = {0};

    if (dims.n > TN_MAX_RANK) return; /* the shape rule has refused it */
    for (int64_t i = 0; i < dims.n; i++) back[math_from_end(dims.ptr[i], dims.n)] = i;
    TNK_SET_GRAD(c, x, tn_permute(TNK_GRAD(c, 0), (tn_ints){back, dims.n}));
}

/* A bound of a Python slice: negative counts from the end, then clipped to low..high. */
static int64_t bound(const tn_value *v, int64_t absent, int64_t size, int64_t low, int64_t high) {
    if (v->tag != TN_TAG_INT) return absent;
    return clip(v->i < 0 ? v->i + size : v->i, low,
                high); /* v->i < 0 <= size: the sum cannot overflow */
}

tn_status math_shape_slice(tn_infer *in) {
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, step = in->args[4].i, size = y.sizes[dim];
    if (step == 0 || step == INT64_MIN)
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "step is %lld: it must not be 0, and its negative must fit",
                              (long long)step);
    const bool up = step > 0;
    const int64_t low = up ? 0 : -1, high = up ? size : size - 1;
    const int64_t first = bound(&in->args[2], up ? 0 : high, size, low, high);
    const int64_t end = bound(&in->args[3], up ? high : -1, size, low, high);
    const int64_t span = up ? end - first : first - end, width = up ? step : -step;
    const int64_t count = span > 0 ? (span - 1) / width + 1 : 0;

    y.offset = count > 0 ? first * y.strides[dim] : 0;
    y.sizes[dim] = count;
    /* with one element or none the stride is never used, and a huge step must not overflow it */
    y.strides[dim] = count > 1 ? y.strides[dim] * step : 1;
    return math_finish_view(in, &y);
}

void math_grad_slice(math_grad_slice_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    TNK_SET_GRAD(c, x,
                 op_slice_bwd(TNK_GRAD(c, 0), (tn_ints){x.sizes, x.rank}, TNK_ARG(c, dim),
                              TNK_ARG(c, start), TNK_ARG(c, end), TNK_ARG(c, step)));
}

/* slice_bwd, select_bwd */
tn_status math_shape_sizes(tn_infer *in) { return math_from_sizes(in, 1, "sizes"); }

tn_tensor *math_compose_slice_bwd(tn_tensor *grad, tn_ints sizes, int64_t dim, tn_maybe_int start,
                                  tn_maybe_int end, int64_t step) {
    tn_tensor *whole = math_zeros(grad, sizes);
    return math_put(whole, op_slice(whole, dim, start, end, step), grad);
}

tn_status math_shape_select(tn_infer *in) {
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, index = in->args[2].i, size = y.sizes[dim];
    if (index < -size || index >= size)
        return tnk_fail_shape(in, TN_ERR_INDEX, "index is %lld, x has size %lld in dim %lld",
                              (long long)index, (long long)size, (long long)dim);
    y.offset = (index < 0 ? index + size : index) * y.strides[dim];
    for (int32_t i = (int32_t)dim; i + 1 < y.rank; i++)
        y.sizes[i] = y.sizes[i + 1], y.strides[i] = y.strides[i + 1];
    y.rank--;
    return math_finish_view(in, &y);
}

void math_grad_select(math_grad_select_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    TNK_SET_GRAD(c, x,
                 tn_select_bwd(TNK_GRAD(c, 0), (tn_ints){x.sizes, x.rank}, TNK_ARG(c, dim),
                               TNK_ARG(c, index)));
}

tn_tensor *math_compose_select_bwd(tn_tensor *grad, tn_ints sizes, int64_t dim, int64_t index) {
    tn_tensor *whole = math_zeros(grad, sizes);
    return math_put(whole, tn_select(whole, dim, index), grad);
}

tn_status math_shape_expand(tn_infer *in) {
    tn_meta x, y;
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!math_start_view(in, &x)) return TN_ERR_INVALID;
    const int64_t *sizes = in->args[1].ints, rank = in->args[1].aux, more = rank - x.rank;
    if (rank > TN_MAX_RANK) return math_set_sizes(in, &in->outs[0], sizes, rank, "sizes");
    memset(&y, 0, sizeof y);
    y.rank = (int32_t)rank;
    bool fits = more >= 0;
    for (int32_t i = 0; fits && i < rank; i++) {
        const int64_t from = i < more ? 1 : x.sizes[i - more];
        fits = sizes[i] == from || (sizes[i] == -1 && i >= more) || (from == 1 && sizes[i] >= 0);
        y.sizes[i] = sizes[i] == -1 ? from : sizes[i];
        y.strides[i] = i >= more && y.sizes[i] == from ? x.strides[i - more] : 0;
    }
    if (!fits)
        return tnk_fail_shape(
            in, TN_ERR_SHAPE,
            "x%s cannot be expanded to sizes %s: only new dims and dims of size 1 can grow",
            tnk_sizes_text(x.sizes, x.rank, have), tnk_sizes_text(sizes, (int32_t)rank, want));
    const tn_status status = math_set_sizes(in, &y, y.sizes, rank, "sizes");
    return status ? status : math_finish_view(in, &y);
}

/* Row-major strides; a dim of size 0 counts as 1. */
static void dense_strides(tn_meta *out) {
    int64_t stride = 1;
    for (int32_t i = out->rank - 1; i >= 0; i--) {
        out->strides[i] = stride;
        stride *= out->sizes[i] > 1 ? out->sizes[i] : 1;
    }
}

/* Walks x's dims from the right in groups that are dense within (each stride is the next one times
 * the next size); the new dims must fill every group exactly. */
static bool view_strides(const tn_meta *x, tn_meta *out) {
    int64_t base = x->rank ? x->strides[x->rank - 1] : 1, group = 1, filled = 1;
    int32_t to = out->rank - 1;

    if (math_meta_numel(x) <= 1) {
        dense_strides(out);
        return true;
    }
    for (int32_t from = x->rank - 1; from >= 0; from--) {
        group *= x->sizes[from];
        const bool last =
            from == 0 || (x->sizes[from - 1] != 1 && x->strides[from - 1] != group * base);
        if (!last) continue;
        while (to >= 0 && (filled < group || out->sizes[to] == 1)) {
            out->strides[to] = filled * base;
            filled *= out->sizes[to--];
        }
        if (filled != group) return false;
        if (from > 0) base = x->strides[from - 1], group = 1, filled = 1;
    }
    return to == -1;
}

static bool infer_sizes(const tn_meta *x, tn_ints sizes, tn_meta *out, char why[TNK_LIST_BYTES]) {
    char have[TNK_LIST_BYTES / 3], text[TNK_LIST_BYTES];
    int64_t known = 1;
    int32_t guess = -1;

    snprintf(have, sizeof have, "%.105s", tnk_sizes_text(x->sizes, x->rank, text));
    memset(out, 0, sizeof *out);
    out->dtype = x->dtype;
    if (sizes.n > TN_MAX_RANK) {
        snprintf(why, TNK_LIST_BYTES, "sizes has %lld entries, a tensor at most %d dims",
                 (long long)sizes.n, TN_MAX_RANK);
        return false;
    }
    bool fits = true;
    for (int32_t i = 0; i < sizes.n; i++) {
        const bool open = sizes.ptr[i] == -1 && guess < 0;
        if (open)
            guess = i;
        else
            fits =
                fits && sizes.ptr[i] >= 0 && !__builtin_mul_overflow(known, sizes.ptr[i], &known);
        out->sizes[i] = sizes.ptr[i];
    }
    out->rank = (int32_t)sizes.n;
    const int64_t n = math_meta_numel(x);
    if (fits && guess >= 0) {
        fits = known > 0 && n % known == 0;
        if (fits) out->sizes[guess] = n / known;
    } else
        fits = fits && known == n;
    if (!fits)
        snprintf(why, TNK_LIST_BYTES, "x%.100s has %lld elements, which do not fill sizes %.100s",
                 have, (long long)n, tnk_sizes_text(sizes.ptr, (int32_t)sizes.n, text));
    return fits && math_sizes_fit(out->sizes, out->rank);
}

/* sizes of view and reshape, in y. */
static tn_status new_sizes(tn_infer *in, tn_meta *x, tn_meta *y) {
    char why[TNK_LIST_BYTES] = "sizes do not fit";

    if (!math_start_view(in, x)) return TN_ERR_INVALID;
    if (!infer_sizes(x, tnk_as_ints(in->args[1]), y, why)) return tn_fail(in, TN_ERR_SHAPE, why);
    return TN_OK;
}

tn_status math_shape_view(tn_infer *in) {
    char have[TNK_LIST_BYTES], strides[TNK_LIST_BYTES];
    tn_meta x, y;

    const tn_status status = new_sizes(in, &x, &y);
    if (status) return status;
    if (!view_strides(&x, &y))
        return tnk_fail_shape(
            in, TN_ERR_SHAPE,
            "x%s has strides %s, which no view of the sizes asked for can follow; "
            "use reshape, which copies",
            tnk_sizes_text(x.sizes, x.rank, have), tnk_sizes_text(x.strides, x.rank, strides));
    return math_finish_view(in, &y);
}

/* view, squeeze, unsqueeze: back to x's sizes */
void math_grad_reshaped(math_grad_reshaped_ctx *c) {
    tn_meta x;
    if (TNK_META_OF(c, x, &x)) TNK_SET_GRAD(c, x, math_reshape(TNK_GRAD(c, 0), x.sizes, x.rank));
}

tn_status math_shape_reshape(tn_infer *in) {
    tn_meta x, y;
    const tn_status status = new_sizes(in, &x, &y);
    return status ? status : math_set_sizes(in, &in->outs[0], y.sizes, y.rank, "sizes");
}

tn_tensor *math_compose_reshape(tn_tensor *x, tn_ints sizes) {
    char why[TNK_LIST_BYTES] = "";
    tn_meta m, y;

    if (!tnk_meta(x, &m)) return NULL;
    if (!infer_sizes(&m, sizes, &y, why)) return tnk_raise_null(TN_ERR_SHAPE, "%s", why);
    if (!view_strides(&m, &y)) x = tn_clone(x);
    return tn_view_sizes(x, (tn_ints){y.sizes, y.rank});
}

static tn_status bad_dim(tn_infer *in, int64_t dim, int64_t limit) {
    return tnk_fail_shape(in, TN_ERR_INDEX, "dim is %lld, allowed are %lld to %lld", (long long)dim,
                          (long long)-limit, (long long)limit - 1);
}

tn_status math_shape_unsqueeze(tn_infer *in) {
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    const int64_t limit = (int64_t)y.rank + 1;
    if (limit > TN_MAX_RANK) return math_set_sizes(in, &in->outs[0], y.sizes, limit, "result");
    int64_t dim = in->args[1].i;
    if (dim < -limit || dim >= limit) return bad_dim(in, dim, limit);
    if (dim < 0) dim += limit;
    const int64_t stride = dim < y.rank ? y.sizes[dim] * y.strides[dim] : 1;
    for (int32_t i = y.rank; i > dim; i--)
        y.sizes[i] = y.sizes[i - 1], y.strides[i] = y.strides[i - 1];
    y.sizes[dim] = 1, y.strides[dim] = stride, y.rank++;
    return math_finish_view(in, &y);
}

tn_status math_shape_squeeze(tn_infer *in) {
    tn_meta x, y;

    if (!math_start_view(in, &x)) return TN_ERR_INVALID;
    const bool one = in->n_args > 1 && in->args[1].tag == TN_TAG_INT;
    const int64_t limit = x.rank ? x.rank : 1;
    int64_t dim = one ? in->args[1].i : 0;
    if (dim < -limit || dim >= limit) return bad_dim(in, dim, limit);
    if (dim < 0) dim += limit;
    y = x, y.rank = 0;
    for (int32_t i = 0; i < x.rank; i++) {
        if (x.sizes[i] == 1 && (!one || i == dim)) continue;
        y.sizes[y.rank] = x.sizes[i], y.strides[y.rank++] = x.strides[i];
    }
    return math_finish_view(in, &y);
}

/* start may count from the end; start + length must stay inside. */
tn_tensor *math_compose_narrow(tn_tensor *x, int64_t dim, int64_t start, int64_t length) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const int64_t size = m.sizes[dim];
    if (start < -size || start > size)
        return tnk_raise_null(TN_ERR_INDEX, "narrow: start is %lld, x has size %lld in dim %lld",
                              (long long)start, (long long)size, (long long)dim);
    if (start < 0) start += size;
    if (length > size - start)
        return tnk_raise_null(
            TN_ERR_INDEX, "narrow: start %lld and length %lld reach beyond size %lld of dim %lld",
            (long long)start, (long long)length, (long long)size, (long long)dim);
    return math_narrow(x, dim, start, length);
}

tn_tensor *math_compose_flatten(tn_tensor *x, int64_t start_dim, int64_t end_dim) {
    const int64_t first = start_dim, last = end_dim;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (m.rank == 0) return tn_unsqueeze(x, 0);
    if (first > last)
        return tnk_raise_null(TN_ERR_INVALID, "flatten: start_dim %lld is behind end_dim %lld",
                              (long long)first, (long long)last);
    for (int64_t i = first + 1; i <= last; i++) m.sizes[first] *= m.sizes[i];
    for (int64_t i = last + 1; i < m.rank; i++) m.sizes[i - last + first] = m.sizes[i];
    return math_reshape(x, m.sizes, m.rank - (int32_t)(last - first));
}

/* One of sizes may be -1. */
tn_tensor *math_compose_unflatten(tn_tensor *x, int64_t dim, tn_ints sizes) {
    const int64_t n = sizes.n;
    char why[TNK_LIST_BYTES] = "";
    tn_meta m, part, one = {.rank = 1};

    if (!tnk_meta(x, &m)) return NULL;
    one.sizes[0] = m.sizes[dim];
    if (n == 0 || m.rank - 1 + n > TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_SHAPE, "unflatten: sizes has %lld entries, for x of rank %d",
                              (long long)n, (int)m.rank);
    if (!infer_sizes(&one, sizes, &part, why))
        return tnk_raise_null(TN_ERR_SHAPE, "unflatten: dim %lld: %s", (long long)dim, why);
    memmove(m.sizes + dim + n, m.sizes + dim + 1, (size_t)(m.rank - dim - 1) * sizeof *m.sizes);
    memcpy(m.sizes + dim, part.sizes, (size_t)n * sizeof *m.sizes);
    return tn_view_sizes(x, (tn_ints){m.sizes, m.rank - 1 + n});
}

/* The dims of source go to those of destination; the others keep their order. */
tn_tensor *math_compose_movedim(tn_tensor *x, tn_ints source, tn_ints destination) {
    int64_t from[TN_MAX_RANK];
    uint32_t placed = 0, moved = 0;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (source.n != destination.n)
        return tnk_raise_null(TN_ERR_INVALID, "movedim: source has %u dims, destination %u",
                              (unsigned)source.n, (unsigned)destination.n);
    for (int64_t i = 0; i < source.n && m.rank; i++) {
        from[destination.ptr[i]] = source.ptr[i];
        placed |= 1u << destination.ptr[i], moved |= 1u << source.ptr[i];
    }
    for (int32_t i = 0, next = 0; i < m.rank; i++) {
        if (placed >> i & 1) continue;
        while (moved >> next & 1) next++;
        from[i] = next++;
    }
    return tn_permute(x, (tn_ints){from, m.rank});
}

tn_tensor *math_compose_expand_as(tn_tensor *x, tn_tensor *other) {
    tn_meta m;
    return tnk_meta(other, &m) ? tn_expand(x, (tn_ints){m.sizes, m.rank}) : NULL;
}

tn_tensor *math_compose_view_as(tn_tensor *x, tn_tensor *other) {
    tn_meta m;
    return tnk_meta(other, &m) ? tn_view_sizes(x, (tn_ints){m.sizes, m.rank}) : NULL;
}
