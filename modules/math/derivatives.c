/* derivatives.c - derivatives that need more than an expression: lists, several results, sizes of
 * arguments.
 *
 * Invariant: everything is computed by ops, so that a recorded backward differentiates again;
 * gradients may be larger than their argument where that was broadcast, the engine sums them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"

/* ---- Elementwise -------------------------------------------------------------------------- */

/* g where x is inside min..max, the bounds included. */
void math_grad_clamp(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c), *x = saved(c, "x"), *zero = tnk_scalar(0);
    const tn_value min = arg(c, "min"), max = arg(c, "max");

    if (min.tag != TN_TAG_NONE) g = tn_where(tn_ge(x, tn_plugin_ops->scalar(min)), g, zero);
    if (max.tag != TN_TAG_NONE) g = tn_where(tn_le(x, tn_plugin_ops->scalar(max)), g, zero);
    set(c, "x", g);
}

/* 1 + x^2 = m^2 (near^2 + far^2), where m = max(|x|, 1), near = min(|x|, 1), far = 1 / m: nothing
 * overflows, and at infinity far is 0. */
typedef struct hypotenuse {
    tn_tensor *far, *sum; /* sum: near^2 + far^2, in 1..2 */
} hypotenuse;

static hypotenuse hypotenuse_of(tn_tensor *x) {
    tn_tensor *size = tn_abs(x), *one = tnk_scalar(1);
    tn_tensor *far = tn_reciprocal(tn_maximum(size, one)), *near = tn_minimum(size, one);

    return (hypotenuse){far, tn_add(tn_mul(near, near), tn_mul(far, far))};
}

/* g / (1 + x^2) */
void math_grad_atan(tn_grad_ctx *c) {
    const hypotenuse h = hypotenuse_of(math_wide(saved(c, "x")));
    set(c, "x", tn_mul(tn_div(tn_mul(grad_of(c), h.far), h.sum), h.far));
}

/* g / sqrt(1 + x^2) */
void math_grad_asinh(tn_grad_ctx *c) {
    const hypotenuse h = hypotenuse_of(math_wide(saved(c, "x")));
    set(c, "x", tn_mul(tn_mul(grad_of(c), h.far), tn_rsqrt(h.sum)));
}

/* g b / (a^2 + b^2) and -g a / (a^2 + b^2), with a and b divided by the larger of them, and g by
 * that in two steps, before and after b: all in one could overflow, or underflow. 0 at the
 * origin, as in PyTorch, and at infinity. */
void math_grad_atan2(tn_grad_ctx *c) {
    tn_tensor *a = math_wide(saved(c, "a")), *b = math_wide(saved(c, "b"));
    tn_tensor *zero = tnk_scalar(0), *one = tnk_scalar(1);
    tn_tensor *size = tn_maximum(tn_abs(a), tn_abs(b));
    tn_tensor *flat = tn_logical_or(tn_eq(size, zero), tn_isinf(size));

    size = tn_where(flat, one, size);
    a = tn_div(tn_where(flat, zero, a), size);
    b = tn_div(tn_where(flat, zero, b), size);
    tn_tensor *sum = tn_where(flat, one, tn_add(tn_mul(a, a), tn_mul(b, b))); /* in 1..2 */
    tn_tensor *root = tn_sqrt(size), *rest = tn_div(size, root);
    tn_tensor *slope = tn_div(tn_div(grad_of(c), root), sum);
    if (needs(c, "a")) set(c, "a", tn_div(tn_mul(slope, b), rest));
    if (needs(c, "b")) set(c, "b", tn_neg(tn_div(tn_mul(slope, a), rest)));
}

void math_grad_to(tn_grad_ctx *c) {
    tn_meta x;
    if (meta_of(c, "x", &x)) set(c, "x", tn_to(grad_of(c), x.dtype));
}

/* ---- Norms -------------------------------------------------------------------------------- */

/* What came back through mean and rstd (in a second derivative) goes on to x:
 * d mean / dx = 1 / n, d rstd / dx = -rstd^3 (x - mean) / n. */
