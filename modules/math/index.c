/* index.c - picked and spread by an index for each element, or each row along a dim.
 *
 * Invariant: sizes are compared here, values of indices by the kernels. An index of rows is shown to
 * every element of its row as a view of stride 0, so that the kernels see the same bounds rule. Of
 * elements that meet in one place, each gets the part of the gradient that it had in the result; all
 * sums run in one order, so gradients are the same bits every time. Where several steps lead to a
 * gradient, 16-bit floats are computed as f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"
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

void math_grad_gather(math_grad_gather_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0);
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    TNK_SET_GRAD(c, x,
                 tn_scatter_add(math_full(&x, 0, g), TNK_ARG(c, dim), TNK_SAVED(c, index), g));
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
static tn_tensor *as_src(tn_tensor *d, const tn_meta *src) {
    tn_meta have;

    if (!tnk_meta(d, &have)) return NULL;
    if (have.rank != src->rank) { /* one of them is 0-dim */
        have.rank = src->rank, have.sizes[0] = math_meta_numel(&have);
        d = math_reshape(d, have.sizes, src->rank);
    }
    for (int32_t i = 0; i < src->rank; i++) {
        const int64_t n = have.sizes[i];
        if (n == src->sizes[i]) continue;
        have.sizes[i] = src->sizes[i];
        d = op_slice_bwd(d, (tn_ints){have.sizes, have.rank}, i, tnk_some_int(0), tnk_some_int(n),
                         1);
    }
    return d;
}

/* Where index's element is the one that stays in its place: its number comes back. */
static tn_tensor *stays(tn_tensor *index, const tn_meta *x, int64_t dim) {
    tn_meta m, place = *x;

    if (!tnk_meta(index, &m)) return NULL;
    tn_tensor *numbers = math_count_from(0, math_meta_numel(&m), index);
    numbers = math_reshape(numbers, m.sizes, m.rank);
    place.dtype = TN_I64;
    tn_tensor *last = tn_scatter(math_full(&place, -1, index), dim, index, numbers);
    return tn_eq(tn_gather(last, dim, index), numbers);
}

void math_grad_scatter(math_grad_scatter_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0), *index = TNK_SAVED(c, index);
    const int64_t dim = TNK_ARG(c, dim);
    tn_meta x, src;

    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, tn_scatter_value(g, dim, index, tn_int(0)));
    if (!TNK_NEEDS(c, src) || !TNK_META_OF(c, x, &x) || !TNK_META_OF(c, src, &src)) return;
    tn_tensor *d = tn_where(stays(index, &x, dim), tn_gather(g, dim, index), tnk_scalar(0));
    TNK_SET_GRAD(c, src, as_src(d, &src));
}

tn_tensor *math_compose_scatter_value(tn_tensor *x, int64_t dim, tn_tensor *index, tn_value value) {
    tn_meta m, one;

    if (!tnk_meta(x, &one) || !tnk_meta(index, &m)) return NULL;
    one.rank = 0;
    tn_tensor *number = tn_fill_(math_full(&one, 0, x), value);
    return tn_scatter(x, dim, index, tn_expand(number, (tn_ints){m.sizes, m.rank}));
}

void math_grad_scatter_add(math_grad_scatter_add_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0);
    tn_meta src;

    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, g);
    if (!TNK_NEEDS(c, src) || !TNK_META_OF(c, src, &src)) return;
    TNK_SET_GRAD(c, src, as_src(tn_gather(g, TNK_ARG(c, dim), TNK_SAVED(c, index)), &src));
}

