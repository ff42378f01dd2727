/* shapes_view.c - shape rules of views: the same bytes seen in other sizes and strides.
 *
 * Invariant: strides count elements and offset counts from the argument's first element; every
 * element that a result shows is one that the argument shows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/rows.h"

#include <stdio.h>
#include <string.h>

/* in's first argument as the start of outs[0], to be changed. False: failed. */
static bool start(tn_infer *in, tn_meta *y) {
    if (in->n_args < 1 || in->args[0].tag != TN_TAG_VIEW) {
        tnk_fail_shape(in, TN_ERR_INVALID, "x is missing");
        return false;
    }
    math_view_meta(in->args[0].view, y);
    return true;
}

static tn_status finish(tn_infer *in, const tn_meta *y) {
    const tn_dtype dtype = in->outs[0].dtype;

    in->outs[0] = *y;
    in->outs[0].dtype = dtype;
    return TN_OK;
}

static tn_status bad_dim(tn_infer *in, int64_t dim, int64_t limit) {
    return tnk_fail_shape(in, TN_ERR_INDEX, "dim is %lld, allowed are %lld to %lld", (long long)dim,
                          (long long)-limit, (long long)limit - 1);
}

/* ---- Dims in another order ---------------------------------------------------------------- */

tn_status math_shape_transpose(tn_infer *in) {
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
    if (y.rank > 0) { /* a 0-dim tensor counts as having one dim */
        const int64_t a = in->args[1].i, b = in->args[2].i, size = y.sizes[a],
                      stride = y.strides[a];
        y.sizes[a] = y.sizes[b], y.strides[a] = y.strides[b];
        y.sizes[b] = size, y.strides[b] = stride;
    }
    return finish(in, &y);
}

/* the contract has refused dims that are wrong or repeated */
tn_status math_shape_permute(tn_infer *in) {
    tn_meta x, y;

    if (!start(in, &x)) return TN_ERR_INVALID;
    y = x;
    if (in->args[1].aux != (uint32_t)x.rank)
        return tnk_fail_shape(in, TN_ERR_SHAPE,
                              "dims has %u entries, x has rank %d: every dim must be named once",
                              (unsigned)in->args[1].aux, (int)x.rank);
    for (int32_t i = 0; i < x.rank; i++) {
        const int64_t from = in->args[1].ints[i];
        y.sizes[i] = x.sizes[from], y.strides[i] = x.strides[from];
    }
    return finish(in, &y);
}

/* ---- Parts -------------------------------------------------------------------------------- */

static int64_t clip(int64_t i, int64_t low, int64_t high) {
    return i < low ? low : i > high ? high : i;
}

/* A bound of a Python slice: negative counts from the end, then clipped to low..high. */
static int64_t bound(const tn_value *v, int64_t absent, int64_t size, int64_t low, int64_t high) {
    if (v->tag != TN_TAG_INT) return absent;
    return clip(v->i < 0 ? v->i + size : v->i, low,
                high); /* v->i < 0 <= size: the sum cannot overflow */
}

tn_status math_shape_slice(tn_infer *in) {
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
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
    return finish(in, &y);
}

tn_status math_shape_select(tn_infer *in) {
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, index = in->args[2].i, size = y.sizes[dim];
    if (index < -size || index >= size)
        return tnk_fail_shape(in, TN_ERR_INDEX, "index is %lld, x has size %lld in dim %lld",
                              (long long)index, (long long)size, (long long)dim);
    y.offset = (index < 0 ? index + size : index) * y.strides[dim];
    for (int32_t i = (int32_t)dim; i + 1 < y.rank; i++)
        y.sizes[i] = y.sizes[i + 1], y.strides[i] = y.strides[i + 1];
    y.rank--;
    return finish(in, &y);
}

