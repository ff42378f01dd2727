/* derivatives_index.c - derivatives of what picks and spreads elements by index.
 *
 * Invariant: of elements that meet in one place, each gets the part of the gradient that it had in
 * the result; all sums run in one order, so gradients are the same bits every time. Where several
 * steps lead to a gradient, 16-bit floats are computed as f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"

void math_grad_gather(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    set(c, "x", tn_scatter_add(math_full(&x, 0, g), arg(c, "dim").i, saved(c, "index"), g));
}

/* ---- Scatter ------------------------------------------------------------------------------ */

/* src may be larger than index, which d is as large as; what index does not reach has no
 * gradient. */
static void set_src(tn_grad_ctx *c, tn_tensor *d) {
    static tn_op_ref op = {"slice_bwd", 0, 0};
    tn_meta src, have;

    if (!meta_of(c, "src", &src) || !tnk_meta(d, &have)) return;
    if (have.rank != src.rank) { /* one of them is 0-dim */
        have.rank = src.rank, have.sizes[0] = math_meta_numel(&have);
        d = math_reshape(d, have.sizes, src.rank);
    }
    for (int32_t i = 0; i < src.rank; i++) {
        const int64_t n = have.sizes[i];
        if (n == src.sizes[i]) continue;
        have.sizes[i] = src.sizes[i];
        d = MATH_CALL(&op, tn_value_tensor(d), tn_value_ints((tn_ints){have.sizes, have.rank}),
                      tn_int(i), tn_int(0), tn_int(n));
    }
    set(c, "src", d);
}

void math_grad_scatter_add(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);

    if (needs(c, "x")) set(c, "x", g);
    if (needs(c, "src")) set_src(c, tn_gather(g, arg(c, "dim").i, saved(c, "index")));
}

/* Where index's element is the one that stays in its place: its number comes back. */
static tn_tensor *stays(tn_tensor *index, const tn_meta *x, int64_t dim) {
    static tn_op_ref arange = {"arange", 0, 0};
    tn_meta m, place = *x;
    tn_device device;

    if (!tnk_meta(index, &m) || tn_plugin_ops->device(index, &device) != TN_OK) return NULL;
    tn_tensor *numbers = MATH_CALL(&arange, tn_int(0), tn_int(math_meta_numel(&m)), tn_int(1),
                                   tn_value_dtype(TN_I64), tn_value_device(device));
    numbers = math_reshape(numbers, m.sizes, m.rank);
    place.dtype = TN_I64;
    tn_tensor *last = tn_scatter(math_full(&place, -1, index), dim, index, numbers);
    return tn_eq(tn_gather(last, dim, index), numbers);
}

void math_grad_scatter(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c), *index = saved(c, "index");
    const int64_t dim = arg(c, "dim").i;
    tn_meta x;

    if (needs(c, "x")) set(c, "x", tn_scatter_value(g, dim, index, tn_int(0)));
    if (!needs(c, "src") || !meta_of(c, "x", &x)) return;
    set_src(c, tn_where(stays(index, &x, dim), tn_gather(g, dim, index), tnk_scalar(0)));
}

/* ---- scatter_reduce ----------------------------------------------------------------------- */

typedef struct reduced {
    tn_tensor *g, *x, *index, *src, *y;
    int64_t dim;
    bool include_self;
    tn_tensor *dx, *dsrc; /* dx as if x took part everywhere; dsrc as large as index */
} reduced;

static tn_tensor *at_index(const reduced *r, tn_tensor *t) {
    return tn_gather(t, r->dim, r->index);
}
static tn_tensor *sum_at(const reduced *r, tn_tensor *into, tn_tensor *t) {
    return tn_scatter_add(into, r->dim, r->index, t);
}
/* 1 where x takes part, 0 where it was replaced: of g's dtype. */
static tn_tensor *own_part(const reduced *r) {
    tn_tensor *one = tn_ones_like(r->g);
    return r->include_self ? one : tn_scatter_value(one, r->dim, r->index, tn_int(0));
}

static void grad_mean(reduced *r) {
    tn_tensor *ones = tn_ones_like(at_index(r, r->g));
    tn_tensor *n = sum_at(r, own_part(r), ones);
    r->dx = tn_div(r->g, n); /* x stays, divided by 1, where nothing came */
    r->dsrc = at_index(r, r->dx);
}

/* The gradient is shared evenly among all that equal the result. */
static void grad_extreme(reduced *r) {
    tn_tensor *mine = tn_where(tn_eq(r->x, r->y), own_part(r), tnk_scalar(0));
    tn_tensor *theirs =
        tn_where(tn_eq(r->src, at_index(r, r->y)), tn_ones_like(at_index(r, r->g)), tnk_scalar(0));
    tn_tensor *share = tn_div(r->g, tn_maximum(sum_at(r, mine, theirs), tnk_scalar(1)));
    r->dx = tn_mul(share, mine);
    r->dsrc = tn_mul(at_index(r, share), theirs);
}