tn_status math_shape_scatter_reduce(tn_infer *in) {
    static const char *const reduces[] = {"sum", "prod", "mean", "amax", "amin"};
    const tnk_text word = tnk_as_text(in->args[4]);

    for (size_t i = 0; i < sizeof reduces / sizeof *reduces; i++)
        if (tnk_says(word, reduces[i])) return math_shape_scatter(in);
    return tnk_fail_shape(in, TN_ERR_INVALID,
                          "reduce is \"%.*s\"; it must be sum, prod, mean, amax or amin",
                          (int)(word.n < 64 ? word.n : 64), word.ptr);
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

static tn_tensor *product(const reduced *r, tn_tensor *x, tn_tensor *src) {
    const tnk_text prod = {"prod", 4};
    return op_scatter_reduce(x, r->dim, r->index, src, prod, r->include_self);
}

/* The product of all others: the result divided by the element, or, of a single 0, the result with
 * a 1 in its place. */
static void grad_prod(reduced *r) {
    tn_tensor *one = tnk_scalar(1), *zero = tnk_scalar(0);
    r->y = product(r, r->x, r->src);
    tn_tensor *x = tn_where(tn_eq(r->x, zero), one, r->x), *none = tn_eq(r->src, zero);
    r->dx = tn_mul(r->g, tn_div(product(r, x, r->src), x));

    tn_tensor *ones = tn_ones_like(at_index(r, r->g));
    tn_tensor *zeros =
        sum_at(r, math_times(tn_ones_like(r->g), tn_int(0)), tn_where(none, ones, zero));
    tn_tensor *single = tn_where(none, tn_eq(at_index(r, zeros), one), none);
    tn_tensor *without = product(r, r->x, tn_where(single, one, r->src));
    r->dsrc = tn_where(single, at_index(r, tn_mul(r->g, without)),
                       tn_div(at_index(r, tn_mul(r->g, r->y)), tn_where(none, one, r->src)));
}

void math_grad_scatter_reduce(math_grad_scatter_reduce_ctx *c) {
    const tnk_text word = TNK_ARG(c, reduce);
    reduced r = {.g = math_wide(TNK_GRAD(c, 0)),
                 .x = math_wide(TNK_SAVED(c, x)),
                 .index = TNK_SAVED(c, index),
                 .y = math_wide(TNK_SAVED(c, y)),
                 .dim = TNK_ARG(c, dim),
                 .include_self = TNK_ARG(c, include_self)};
    tn_meta m, src;

    if (!tnk_meta(r.index, &m)) return;
    r.src = math_wide(TNK_SAVED(c, src));
    if (!tnk_meta(r.src, &src)) return;
    if (src.rank != m.rank) r.src = math_reshape(r.src, m.sizes, m.rank); /* one of them is 0-dim */
    for (int32_t i = 0; i < m.rank; i++) r.src = math_narrow(r.src, i, 0, m.sizes[i]);
    if (tnk_says(word, "mean"))
        grad_mean(&r);
    else if (tnk_says(word, "prod"))
        grad_prod(&r);
    else if (tnk_says(word, "sum"))
        r.dx = r.g, r.dsrc = at_index(&r, r.g);
    else
        grad_extreme(&r);
    if (TNK_NEEDS(c, src) && TNK_META_OF(c, src, &src)) TNK_SET_GRAD(c, src, as_src(r.dsrc, &src));
    if (!TNK_NEEDS(c, x)) return;
    TNK_SET_GRAD(c, x, r.include_self ? r.dx : tn_scatter_value(r.dx, r.dim, r.index, tn_int(0)));
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

tn_tensor *math_compose_index_select(tn_tensor *x, int64_t dim, tn_tensor *index) {
    return tn_gather(x, dim, row_index(x, dim, index));
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

void math_grad_index_add(math_grad_index_add_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0);

    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, g);
    if (!TNK_NEEDS(c, source)) return;
    TNK_SET_GRAD(
        c, source,
        math_times(tn_index_select(g, TNK_ARG(c, dim), TNK_SAVED(c, index)), TNK_ARG(c, alpha)));
}

tn_tensor *math_compose_index_add(tn_tensor *x, int64_t dim, tn_tensor *index, tn_tensor *source,
                                  tn_value alpha) {
    return tn_scatter_add(x, dim, row_index(x, dim, index), math_times(source, alpha));
}

tn_status math_shape_index_copy(tn_infer *in) { return index_source(in, false); }

tn_tensor *math_compose_index_copy(tn_tensor *x, int64_t dim, tn_tensor *index, tn_tensor *source) {
    return tn_scatter(x, dim, row_index(x, dim, index), source);
}

tn_status math_shape_index_fill(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    int64_t n = 0;

    if (!x) return missing(in);
    const tn_status status = index_of_rows(in, view_of(in, 2), &n);
    return status ? status : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* Here negative indices count from the end, as PyTorch has it. */
tn_tensor *math_compose_index_fill(tn_tensor *x, int64_t dim, tn_tensor *index, tn_value value) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    index = tn_wrap_index(index, m.rank ? m.sizes[dim] : 1);
    return tn_scatter_value(x, dim, row_index(x, dim, index), value);
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

void math_grad_embedding(math_grad_embedding_ctx *c) {
    tn_maybe_int pad = TNK_ARG(c, padding_idx);
    tn_meta weight;

    if (!TNK_META_OF(c, weight, &weight)) return;
    if (pad.set) pad.value = math_from_end(pad.value, weight.sizes[0]);
    TNK_SET_GRAD(c, weight,
                 op_embedding_bwd(TNK_GRAD(c, 0), TNK_SAVED(c, index), weight.sizes[0], pad));
}

static tn_tensor *flat(tn_tensor *t) { return math_reshape(t, (int64_t[]){-1}, 1); }

tn_tensor *math_compose_embedding(tn_tensor *weight, tn_tensor *index, tn_maybe_int padding_idx) {
    tn_meta w, m;

    (void)padding_idx; /* it matters for the gradient */
    if (!tnk_meta(weight, &w) || !tnk_meta(index, &m)) return NULL;
    tn_tensor *rows = tn_index_select(weight, 0, flat(index));
    m.sizes[m.rank] = w.sizes[1]; /* the shape rule has checked the rank */
    return math_reshape(rows, m.sizes, m.rank + 1);
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

tn_tensor *math_compose_embedding_bwd(tn_tensor *grad, tn_tensor *index, int64_t num,
                                      tn_maybe_int padding_idx) {
    tn_meta m, n;

    if (!tnk_meta(grad, &m) || !tnk_meta(index, &n)) return NULL;
    const int64_t row = m.sizes[m.rank - 1];
    index = flat(index);
    tn_tensor *rows = math_reshape(grad, (int64_t[]){math_meta_numel(&n), row}, 2);
    if (padding_idx.set)
        rows = tn_masked_fill(
            rows, tn_unsqueeze(tn_eq(index, tnk_scalar_int(padding_idx.value)), 1), tn_int(0));
    m.rank = 2, m.sizes[0] = num, m.sizes[1] = row;
    return op_index_add(math_full(&m, 0, grad), 0, index, rows, tn_int(1));
}
