/* rearrange.c - the same elements in another order, more often, or among others.
 *
 * Invariant: results are new tensors; whole rows are copied through views, and what no view shows
 * is picked by an index computed from the sizes alone. No entry of a pad cuts off more than there
 * is, and none reaches beyond what its mode can copy.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"
#include "modules/math/shapes.h"

tn_tensor *math_compose_flip(tn_tensor *x, tn_ints dims) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    for (int64_t i = 0; m.rank && i < dims.n; i++) x = math_reversed(x, dims.ptr[i]);
    return tn_clone(x);
}

/* Quarter turns from the first of dims towards the second. */
tn_tensor *math_compose_rot90(tn_tensor *x, int64_t k, tn_ints dims) {
    const int64_t a = dims.ptr[0], b = dims.ptr[1];

    switch (k & 3) {
    case 1:
        x = tn_transpose(math_reversed(x, b), a, b);
        break;
    case 2:
        x = math_reversed(math_reversed(x, a), b);
        break;
    case 3:
        x = math_reversed(tn_transpose(x, a, b), b);
        break;
    default:
        break;
    }
    return tn_clone(x);
}

static tn_tensor *rolled(tn_tensor *x, int64_t shift, int64_t dim) {
    tn_meta m;

    if (!tnk_meta(x, &m) || m.rank == 0 || m.sizes[dim] == 0) return tn_clone(x);
    const int64_t n = m.sizes[dim], back = shift % n < 0 ? shift % n + n : shift % n;
    tn_tensor *const parts[2] = {math_narrow(x, dim, n - back, back),
                                 math_narrow(x, dim, 0, n - back)};
    return back ? op_cat((tn_tensors){parts, 2}, dim) : tn_clone(x);
}

/* Without dims: as if flat. */
tn_tensor *math_compose_roll(tn_tensor *x, tn_ints shifts, tn_ints dims) {
    tn_tensor *y = x;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (shifts.n == 0 || shifts.n != (dims.n ? dims.n : 1))
        return tnk_raise_null(
            TN_ERR_INVALID,
            "roll: there are %u shifts for %u dims; give one for each, or one and no dims",
            (unsigned)shifts.n, (unsigned)dims.n);
    if (dims.n == 0)
        y = math_reshape(
            rolled(math_reshape(x, (int64_t[]){math_meta_numel(&m)}, 1), shifts.ptr[0], 0), m.sizes,
            m.rank);
    for (int64_t i = 0; i < dims.n; i++) { /* a dim may be rolled twice */
        const int64_t dim = math_from_end(dims.ptr[i], m.rank);
        if (dim < 0 || dim >= m.rank)
            return tnk_raise_null(TN_ERR_INDEX, "roll: dims[%u] is %lld, but x has %d dims",
                                  (unsigned)i, (long long)dims.ptr[i], (int)m.rank);
        y = rolled(y, shifts.ptr[i], dim);
    }
    return y;
}

/* Each dim of x repeats[i] times over, after new dims in front. */
static tn_tensor *repeated(tn_tensor *x, const int64_t *repeats, int32_t n) {
    int64_t split[2 * TN_MAX_RANK], wide[2 * TN_MAX_RANK], sizes[TN_MAX_RANK];
    int32_t rank = 0;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    for (int32_t i = 0; i < n; i++) {
        const int64_t size = i < n - m.rank ? 1 : m.sizes[i - (n - m.rank)];
        if (__builtin_mul_overflow(size, repeats[i], &sizes[i]))
            return tnk_raise_null(TN_ERR_OVERFLOW, "repeat: dim %d would have too many elements",
                                  (int)i);
        if (repeats[i] != 1) split[rank] = 1, wide[rank++] = repeats[i];
        if (repeats[i] == 1 || size != 1) split[rank] = size, wide[rank++] = size;
    }
    tn_tensor *y = tn_expand(math_reshape(x, split, rank), (tn_ints){wide, rank});
    return math_reshape(y ? tn_clone(y) : y, sizes, n);
}

tn_tensor *math_compose_repeat(tn_tensor *x, tn_ints repeats) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (repeats.n < m.rank || repeats.n > TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_SHAPE, "repeat: repeats has %u entries, x has rank %d",
                              (unsigned)repeats.n, (int)m.rank);
    return repeated(x, repeats.ptr, (int32_t)repeats.n);
}

