/* index.c - picked and spread by an index for each element, or each row along a dim.
 *
 * Invariant: sizes are compared here, values of indices by the kernels. An index of rows is shown to
 * every element of its row as a view of stride 0, so that the kernels see the same bounds rule. Of
 * elements that meet in one place, each gets the part of the gradient that it had in the result; all
 * sums run in one order, so gradients are the same bits every time. Where several steps lead to a
 * gradient, 16-bit floats are computed as f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"
#include "modules/math/shapes.h"

/* What is 0-dim counts as one dim of size 1. */
static int32_t rank_of(const tn_view *v) { return v->rank ? v->rank : 1; }

static int64_t size_of(const tn_view *v, int32_t dim) { return v->rank ? v->sizes[dim] : 1; }

/* index must not reach outside v, save along dim (-1: along none), where the values decide. */
static bool index_inside(const tn_view *index, const tn_view *v, int64_t dim) {
    if (rank_of(index) != rank_of(v)) return false;
    for (int32_t i = 0; i < rank_of(v); i++)
        if (i != dim && size_of(index, i) > size_of(v, i)) return false;
    return true;
}

/* Is the index, argument 2, one for x, argument 0? */
static tn_status check_index(tn_infer *in, const tn_view *x, const tn_view *index) {
    if (!x || !index) return missing(in);
    if (index_inside(index, x, in->args[1].i)) return TN_OK;
    return mismatch(in, "index", index, "x", x,
                    "ranks must be equal and index no larger than x, save along dim");
}

tn_status math_shape_gather(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 2);
    const tn_status status = check_index(in, x, index);
    return status ? status : math_set_sizes(in, &in->outs[0], index->sizes, index->rank, "index");
}

void math_grad_gather(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    set(c, "x", tn_scatter_add(math_full(&x, 0, g), arg(c, "dim").i, saved(c, "index"), g));
}

/* (x, dim, index, value): as x */
tn_status math_shape_scatter_value(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 2);
    const tn_status status = check_index(in, x, index);
    return status ? status : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* (x, dim, index, src): as x */
tn_status math_shape_scatter(tn_infer *in) {
    const tn_view *index = view_of(in, 2), *src = view_of(in, 3);

    if (!index || !src) return missing(in);
    if (!index_inside(index, src, -1))
        return mismatch(in, "index", index, "src", src,
                        "ranks must be equal and index no larger than src");
    return math_shape_scatter_value(in);
}

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

tn_status math_compose_scatter_value(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 2);
    tn_meta m, one;

    (void)n_outs;
    if (!tnk_meta(x, &one) || !tnk_meta(index, &m)) return tnk_pending();
    one.rank = 0;
    tn_tensor *value = tn_fill_(math_full(&one, 0, x), args[3]);
    return give(outs,
                tn_scatter(x, args[1].i, index, tn_expand(value, (tn_ints){m.sizes, m.rank})));
}

void math_grad_scatter_add(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);

    if (needs(c, "x")) set(c, "x", g);
    if (needs(c, "src")) set_src(c, tn_gather(g, arg(c, "dim").i, saved(c, "index")));
}

tn_status math_shape_scatter_reduce(tn_infer *in) {
    static const char *const reduces[] = {"sum", "prod", "mean", "amax", "amin"};
    const tn_value *word = &in->args[4];

    for (size_t i = 0; i < sizeof reduces / sizeof *reduces; i++)
        if (math_says(word, reduces[i])) return math_shape_scatter(in);
    return tnk_fail_shape(in, TN_ERR_INVALID,
                          "reduce is \"%.*s\"; it must be sum, prod, mean, amax or amin",
                          (int)(word->aux < 64 ? word->aux : 64), word->str);
}

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

/* index, argument 2, has rank 1, or rank 0 for one row; n is how many it names. */
static tn_status index_of_rows(tn_infer *in, const tn_view *index, int64_t *n) {
    char text[TNK_LIST_BYTES];

    if (!index) return missing(in);
    *n = index->rank == 0 ? 1 : index->sizes[0];
    if (index->rank <= 1) return TN_OK;
    return tnk_fail_shape(in, TN_ERR_SHAPE, "index%s must have rank 1, or 0 for a single row",
                          tnk_sizes_text(index->sizes, index->rank, text));
}

/* As x, with index's length along dim. A 0-dim x has one row, itself. */
tn_status math_shape_index_select(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 2);
    int64_t n = 0;

    if (!x) return missing(in);
    const tn_status status = index_of_rows(in, index, &n);
    if (status) return status;
    if (x->rank == 0 && n != 1)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "x is 0-dim: index must have 1 entry, not %lld",
                              (long long)n);
    math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
    if (x->rank) in->outs[0].sizes[in->args[1].i] = n;
    return math_set_sizes(in, &in->outs[0], in->outs[0].sizes, x->rank, "result");
}

/* index, of rank 1 (or 0: one row), for every element of x's rows along dim. */
static tn_tensor *row_index(tn_tensor *x, int64_t dim, tn_tensor *index) {
    tn_meta m, have;

    if (!tnk_meta(x, &m) || !tnk_meta(index, &have)) return NULL;
    if (m.rank == 0) return math_reshape(index, NULL, 0);
    int64_t sizes[TN_MAX_RANK];
    for (int32_t i = 0; i < m.rank; i++) sizes[i] = 1;
    sizes[dim] = m.sizes[dim] = math_meta_numel(&have);
    return tn_expand(math_reshape(index, sizes, m.rank), (tn_ints){m.sizes, m.rank});
}

