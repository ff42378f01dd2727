/* decompositions_window.c - images as columns of windows, and back.
 *
 * Invariant: windows are views; only the reordering into columns copies. A dilated window is a
 * larger one of which only some places are taken.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

typedef struct windows {
    int64_t kernel[2], dilation[2], padding[2], stride[2];
    int64_t span[2];   /* of a dilated window */
    int64_t padded[2]; /* the image with its padding */
    int64_t count[2];  /* of windows */
} windows;

/* The four lists from args on; size: the image's. False: an error is pending. */
static bool make_windows(windows *w, const char *op, const tn_value *args, const int64_t *size) {
    for (int i = 0; i < 2; i++) {
        int64_t reach, all;
        w->kernel[i] = args[0].ints[i], w->dilation[i] = args[1].ints[i];
        w->padding[i] = args[2].ints[i], w->stride[i] = args[3].ints[i];
        if (__builtin_mul_overflow(w->kernel[i] - 1, w->dilation[i], &reach) ||
            __builtin_mul_overflow(w->padding[i], 2, &all) ||
            __builtin_add_overflow(all, size[i], &w->padded[i]) || reach == INT64_MAX)
            return tnk_raise(TN_ERR_OVERFLOW, "%s: kernel_size, dilation or padding is too large",
                             op),
                   false;
        w->span[i] = reach + 1;
        if (w->span[i] > w->padded[i])
            return tnk_raise(TN_ERR_SHAPE,
                             "%s: a window of %lld does not fit into %lld of dim %d with padding",
                             op, (long long)w->span[i], (long long)w->padded[i], i),
                   false;
        w->count[i] = (w->padded[i] - w->span[i]) / w->stride[i] + 1;
    }
    return true;
}

static tn_tensor *every(tn_tensor *t, int64_t dim, int64_t step) {
    static tn_op_ref slice = {"slice", 0, 0};
    return MATH_CALL(&slice, tn_value_tensor(t), tn_int(dim), tn_value_none(), tn_value_none(),
                     tn_int(step));
}

/* (x, kernel_size, dilation, padding, stride): [N,C,H,W] -> [N, C kh kw, L] */
tn_status math_compose_im2col(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    static const int64_t order[6] = {0, 1, 4, 5, 2, 3};
    windows w;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const bool single = m.rank == 3;
    if (single) x = tn_unsqueeze(x, 0);
    if (!tnk_meta(x, &m) || !make_windows(&w, "im2col", args + 1, m.sizes + 2))
        return tnk_pending();
    const int64_t pad[4] = {w.padding[1], w.padding[1], w.padding[0], w.padding[0]};
    if (w.padding[0] || w.padding[1]) x = tn_constant_pad(x, (tn_ints){pad, 4}, tn_int(0));
    x = tn_unfold(tn_unfold(x, 2, w.span[0], w.stride[0]), 3, w.span[1], w.stride[1]);
    x = tn_permute(every(every(x, 4, w.dilation[0]), 5, w.dilation[1]), (tn_ints){order, 6});
    if (!x) return tnk_pending(); /* else its elements could be counted, and so can these */
    const int64_t sizes[3] = {m.sizes[0], m.sizes[1] * w.kernel[0] * w.kernel[1],
                              w.count[0] * w.count[1]};
    x = math_reshape(x, sizes, 3);
    return give(outs, single && x ? tn_select(x, 0, 0) : x);
}

/* t in every step-th place along dim, n in all, zeros between. */
static tn_tensor *spread(tn_tensor *t, int64_t dim, int64_t n, int64_t step) {
    static tn_op_ref op = {"slice_bwd", 0, 0};
    tn_meta m;

    if (step == 1 || !tnk_meta(t, &m)) return t;
    m.sizes[dim] = n;
    return MATH_CALL(&op, tn_value_tensor(t), tn_value_ints((tn_ints){m.sizes, m.rank}),
                     tn_int(dim), tn_value_none(), tn_value_none(), tn_int(step));
}

/* (x, output_size, kernel_size, dilation, padding, stride): [N, C kh kw, L] -> [N,C,H,W], with the
 * windows added up */
tn_status math_compose_col2im(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    static const int64_t order[6] = {0, 1, 4, 5, 2, 3};
    windows w;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const bool single = m.rank == 2;
    if (single) x = tn_unsqueeze(x, 0);
    if (!tnk_meta(x, &m) || !make_windows(&w, "col2im", args + 2, args[1].ints))
        return tnk_pending();
    int64_t area, places;
    if (__builtin_mul_overflow(w.kernel[0], w.kernel[1], &area) ||
        __builtin_mul_overflow(w.count[0], w.count[1], &places) || m.sizes[1] % area ||
        m.sizes[2] != places)
        return tnk_raise(
            TN_ERR_SHAPE,
            "col2im: x has %lld rows and %lld columns; kernel_size, dilation, padding "
            "and stride ask for a multiple of %lld x %lld rows and %lld x %lld columns",
            (long long)m.sizes[1], (long long)m.sizes[2], (long long)w.kernel[0],
            (long long)w.kernel[1], (long long)w.count[0], (long long)w.count[1]);
    const int64_t n = m.sizes[0], c = m.sizes[1] / area;
    const int64_t apart[6] = {n, c, w.kernel[0], w.kernel[1], w.count[0], w.count[1]};
    x = tn_permute(math_reshape(x, apart, 6), (tn_ints){order, 6});
    x = spread(spread(x, 4, w.span[0], w.dilation[0]), 5, w.span[1], w.dilation[1]);
    const int64_t rows[5] = {n, c, w.count[0], w.padded[1], w.span[0]};
    const int64_t image[4] = {n, c, w.padded[0], w.padded[1]};
    x = tn_fold(x, (tn_ints){rows, 5}, 3, w.span[1], w.stride[1]);
    x = tn_fold(x, (tn_ints){image, 4}, 2, w.span[0], w.stride[0]);
    for (int i = 0; x && i < 2; i++)
        if (w.padding[i]) x = math_narrow(x, 2 + i, w.padding[i], args[1].ints[i]);
    return give(outs, single && x ? tn_select(x, 0, 0) : x);
}
