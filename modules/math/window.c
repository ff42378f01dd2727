/* window.c - any strides, windows that move over a tensor, and images as columns of them.
 *
 * Invariant: windows are views; only the reordering into columns copies. A dilated window is a
 * larger one of which only some places are taken.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* Any sizes and strides: the core compares them with the memory. Strides that are never used
 * become 1, so that nobody need fear them. */
tn_status math_shape_as_strided(tn_infer *in) {
    const tn_value *sizes = &in->args[1], *strides = &in->args[2];
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    if (sizes->aux != strides->aux)
        return tnk_fail_shape(in, TN_ERR_INVALID, "size has %u entries, stride %u",
                              (unsigned)sizes->aux, (unsigned)strides->aux);
    const tn_status status = math_set_sizes(in, &y, sizes->ints, sizes->aux, "size");
    if (status) return status;
    const bool empty = math_meta_numel(&y) == 0;
    for (int32_t i = 0; i < y.rank; i++)
        y.strides[i] = empty || y.sizes[i] == 1 ? 1 : strides->ints[i];
    y.offset = empty ? 0 : in->args[3].i;
    return math_finish_view(in, &y);
}

/* Widens [low, high] by the elements that m shows; they lie in one storage. */
static void extent(const tn_meta *m, int64_t *low, int64_t *high) {
    int64_t first = m->offset, last = m->offset;

    if (math_meta_numel(m) == 0) return;
    for (int32_t i = 0; i < m->rank; i++) {
        const int64_t far = m->sizes[i] > 1 ? (m->sizes[i] - 1) * m->strides[i] : 0;
        *(far < 0 ? &first : &last) += far;
    }
    if (first < *low) *low = first;
    if (last > *high) *high = last;
}

static tn_tensor *strided(tn_tensor *t, const tn_meta *m, int64_t low) {
    return op_as_strided(t, (tn_ints){m->sizes, m->rank}, (tn_ints){m->strides, m->rank},
                         m->offset - low);
}

/* into, with g added at the elements that m shows. */
static tn_tensor *add_shown(tn_tensor *into, const tn_meta *m, int64_t low, tn_tensor *numbers,
                            tn_tensor *g) {
    const int64_t n = math_meta_numel(m);
    tn_tensor *at = math_reshape(strided(numbers, m, low), &n, 1);
    return tn_scatter_add(into, 0, at, math_reshape(g, &n, 1));
}

/* A row of zeros stands for the memory that x and y show. What comes back to an element that x
 * shows several times is shared among those. */
void math_grad_as_strided(math_grad_as_strided_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0);
    int64_t low = 0, high = 0;
    tn_meta x, y;

    if (!TNK_META_OF(c, x, &x) || !tnk_meta(g, &y)) return;
    const tn_ints stride = TNK_ARG(c, stride);
    for (int64_t i = 0; i < stride.n; i++) y.strides[i] = stride.ptr[i];
    y.offset = TNK_ARG(c, offset), x.offset = 0;
    extent(&x, &low, &high);
    extent(&y, &low, &high);

    tn_meta row = {.dtype = y.dtype, .rank = 1, .sizes = {high - low + 1}};
    tn_tensor *zeros = math_full(&row, 0, g);
    tn_tensor *numbers = math_count_from(0, row.sizes[0], g);
    tn_tensor *sum = add_shown(zeros, &y, low, numbers, g);
    tn_tensor *one = math_full(&(tn_meta){.dtype = y.dtype}, 1, g);
    tn_tensor *ones = tn_expand(one, (tn_ints){x.sizes, x.rank});
    tn_tensor *often = add_shown(zeros, &x, low, numbers, ones);
    sum = tn_div(sum, tn_maximum(often, tnk_scalar(1)));
    TNK_SET_GRAD(c, x, tn_clone(strided(sum, &x, low)));
}

/* Windows of size along dim, step apart; the places in them become the last dim. */
tn_status math_shape_unfold(tn_infer *in) {
    tn_meta y;

    if (!math_start_view(in, &y)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, size = in->args[2].i, step = in->args[3].i;
    const int64_t whole = y.rank ? y.sizes[dim] : 1, stride = y.rank ? y.strides[dim] : 1;
    if (y.rank == TN_MAX_RANK)
        return math_set_sizes(in, &in->outs[0], y.sizes, (int64_t)y.rank + 1, "result");
    if (size > whole)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "size is %lld, but x has only %lld along dim %lld",
                              (long long)size, (long long)whole, (long long)dim);
    if (y.rank == 0) { /* one window, which needs no dim to be counted in */
        y.rank = 1, y.sizes[0] = size, y.strides[0] = 1;
        return math_finish_view(in, &y);
    }
    const int64_t windows = (whole - size) / step + 1;
    y.sizes[dim] = windows;
    /* a single window's stride is never used, and a huge step must not overflow it */
    y.strides[dim] = windows > 1 ? stride * step : 1;
    y.sizes[y.rank] = size, y.strides[y.rank++] = stride;
    return math_finish_view(in, &y);
}

void math_grad_unfold(math_grad_unfold_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    if (x.rank == 0) { /* of nothing the sum is 0 */
        TNK_SET_GRAD(c, x, tn_sum(TNK_GRAD(c, 0)));
        return;
    }
    TNK_SET_GRAD(c, x,
                 tn_fold(TNK_GRAD(c, 0), (tn_ints){x.sizes, x.rank},
                         math_from_end(TNK_ARG(c, dim), x.rank), TNK_ARG(c, size),
                         TNK_ARG(c, step)));
}