tn_status math_compose_index_select(const tn_value *args, uint32_t n_args, tn_value *outs,
                                    uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);

    (void)n_outs;
    return give(outs, tn_gather(x, args[1].i, row_index(x, args[1].i, math_arg(args, n_args, 2))));
}

/* (x, dim, index, source): source is what index_select would give */
static tn_status index_source(tn_infer *in, bool ranks_alike) {
    const tn_view *x = view_of(in, 0), *source = view_of(in, 3);
    int64_t n = 0;

    if (!x || !source) return missing(in);
    const tn_status status = index_of_rows(in, view_of(in, 2), &n);
    if (status) return status;
    const int64_t dim = in->args[1].i;
    bool fits = ranks_alike ? source->rank == x->rank : rank_of(source) == rank_of(x);
    for (int32_t i = 0; fits && i < rank_of(x); i++)
        fits = size_of(source, i) == (i == dim ? n : size_of(x, i));
    if (!fits)
        return mismatch(in, "source", source, "x", x,
                        "sizes must be equal, save along dim, where source has index's length");
    const tn_status scaled = math_check_factor(in, 4, "alpha");
    return scaled ? scaled : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

tn_status math_shape_index_add(tn_infer *in) { return index_source(in, true); }

void math_grad_index_add(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c);

    if (needs(c, "x")) set(c, "x", g);
    if (!needs(c, "source")) return;
    set(c, "source",
        math_times(tn_index_select(g, arg(c, "dim").i, saved(c, "index")), arg(c, "alpha")));
}

tn_status math_compose_index_add(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_tensor *index = row_index(x, args[1].i, math_arg(args, n_args, 2));

    (void)n_outs;
    return give(
        outs, tn_scatter_add(x, args[1].i, index, math_times(math_arg(args, n_args, 3), args[4])));
}

tn_status math_shape_index_copy(tn_infer *in) { return index_source(in, false); }

tn_status math_compose_index_copy(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_tensor *index = row_index(x, args[1].i, math_arg(args, n_args, 2));

    (void)n_outs;
    return give(outs, tn_scatter(x, args[1].i, index, math_arg(args, n_args, 3)));
}

tn_status math_shape_index_fill(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    int64_t n = 0;

    if (!x) return missing(in);
    const tn_status status = index_of_rows(in, view_of(in, 2), &n);
    return status ? status : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* Here negative indices count from the end, as PyTorch has it. */
tn_status math_compose_index_fill(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 2);
    const int64_t dim = args[1].i;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    index = tn_wrap_index(index, m.rank ? m.sizes[dim] : 1);
    return give(outs, tn_scatter_value(x, dim, row_index(x, dim, index), args[3]));
}

/* index's sizes and a row */
tn_status math_shape_embedding(tn_infer *in) {
    const tn_view *weight = view_of(in, 0), *index = view_of(in, 1);
    int64_t sizes[TN_MAX_RANK + 1];

    if (!weight || !index) return missing(in);
    const tn_value *pad = &in->args[2];
    if (pad->tag == TN_TAG_INT && (pad->i < -weight->sizes[0] || pad->i >= weight->sizes[0]))
        return tnk_fail_shape(in, TN_ERR_INDEX, "padding_idx is %lld, but weight has %lld rows",
                              (long long)pad->i, (long long)weight->sizes[0]);
    for (int32_t i = 0; i < index->rank; i++) sizes[i] = index->sizes[i];
    sizes[index->rank] = weight->sizes[1];
    return math_set_sizes(in, &in->outs[0], sizes, (int64_t)index->rank + 1, "result");
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

static tn_tensor *flat(tn_tensor *t) { return math_reshape(t, (int64_t[]){-1}, 1); }

tn_status math_compose_embedding(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *weight = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 1);
    tn_meta w, m;

    (void)n_outs;
    if (!tnk_meta(weight, &w) || !tnk_meta(index, &m)) return tnk_pending();
    tn_tensor *rows = tn_index_select(weight, 0, flat(index));
    m.sizes[m.rank] = w.sizes[1]; /* the shape rule has checked the rank */
    return give(outs, math_reshape(rows, m.sizes, m.rank + 1));
}

/* (grad, index, num) -> [num, row] */
tn_status math_shape_embedding_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *index = view_of(in, 1);

    if (!grad || !index) return missing(in);
    bool fits = grad->rank == index->rank + 1;
    for (int32_t i = 0; fits && i < index->rank; i++) fits = grad->sizes[i] == index->sizes[i];
    if (!fits)
        return mismatch(in, "grad", grad, "index", index, "grad must have index's sizes and a row");
    return math_set_sizes(in, &in->outs[0], (int64_t[]){in->args[2].i, grad->sizes[grad->rank - 1]},
                          2, "result");
}

/* (grad, index, num, padding_idx) */
tn_status math_compose_embedding_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *index = math_arg(args, n_args, 1);
    tn_meta m, n;

    (void)n_outs;
    if (!tnk_meta(grad, &m) || !tnk_meta(index, &n)) return tnk_pending();
    const int64_t row = m.sizes[m.rank - 1];
    index = flat(index);
    tn_tensor *rows = math_reshape(grad, (int64_t[]){math_meta_numel(&n), row}, 2);
    if (args[3].tag == TN_TAG_INT)
        rows = tn_masked_fill(rows, tn_unsqueeze(tn_eq(index, tnk_scalar_int(args[3].i)), 1),
                              tn_int(0));
    m.rank = 2, m.sizes[0] = args[2].i, m.sizes[1] = row;
    static tn_op_ref op = {"index_add", 0, 0};
    return give(outs, MATH_CALL(&op, tn_value_tensor(math_full(&m, 0, grad)), tn_int(0),
                                tn_value_tensor(index), tn_value_tensor(rows)));
}