tn_status math_shape_split(tn_infer *in) {
    tn_meta x;

    if (!start(in, &x)) return TN_ERR_INVALID;
    const int64_t size = in->args[1].i, dim = in->args[2].i, whole = x.sizes[dim];
    if (size < 1)
        return tnk_fail_shape(in, TN_ERR_INVALID, "size is %lld: it must be at least 1",
                              (long long)size);
    const int64_t count = whole ? (whole - 1) / size + 1 : 1;
    if (count > 1 << 20)
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%lld pieces are too many; choose a larger size",
                              (long long)count);
    const tn_dtype dtype = x.dtype; /* of a view: the argument's */
    tn_meta *outs = in->resize ? in->resize(in, (uint32_t)count) : NULL;
    if (!outs) return tn_fail(in, TN_ERR_NOMEM, "no memory for the list of pieces");
    for (int64_t i = 0; i < count; i++) {
        outs[i] = x, outs[i].dtype = dtype;
        outs[i].sizes[dim] = whole - i * size < size ? whole - i * size : size;
        outs[i].offset = i * size * x.strides[dim];
    }
    return TN_OK;
}

/* Pieces whose sizes add up to the whole. */
tn_status math_shape_split_sizes(tn_infer *in) {
    const tn_value *sizes = &in->args[1];
    int64_t sum = 0;
    tn_meta x;

    if (!start(in, &x)) return TN_ERR_INVALID;
    const int64_t dim = in->args[2].i;
    if (sizes->aux == 0 || sizes->aux > 1 << 20)
        return tnk_fail_shape(in, TN_ERR_INVALID, "sizes has %u entries; it must have 1 to 2^20",
                              (unsigned)sizes->aux);
    for (uint32_t i = 0; i < sizes->aux; i++)
        if (__builtin_add_overflow(sum, sizes->ints[i], &sum))
            return tnk_fail_shape(in, TN_ERR_OVERFLOW, "sizes are too large together");
    if (sum != x.sizes[dim])
        return tnk_fail_shape(in, TN_ERR_SHAPE,
                              "sizes add up to %lld, but x has %lld along dim %lld", (long long)sum,
                              (long long)x.sizes[dim], (long long)dim);
    tn_meta *outs = in->resize ? in->resize(in, sizes->aux) : NULL;
    if (!outs) return tn_fail(in, TN_ERR_NOMEM, "no memory for the list of pieces");
    for (uint32_t i = 0; i < sizes->aux; i++) {
        outs[i] = x, outs[i].sizes[dim] = sizes->ints[i];
        x.offset += sizes->ints[i] * x.strides[dim];
    }
    return TN_OK;
}

/* What select gives for every index along dim. */
tn_status math_shape_unbind(tn_infer *in) {
    tn_meta x;

    if (!start(in, &x)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, n = x.sizes[dim], stride = x.strides[dim];
    if (n > 1 << 16)
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%lld pieces are too many; select one by one",
                              (long long)n);
    for (int32_t i = (int32_t)dim; i + 1 < x.rank; i++)
        x.sizes[i] = x.sizes[i + 1], x.strides[i] = x.strides[i + 1];
    x.rank--;
    tn_meta *outs = in->resize ? in->resize(in, (uint32_t)n) : NULL;
    if (!outs) return tn_fail(in, TN_ERR_NOMEM, "no memory for the list of pieces");
    for (int64_t i = 0; i < n; i++, x.offset += stride) outs[i] = x;
    return TN_OK;
}

/* The elements at (i, i + offset) of dims dim1 and dim2, as a new last dim. */
tn_status math_shape_diagonal(tn_infer *in) {
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
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
    return finish(in, &y);
}

/* Any sizes and strides: the core compares them with the memory. Strides that are never used
 * become 1, so that nobody need fear them. */
tn_status math_shape_as_strided(tn_infer *in) {
    const tn_value *sizes = &in->args[1], *strides = &in->args[2];
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
    if (sizes->aux != strides->aux)
        return tnk_fail_shape(in, TN_ERR_INVALID, "size has %u entries, stride %u",
                              (unsigned)sizes->aux, (unsigned)strides->aux);
    const tn_status status = math_set_sizes(in, &y, sizes->ints, sizes->aux, "size");
    if (status) return status;
    const bool empty = math_meta_numel(&y) == 0;
    for (int32_t i = 0; i < y.rank; i++)
        y.strides[i] = empty || y.sizes[i] == 1 ? 1 : strides->ints[i];
    y.offset = empty ? 0 : in->args[3].i;
    return finish(in, &y);
}