/* The product of all others: the result divided by the element, or, of a single 0, the result with
 * a 1 in its place. */
static void grad_prod(reduced *r) {
    static tn_op_ref op = {"scatter_reduce", 0, 0};
    const tn_value dim = tn_int(r->dim), index = tn_value_tensor(r->index),
                   prod = tn_value_str("prod", 4), self = tn_bool(r->include_self);
    tn_tensor *one = tnk_scalar(1), *zero = tnk_scalar(0);
    r->y = MATH_CALL(&op, tn_value_tensor(r->x), dim, index, tn_value_tensor(r->src), prod, self);
    tn_tensor *x = tn_where(tn_eq(r->x, zero), one, r->x), *none = tn_eq(r->src, zero);
    tn_tensor *without =
        MATH_CALL(&op, tn_value_tensor(x), dim, index, tn_value_tensor(r->src), prod, self);
    r->dx = tn_mul(r->g, tn_div(without, x));

    tn_tensor *ones = tn_ones_like(at_index(r, r->g));
    tn_tensor *zeros =
        sum_at(r, math_times(tn_ones_like(r->g), tn_int(0)), tn_where(none, ones, zero));
    tn_tensor *single = tn_where(none, tn_eq(at_index(r, zeros), one), none);
    without = MATH_CALL(&op, tn_value_tensor(r->x), dim, index,
                        tn_value_tensor(tn_where(single, one, r->src)), prod, self);
    r->dsrc = tn_where(single, at_index(r, tn_mul(r->g, without)),
                       tn_div(at_index(r, tn_mul(r->g, r->y)), tn_where(none, one, r->src)));
}

void math_grad_scatter_reduce(tn_grad_ctx *c) {
    const tn_value word = arg(c, "reduce");
    reduced r = {.g = math_wide(grad_of(c)),
                 .x = math_wide(saved(c, "x")),
                 .index = saved(c, "index"),
                 .y = math_wide(saved(c, "y")),
                 .dim = arg(c, "dim").i,
                 .include_self = arg(c, "include_self").i != 0};
    tn_meta m, src;

    if (!tnk_meta(r.index, &m)) return;
    r.src = math_wide(saved(c, "src"));
    if (!tnk_meta(r.src, &src)) return;
    if (src.rank != m.rank) r.src = math_reshape(r.src, m.sizes, m.rank); /* one of them is 0-dim */
    for (int32_t i = 0; i < m.rank; i++) r.src = math_narrow(r.src, i, 0, m.sizes[i]);
    if (math_says(&word, "mean"))
        grad_mean(&r);
    else if (math_says(&word, "prod"))
        grad_prod(&r);
    else if (math_says(&word, "sum"))
        r.dx = r.g, r.dsrc = at_index(&r, r.g);
    else
        grad_extreme(&r);
    if (needs(c, "src")) set_src(c, r.dsrc);
    if (!needs(c, "x")) return;
    set(c, "x", r.include_self ? r.dx : tn_scatter_value(r.dx, r.dim, r.index, tn_int(0)));
}

/* ---- Rows --------------------------------------------------------------------------------- */

void math_grad_index_add(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);

    if (needs(c, "x")) set(c, "x", g);
    if (!needs(c, "source")) return;
    set(c, "source",
        math_times(tn_index_select(g, arg(c, "dim").i, saved(c, "index")), arg(c, "alpha")));
}

void math_grad_embedding(tn_grad_ctx *c) {
    static tn_op_ref op = {"embedding_bwd", 0, 0};
    tn_value pad = arg(c, "padding_idx");
    tn_meta weight;

    if (!meta_of(c, "weight", &weight)) return;
    if (pad.tag == TN_TAG_INT) pad.i = math_from_end(pad.i, weight.sizes[0]);
    set(c, "weight",
        MATH_CALL(&op, tn_value_tensor(grad_of(c)), tn_value_tensor(saved(c, "index")),
                  tn_int(weight.sizes[0]), pad));
}

void math_grad_unfold(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    if (x.rank == 0) { /* of nothing the sum is 0 */
        set(c, "x", tn_sum(grad_of(c)));
        return;
    }
    set(c, "x",
        tn_fold(grad_of(c), (tn_ints){x.sizes, x.rank}, math_from_end(arg(c, "dim").i, x.rank),
                arg(c, "size").i, arg(c, "step").i));
}