/* As repeat, with 1 for the dims in front that are not named. */
tn_tensor *math_compose_tile(tn_tensor *x, tn_ints dims) {
    int64_t repeats[TN_MAX_RANK];
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (dims.n > TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_SHAPE, "tile: dims has %u entries", (unsigned)dims.n);
    const int32_t given = (int32_t)dims.n, n = given > m.rank ? given : m.rank;
    for (int32_t i = 0; i < n; i++) repeats[i] = i < n - given ? 1 : dims.ptr[i - (n - given)];
    return repeated(x, repeats, n);
}

/* Each element repeats times in a row; without dim of x as if flat. */
tn_tensor *math_compose_repeat_interleave(tn_tensor *x, int64_t repeats, tn_maybe_int along) {
    const int64_t dim = along.set ? along.value : 0;
    tn_meta m, wide;

    if (!tnk_meta(x, &m)) return NULL;
    if (!along.set || m.rank == 0)
        m.sizes[0] = math_meta_numel(&m), m.rank = 1, x = math_reshape(x, m.sizes, 1);
    wide = m;
    if (m.rank == TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_SHAPE,
                              "repeat_interleave: rank 16 leaves no room to repeat in");
    for (int32_t i = m.rank++; i > dim; i--) wide.sizes[i] = m.sizes[i - 1];
    wide.sizes[dim + 1] = repeats;
    tn_tensor *y = tn_expand(tn_unsqueeze(x, dim + 1), (tn_ints){wide.sizes, m.rank});
    if (__builtin_mul_overflow(m.sizes[dim], repeats, &m.sizes[dim]))
        return tnk_raise_null(TN_ERR_OVERFLOW, "repeat_interleave: too many elements");
    return math_reshape(y ? tn_clone(y) : y, m.sizes, m.rank - 1);
}

typedef enum pad_mode { CONSTANT, REFLECT, REPLICATE, CIRCULAR, MODES } pad_mode;

static pad_mode mode_of(tnk_text word) {
    static const char *const words[] = {"constant", "reflect", "replicate", "circular"};
    int mode = CONSTANT;
    while (mode < MODES && !tnk_says(word, words[mode])) mode++;
    return (pad_mode)mode;
}

/* The most that can be added on one side of a dim of n elements, of circular those left of it. */
static int64_t most(pad_mode mode, int64_t n) {
    if (mode == CONSTANT || (mode == REPLICATE && n > 0)) return INT64_MAX;
    return mode == REFLECT && n > 0 ? n - 1 : n;
}

static tn_status pad_dim(tn_infer *in, pad_mode mode, int32_t dim, int64_t left, int64_t right,
                         int64_t *size) {
    const int64_t n = *size;
    int64_t have = n;

    if (mode == CIRCULAR) have += (left < 0 ? left : 0) + (right < 0 ? right : 0);
    for (int side = 0; side < 2; side++) {
        const int64_t add = side ? right : left;
        if (add < -n)
            return tnk_fail_shape(in, TN_ERR_SHAPE,
                                  "pad %lld cuts off more than the %lld of dim %d", (long long)add,
                                  (long long)n, (int)dim);
        if (add > 0 && add > most(mode, have))
            return tnk_fail_shape(in, TN_ERR_SHAPE,
                                  "pad %lld is too much for mode %.*s, dim %d has size %lld%s",
                                  (long long)add, (int)in->args[2].aux, in->args[2].str, (int)dim,
                                  (long long)have, have < n ? " left" : "");
    }
    if (__builtin_add_overflow(n, left, size) || __builtin_add_overflow(*size, right, size))
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "dim %d would have too many elements", (int)dim);
    if (*size >= 0) return TN_OK;
    return tnk_fail_shape(in, TN_ERR_SHAPE,
                          "pads %lld and %lld cut off more than the %lld of dim %d",
                          (long long)left, (long long)right, (long long)n, (int)dim);
}