/* (x, sizes, dim, size, step): x is what unfold gives for a tensor of these sizes */
tn_status math_shape_fold(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    const tn_value *sizes = &in->args[1];
    const int64_t dim = in->args[2].i, size = in->args[3].i, step = in->args[4].i;
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!x) return missing(in);
    bool fits = (int64_t)sizes->aux + 1 == x->rank && dim < (int64_t)sizes->aux &&
                size <= sizes->ints[dim] && x->sizes[sizes->aux] == size;
    for (uint32_t i = 0; fits && i < sizes->aux; i++)
        fits = x->sizes[i] == (i == dim ? (sizes->ints[i] - size) / step + 1 : sizes->ints[i]);
    if (fits) return math_set_sizes(in, &in->outs[0], sizes->ints, sizes->aux, "sizes");
    const int32_t rank = sizes->aux < TN_MAX_RANK ? (int32_t)sizes->aux : TN_MAX_RANK;
    return tnk_fail_shape(
        in, TN_ERR_SHAPE,
        "x%s is not what unfold(dim %lld, size %lld, step %lld) gives for sizes %s",
        tnk_sizes_text(x->sizes, x->rank, have), (long long)dim, (long long)size, (long long)step,
        tnk_sizes_text(sizes->ints, rank, want));
}

typedef struct windows {
    int64_t kernel[2], dilation[2], padding[2], stride[2];
    int64_t span[2];   /* of a dilated window */
    int64_t padded[2]; /* the image with its padding */
    int64_t count[2];  /* of windows */
} windows;

static windows windows_of(tn_ints kernel, tn_ints dilation, tn_ints padding, tn_ints stride) {
    return (windows){.kernel = {kernel.ptr[0], kernel.ptr[1]},
                     .dilation = {dilation.ptr[0], dilation.ptr[1]},
                     .padding = {padding.ptr[0], padding.ptr[1]},
                     .stride = {stride.ptr[0], stride.ptr[1]}};
}

/* Of an image of that size: fills in what follows from the first row. False: an error is
 * pending. */
static bool complete(windows *w, const char *op, const int64_t *size) {
    for (int i = 0; i < 2; i++) {
        int64_t reach, all;
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
    return op_slice(t, dim, tnk_no_int(), tnk_no_int(), step);
}

/* [N,C,H,W] -> [N, C kh kw, L] */
tn_tensor *math_compose_im2col(tn_tensor *x, tn_ints kernel_size, tn_ints dilation, tn_ints padding,
                               tn_ints stride) {
    static const int64_t order[6] = {0, 1, 4, 5, 2, 3};
    windows w = windows_of(kernel_size, dilation, padding, stride);
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const bool single = m.rank == 3;
    if (single) x = tn_unsqueeze(x, 0);
    if (!tnk_meta(x, &m) || !complete(&w, "im2col", m.sizes + 2)) return NULL;
    const int64_t pad[4] = {w.padding[1], w.padding[1], w.padding[0], w.padding[0]};
    if (w.padding[0] || w.padding[1]) x = tn_constant_pad(x, (tn_ints){pad, 4}, tn_int(0));
    x = tn_unfold(tn_unfold(x, 2, w.span[0], w.stride[0]), 3, w.span[1], w.stride[1]);
    x = tn_permute(every(every(x, 4, w.dilation[0]), 5, w.dilation[1]), (tn_ints){order, 6});
    if (!x) return NULL; /* else its elements could be counted, and so can these */
    const int64_t sizes[3] = {m.sizes[0], m.sizes[1] * w.kernel[0] * w.kernel[1],
                              w.count[0] * w.count[1]};
    x = math_reshape(x, sizes, 3);
    return single && x ? tn_select(x, 0, 0) : x;
}

/* t in every step-th place along dim, n in all, zeros between. */
static tn_tensor *spread(tn_tensor *t, int64_t dim, int64_t n, int64_t step) {
    tn_meta m;

    if (step == 1 || !tnk_meta(t, &m)) return t;
    m.sizes[dim] = n;
    return op_slice_bwd(t, (tn_ints){m.sizes, m.rank}, dim, tnk_no_int(), tnk_no_int(), step);
}

/* [N, C kh kw, L] -> [N,C,H,W], with the windows added up */
tn_tensor *math_compose_col2im(tn_tensor *x, tn_ints output_size, tn_ints kernel_size,
                               tn_ints dilation, tn_ints padding, tn_ints stride) {
    static const int64_t order[6] = {0, 1, 4, 5, 2, 3};
    windows w = windows_of(kernel_size, dilation, padding, stride);
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const bool single = m.rank == 2;
    if (single) x = tn_unsqueeze(x, 0);
    if (!tnk_meta(x, &m) || !complete(&w, "col2im", output_size.ptr)) return NULL;
    int64_t area, places;
    if (__builtin_mul_overflow(w.kernel[0], w.kernel[1], &area) ||
        __builtin_mul_overflow(w.count[0], w.count[1], &places) || m.sizes[1] % area ||
        m.sizes[2] != places)
        return tnk_raise_null(
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
        if (w.padding[i]) x = math_narrow(x, 2 + i, w.padding[i], output_size.ptr[i]);
    return single && x ? tn_select(x, 0, 0) : x;
}
