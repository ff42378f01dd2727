/* shapes_rearrange.c - shape rules of padding, masks and flat places.
 *
 * Invariant: no entry cuts off more than there is, and none reaches beyond what its mode can copy.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/shapes.h"

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

/* (x, index, source): as x; index and source have as many elements */
tn_status math_shape_put(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 1), *source = view_of(in, 2);

    if (!x || !index || !source) return missing(in);
    if (tn_view_numel(index) != tn_view_numel(source))
        return mismatch(in, "index", index, "source", source, "both need as many elements");
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
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