static tn_tensor *norm_statistics(tn_grad_ctx *c, tn_tensor *dx) {
    const tn_value shape = arg(c, "shape");
    tn_tensor *rstd = saved(c, "rstd");
    double n = 1;
    tn_meta m;

    if (!tnk_meta(dx, &m)) return NULL;
    for (uint32_t i = 0; i < shape.aux; i++) n *= (double)shape.ints[i];
    if (tn_plugin_ops->grad_out_defined(c, 1)) {
        tn_tensor *share = tn_mul(tn_plugin_ops->grad_out(c, 1), tnk_scalar(1 / n));
        dx = tn_add(dx, math_as(share, m.dtype));
    }
    if (!tn_plugin_ops->grad_out_defined(c, 2)) return dx;
    tn_tensor *scale = tn_mul(tn_mul(rstd, tn_mul(rstd, rstd)), tnk_scalar(1 / n));
    scale = math_as(tn_mul(tn_plugin_ops->grad_out(c, 2), scale), m.dtype);
    return tn_sub(dx, tn_mul(scale, math_centred(saved(c, "x"), saved(c, "mean"))));
}

void math_grad_layer_norm(tn_grad_ctx *c) {
    static tn_op_ref op = {"layer_norm_bwd", 0, 0};
    tn_value outs[3] = {tn_value_none(), tn_value_none(), tn_value_none()};
    const tn_value args[] = {
        tn_value_tensor(grad_of(c)),       tn_value_tensor(saved(c, "x")),
        tn_value_tensor(saved(c, "w")),    tn_value_tensor(saved(c, "mean")),
        tn_value_tensor(saved(c, "rstd")), arg(c, "shape"),
    };

    if (tn_plugin_ops->call(&op, args, 6, outs, 3) != TN_OK) return;
    if (needs(c, "x")) set(c, "x", norm_statistics(c, outs[0].tensor));
    if (needs(c, "w")) set(c, "w", outs[1].tensor);
    if (needs(c, "b")) set(c, "b", outs[2].tensor);
}

/* ---- Views -------------------------------------------------------------------------------- */

void math_grad_permute(tn_grad_ctx *c) {
    const tn_value dims = arg(c, "dims");
    int64_t back[TN_MAX_RANK] = {0};

    if (dims.aux > TN_MAX_RANK) return; /* the shape rule has refused it */
    for (uint32_t i = 0; i < dims.aux; i++) back[math_from_end(dims.ints[i], dims.aux)] = i;
    set(c, "x", tn_permute(grad_of(c), (tn_ints){back, dims.aux}));
}

void math_grad_slice(tn_grad_ctx *c) {
    static tn_op_ref op = {"slice_bwd", 0, 0};
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    set(c, "x",
        MATH_CALL(&op, tn_value_tensor(grad_of(c)), tn_value_ints((tn_ints){x.sizes, x.rank}),
                  arg(c, "dim"), arg(c, "start"), arg(c, "end"), arg(c, "step")));
}

void math_grad_select(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    set(c, "x",
        tn_select_bwd(grad_of(c), (tn_ints){x.sizes, x.rank}, arg(c, "dim").i, arg(c, "index").i));
}