/* (x, pad, mode or value): pad has two entries for each dim from the last one on. */
tn_status math_shape_pad(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    const tn_value *pad = &in->args[1];
    int64_t sizes[TN_MAX_RANK];

    if (!x) return missing(in);
    const bool has_mode = in->args[2].tag == TN_TAG_STR;
    const pad_mode mode = has_mode ? mode_of(tnk_as_text(in->args[2])) : CONSTANT;
    if (mode == MODES)
        return tnk_fail_shape(
            in, TN_ERR_INVALID,
            "mode is \"%.*s\"; it must be constant, reflect, replicate or circular",
            (int)(in->args[2].aux < 64 ? in->args[2].aux : 64), in->args[2].str);
    if (pad->aux % 2 || pad->aux / 2 > (uint32_t)x->rank)
        return tnk_fail_shape(
            in, TN_ERR_INVALID,
            "pad has %u entries; x has rank %d: two for each dim, the last dim first",
            (unsigned)pad->aux, (int)x->rank);
    for (int32_t i = 0; i < x->rank; i++) sizes[i] = x->sizes[i];
    for (uint32_t i = 0; i < pad->aux / 2; i++) {
        const int32_t dim = x->rank - 1 - (int32_t)i;
        const tn_status status =
            pad_dim(in, mode, dim, pad->ints[2 * i], pad->ints[2 * i + 1], &sizes[dim]);
        if (status) return status;
    }
    return math_set_sizes(in, &in->outs[0], sizes, x->rank, "result");
}

/* What was added is cut off, and what was cut off is 0. */
void math_grad_constant_pad(math_grad_constant_pad_ctx *c) {
    const tn_ints pad = TNK_ARG(c, pad);
    int64_t back[2 * TN_MAX_RANK]; /* the shape rule has bounded entries and their number */

    for (int64_t i = 0; i < pad.n; i++) back[i] = -pad.ptr[i];
    TNK_SET_GRAD(c, x, tn_constant_pad(TNK_GRAD(c, 0), (tn_ints){back, pad.n}, tn_int(0)));
}

/* What pad, in PyTorch's order (last dim first, before and behind), says of dim. */
static int64_t before(tn_ints pad, const tn_meta *m, int64_t dim, bool behind) {
    const int64_t at = 2 * (m->rank - 1 - dim) + behind;
    return at < pad.n ? pad.ptr[at] : 0;
}

/* x in the middle of value; a negative entry cuts off. */
tn_tensor *math_compose_constant_pad(tn_tensor *x, tn_ints pad, tn_value value) {
    tn_device device;
    tn_meta m, y;

    if (!tnk_meta(x, &m) || tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    y = m;
    for (int32_t i = 0; i < m.rank; i++)
        y.sizes[i] += before(pad, &m, i, false) + before(pad, &m, i, true);
    tn_tensor *all = tn_plugin_ops->empty((tn_ints){y.sizes, y.rank}, m.dtype, device);
    tn_tensor *part = tn_fill_(all, value);
    for (int32_t i = 0; part && x && i < m.rank; i++) {
        const int64_t left = before(pad, &m, i, false);
        const int64_t start = left < 0 ? -left : 0, place = left < 0 ? 0 : left;
        int64_t n = m.sizes[i] - start;
        if (n > y.sizes[i] - place) n = y.sizes[i] - place;
        if (n < 0) n = 0;
        x = math_narrow(x, i, n ? start : 0, n), part = math_narrow(part, i, n ? place : 0, n);
    }
    return tn_copy_(part, x) ? all : NULL;
}

/* Which of n elements stands at each place from -left to n + right - 1. Where a side is cut off,
 * circular goes round in what is left, as PyTorch does; the others go by x as it was. */
static tn_tensor *source_of(tn_tensor *x, tnk_text mode, int64_t n, int64_t left, int64_t right) {
    tn_tensor *at = math_count_from(-left, left + n + right, x);

    if (tnk_says(mode, "circular")) {
        const int64_t first = left < 0 ? -left : 0, kept = n - first + (right < 0 ? right : 0);
        return tn_add(
            tn_remainder(tn_sub(at, tnk_scalar_int(first)), tnk_scalar_int(kept ? kept : 1)),
            tnk_scalar_int(first));
    }
    if (tnk_says(mode, "reflect"))
        return tn_sub(tnk_scalar_int(n - 1), tn_abs(tn_sub(tnk_scalar_int(n - 1), tn_abs(at))));
    return op_clamp(at, tn_int(0), tn_int(n - 1));
}

tn_tensor *math_compose_pad(tn_tensor *x, tn_ints pad, tnk_text mode, tn_value value) {
    tn_tensor *y = x;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (tnk_says(mode, "constant")) return tn_constant_pad(x, pad, value);
    for (int64_t i = m.rank - pad.n / 2; i < m.rank; i++) {
        const int64_t left = before(pad, &m, i, false), right = before(pad, &m, i, true);
        if (left == 0 && right == 0) continue;
        y = tn_index_select(y, i, source_of(y, mode, m.sizes[i], left, right));
    }
    return y == x ? tn_clone(x) : y;
}