/* Windows of size along dim, step apart; the places in them become the last dim. */
tn_status math_shape_unfold(tn_infer *in) {
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, size = in->args[2].i, step = in->args[3].i;
    const int64_t whole = y.rank ? y.sizes[dim] : 1, stride = y.rank ? y.strides[dim] : 1;
    if (y.rank == TN_MAX_RANK)
        return math_set_sizes(in, &in->outs[0], y.sizes, (int64_t)y.rank + 1, "result");
    if (size > whole)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "size is %lld, but x has only %lld along dim %lld",
                              (long long)size, (long long)whole, (long long)dim);
    if (y.rank == 0) { /* one window, which needs no dim to be counted in */
        y.rank = 1, y.sizes[0] = size, y.strides[0] = 1;
        return finish(in, &y);
    }
    const int64_t windows = (whole - size) / step + 1;
    y.sizes[dim] = windows;
    /* a single window's stride is never used, and a huge step must not overflow it */
    y.strides[dim] = windows > 1 ? stride * step : 1;
    y.sizes[y.rank] = size, y.strides[y.rank++] = stride;
    return finish(in, &y);
}

/* ---- Other sizes -------------------------------------------------------------------------- */

tn_status math_shape_expand(tn_infer *in) {
    tn_meta x, y;
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!start(in, &x)) return TN_ERR_INVALID;
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
    return status ? status : finish(in, &y);
}

bool math_infer_sizes(const tn_meta *x, tn_ints sizes, tn_meta *out, char why[TNK_LIST_BYTES]) {
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
bool math_view_strides(const tn_meta *x, tn_meta *out) {
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

/* sizes of view and reshape, in y. */
static tn_status new_sizes(tn_infer *in, tn_meta *x, tn_meta *y) {
    char why[TNK_LIST_BYTES] = "sizes do not fit";

    if (!start(in, x)) return TN_ERR_INVALID;
    if (!math_infer_sizes(x, (tn_ints){in->args[1].ints, in->args[1].aux}, y, why))
        return tn_fail(in, TN_ERR_SHAPE, why);
    return TN_OK;
}

tn_status math_shape_view(tn_infer *in) {
    char have[TNK_LIST_BYTES], strides[TNK_LIST_BYTES];
    tn_meta x, y;

    const tn_status status = new_sizes(in, &x, &y);
    if (status) return status;
    if (!math_view_strides(&x, &y))
        return tnk_fail_shape(
            in, TN_ERR_SHAPE,
            "x%s has strides %s, which no view of the sizes asked for can follow; "
            "use reshape, which copies",
            tnk_sizes_text(x.sizes, x.rank, have), tnk_sizes_text(x.strides, x.rank, strides));
    return finish(in, &y);
}

tn_status math_shape_reshape(tn_infer *in) {
    tn_meta x, y;
    const tn_status status = new_sizes(in, &x, &y);
    return status ? status : math_set_sizes(in, &in->outs[0], y.sizes, y.rank, "sizes");
}

tn_status math_shape_unsqueeze(tn_infer *in) {
    tn_meta y;

    if (!start(in, &y)) return TN_ERR_INVALID;
    const int64_t limit = (int64_t)y.rank + 1;
    if (limit > TN_MAX_RANK) return math_set_sizes(in, &in->outs[0], y.sizes, limit, "result");
    int64_t dim = in->args[1].i;
    if (dim < -limit || dim >= limit) return bad_dim(in, dim, limit);
    if (dim < 0) dim += limit;
    const int64_t stride = dim < y.rank ? y.sizes[dim] * y.strides[dim] : 1;
    for (int32_t i = y.rank; i > dim; i--)
        y.sizes[i] = y.sizes[i - 1], y.strides[i] = y.strides[i - 1];
    y.sizes[dim] = 1, y.strides[dim] = stride, y.rank++;
    return finish(in, &y);
}

tn_status math_shape_squeeze(tn_infer *in) {
    tn_meta x, y;

    if (!start(in, &x)) return TN_ERR_INVALID;
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
    return finish(in, &y);
}