void math_grad_diagonal(tn_grad_ctx *c) {
    static tn_op_ref op = {"diagonal_bwd", 0, 0};
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    set(c, "x",
        MATH_CALL(&op, tn_value_tensor(grad_of(c)), tn_value_ints((tn_ints){x.sizes, x.rank}),
                  arg(c, "offset"), arg(c, "dim1"), arg(c, "dim2")));
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
    static tn_op_ref op = {"as_strided", 0, 0};
    return MATH_CALL(&op, tn_value_tensor(t), tn_value_ints((tn_ints){m->sizes, m->rank}),
                     tn_value_ints((tn_ints){m->strides, m->rank}), tn_int(m->offset - low));
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
void math_grad_as_strided(tn_grad_ctx *c) {
    static tn_op_ref arange = {"arange", 0, 0};
    tn_tensor *g = grad_of(c);
    int64_t low = 0, high = 0;
    tn_device device;
    tn_meta x, y;

    if (!meta_of(c, "x", &x) || !tnk_meta(g, &y)) return;
    if (tn_plugin_ops->device(g, &device) != TN_OK) return;
    const tn_value stride = arg(c, "stride");
    for (uint32_t i = 0; i < stride.aux; i++) y.strides[i] = stride.ints[i];
    y.offset = arg(c, "offset").i, x.offset = 0;
    extent(&x, &low, &high);
    extent(&y, &low, &high);

    tn_meta row = {.dtype = y.dtype, .rank = 1, .sizes = {high - low + 1}};
    tn_tensor *zeros = math_full(&row, 0, g);
    tn_tensor *numbers = MATH_CALL(&arange, tn_int(0), tn_int(row.sizes[0]), tn_int(1),
                                   tn_value_dtype(TN_I64), tn_value_device(device));
    tn_tensor *sum = add_shown(zeros, &y, low, numbers, g);
    tn_tensor *ones = tn_expand(tnk_scalar(1), (tn_ints){x.sizes, x.rank});
    tn_tensor *often = add_shown(zeros, &x, low, numbers, ones);
    sum = tn_div(sum, tn_maximum(often, tnk_scalar(1)));
    set(c, "x", tn_clone(strided(sum, &x, low)));
}

/* view, squeeze, unsqueeze: back to x's sizes */
void math_grad_reshaped(tn_grad_ctx *c) {
    tn_meta x;
    if (meta_of(c, "x", &x)) set(c, "x", math_reshape(grad_of(c), x.sizes, x.rank));
}

/* ---- Lists -------------------------------------------------------------------------------- */

static tn_tensor **new_list(int64_t n) {
    tn_tensor **list = tn_plugin_host->alloc(tn_plugin_self, (uint64_t)n * sizeof *list);
    if (!list) tnk_raise(TN_ERR_NOMEM, "no memory for a list of gradients");
    return list;
}

/* The gradients of all n results, joined along dim. */
static void set_joined(tn_grad_ctx *c, int64_t n, int64_t dim, bool new_dim) {
    static tn_op_ref stack = {"stack", 0, 0};
    tn_tensor **gs = new_list(n);

    if (!gs) return;
    for (int64_t i = 0; i < n; i++) gs[i] = tn_plugin_ops->grad_out(c, (uint32_t)i);
    const tn_value list = tn_value_tensors((tn_tensors){gs, n});
    set(c, "x", new_dim ? MATH_CALL(&stack, list, tn_int(dim)) : math_cat(gs, n, dim));
    tn_plugin_host->free(tn_plugin_self, gs);
}

void math_grad_split(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    const int64_t size = arg(c, "size").i, dim = math_from_end(arg(c, "dim").i, x.rank);
    set_joined(c, x.sizes[dim] ? (x.sizes[dim] - 1) / size + 1 : 1, dim, false);
}

void math_grad_split_sizes(tn_grad_ctx *c) {
    tn_meta x;

    if (meta_of(c, "x", &x))
        set_joined(c, arg(c, "sizes").aux, math_from_end(arg(c, "dim").i, x.rank), false);
}

void math_grad_unbind(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    const int64_t dim = math_from_end(arg(c, "dim").i, x.rank);
    if (x.sizes[dim])
        set_joined(c, x.sizes[dim], dim, true);
    else
        set(c, "x", NULL);
}

/* Each input gets its part of the gradient; only their sizes are needed. */
void math_grad_cat(tn_grad_ctx *c) {
    const uint32_t n = tn_plugin_ops->grad_count(c, "xs");
    tn_tensor *g = grad_of(c), **gs = n ? new_list(n) : NULL;
    tn_meta y, x;

    if (!gs) return;
    int64_t start = 0;
    const int64_t dim = tnk_meta(g, &y) ? math_from_end(arg(c, "dim").i, y.rank) : 0;
    for (uint32_t i = 0; i < n; i++) {
        gs[i] = NULL;
        if (tn_plugin_ops->grad_meta_at(c, "xs", i, &x)) break; /* an error is pending */
        if (math_is_nothing(&x)) continue;                      /* and has no gradient */
        gs[i] = math_narrow(g, dim, start, x.sizes[dim]);
        start += x.sizes[dim];
    }
    if (tn_plugin_ops->error() == TN_OK) tn_plugin_ops->grad_set_list(c, "xs", (tn_tensors){gs, n});
    tn_plugin_host->free(tn_plugin_self, gs);
}
