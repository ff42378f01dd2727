/* rearrange.c - the same elements in another order, more often, or among others.
 *
 * Invariant: results are new tensors; whole rows are copied through views, and what no view shows
 * is picked by an index computed from the sizes alone. No entry of a pad cuts off more than there
 * is, and none reaches beyond what its mode can copy.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"
#include "modules/math/shapes.h"

static tn_tensor *flipped(tn_tensor *x, const tn_value *dims) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    for (uint32_t i = 0; m.rank && i < dims->aux; i++) x = math_reversed(x, dims->ints[i]);
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

typedef enum pad_mode { CONSTANT, REFLECT, REPLICATE, CIRCULAR, MODES } pad_mode;

static pad_mode mode_of(const tn_value *word) {
    static const char *const words[] = {"constant", "reflect", "replicate", "circular"};
    int mode = CONSTANT;
    while (mode < MODES && !math_says(word, words[mode])) mode++;
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
    const pad_mode mode = has_mode ? mode_of(&in->args[2]) : CONSTANT;
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
void math_grad_constant_pad(tn_grad_ctx *c) {
    static tn_op_ref op = {"constant_pad", 0, 0};
    const tn_value pad = arg(c, "pad");
    int64_t back[2 * TN_MAX_RANK]; /* the shape rule has bounded entries and their number */

    for (uint32_t i = 0; i < pad.aux; i++) back[i] = -pad.ints[i];
    set(c, "x",
        MATH_CALL(&op, tn_value_tensor(grad_of(c)), tn_value_ints((tn_ints){back, pad.aux}),
                  tn_int(0)));
}

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
    tn_tensor *at = math_count_from(-left, left + n + right, x);

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
