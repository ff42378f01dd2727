/* reduce.c - sums, products, means, variances, and truth of many elements.
 *
 * Invariant: the contract has made dims non-negative, and below the rank; rows whose sums may leave
 * the range of 16-bit floats on their way are wide. Nothing is divided by an element of x: products
 * are put together from the factors before and behind it, so that zeros are right through any
 * order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/reduce.h"

#include <math.h>
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* The first argument with that tag behind x, or NULL: dim, dims and keepdim stand at several
 * places, and each is the only one of its kind. */
static const tn_value *with_tag(const tn_infer *in, int32_t tag) {
    for (uint32_t i = 1; i < in->n_args; i++)
        if (in->args[i].tag == tag) return &in->args[i];
    return NULL;
}

/* Bit i: dim i is reduced. No dim given means all. */
uint32_t math_reduced_dims(const tn_infer *in, int32_t rank) {
    const tn_value *dims = with_tag(in, TN_TAG_INTS), *dim = with_tag(in, TN_TAG_INT);
    const uint32_t all = (1u << rank) - 1;
    uint32_t mask = 0;

    if (dim) return 1u << dim->i & all;
    if (!dims || dims->aux == 0) return all;
    for (uint32_t i = 0; i < dims->aux; i++) mask |= 1u << dims->ints[i];
    return mask & all;
}

tn_status math_reduced_shape(tn_infer *in, const tn_view *x, uint32_t dims) {
    const tn_value *keepdim = with_tag(in, TN_TAG_BOOL);

    for (uint32_t k = 0; k < in->n_outs; k++) {
        tn_meta *y = &in->outs[k];
        y->rank = 0;
        for (int32_t i = 0; i < x->rank; i++) {
            const bool gone = dims >> i & 1;
            if (!gone || (keepdim && keepdim->i)) y->sizes[y->rank++] = gone ? 1 : x->sizes[i];
        }
    }
    return TN_OK;
}

tn_status math_shape_sum(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    widen(in, x);
    return math_reduced_shape(in, x, math_reduced_dims(in, x->rank));
}

/* Dims as bits, negative ones counted from the end; none given means all. */
static uint32_t dim_mask(tn_ints dim, int32_t rank) {
    const uint32_t all = (1u << rank) - 1;
    uint32_t mask = 0;

    if (dim.n == 0) return all;
    for (int64_t i = 0; i < dim.n; i++) mask |= 1u << math_from_end(dim.ptr[i], rank);
    return mask & all;
}

/* x's sizes, with 1 in the dims of mask. */
static tn_meta kept_sizes(const tn_meta *x, uint32_t mask) {
    tn_meta kept = *x;
    for (int32_t i = 0; i < x->rank; i++)
        if (mask >> i & 1) kept.sizes[i] = 1;
    return kept;
}

void math_span_over(math_span *r, tn_ints dim) {
    const uint32_t mask = dim_mask(dim, r->x.rank);
    r->kept = kept_sizes(&r->x, mask);
    r->n_dims = 0, r->n = 1;
    for (int32_t i = 0; i < r->x.rank; i++) {
        if (!(mask >> i & 1)) continue;
        r->dims[r->n_dims++] = i;
        r->n *= (double)r->x.sizes[i];
    }
}

/* A result or its gradient with reduced dims of size 1, so that it broadcasts with x. */
tn_tensor *math_as_kept(const math_span *r, tn_tensor *t) {
    return math_reshape(t, r->kept.sizes, r->kept.rank);
}

/* t, which broadcasts to x, in x's sizes: a view. */
static tn_tensor *as_x(const math_span *r, tn_tensor *t) {
    return tn_expand(t, (tn_ints){r->x.sizes, r->x.rank});
}

/* Every element has gone into the sum once. */
void math_grad_sum(math_grad_sum_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    TNK_SET_GRAD(c, x, as_x(&r, math_as_kept(&r, TNK_GRAD(c, 0))));
}

/* Reduced dims last, and as one; back[] undoes the order. */
static tn_tensor *gathered(const math_span *r, tn_tensor *x, int64_t back[TN_MAX_RANK],
                           tn_meta *wide) {
    int64_t order[TN_MAX_RANK], n = 0;

    wide->rank = r->x.rank;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = 0, k = 0; i < r->x.rank; i++) {
            const bool gone = k < r->n_dims && r->dims[k] == i;
            k += gone;
            if (gone != (pass == 1)) continue;
            wide->sizes[n] = r->x.sizes[i], back[i] = n;
            order[n++] = i;
        }
    int64_t sizes[TN_MAX_RANK + 1];
    const int32_t kept = r->x.rank - (int32_t)r->n_dims;
    for (int32_t i = 0; i < kept; i++) sizes[i] = wide->sizes[i];
    sizes[kept] = (int64_t)r->n;
    return math_reshape(tn_permute(x, (tn_ints){order, n}), sizes, kept + 1);
}

/* g times the product of all other factors: of those before, and of those behind. */
void math_grad_prod(math_grad_prod_ctx *c) {
    int64_t back[TN_MAX_RANK];
    tn_tensor *g = TNK_GRAD(c, 0);
    math_span r;
    tn_meta wide;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    g = math_wide(math_as_kept(&r, g));
    if (r.n_dims > 0 && math_meta_numel(&r.x) > 0) {
        tn_tensor *x = gathered(&r, math_wide(TNK_SAVED(c, x)), back, &wide);
        const int64_t last = r.x.rank - r.n_dims;
        tn_tensor *before = math_shifted(tn_cumprod(x, last), last, 1);
        tn_tensor *behind = math_shifted(tn_cumprod(math_reversed(x, last), last), last, 1);
        tn_tensor *others =
            math_reshape(tn_mul(before, math_reversed(behind, last)), wide.sizes, wide.rank);
        g = tn_mul(g, tn_permute(others, (tn_ints){back, wide.rank}));
    }
    TNK_SET_GRAD(c, x, as_x(&r, g));
}

/* g / n for each element that went into the mean. */
void math_grad_mean(math_grad_mean_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    TNK_SET_GRAD(c, x, as_x(&r, tn_div(math_as_kept(&r, TNK_GRAD(c, 0)), tnk_scalar(r.n))));
}

/* sum / n. A kernel adds up in a type that holds every sum; this overflows where the sum does. */
tn_tensor *math_compose_mean(tn_tensor *x, tn_ints dim, bool keepdim) {
    math_span r;

    if (!tnk_meta(x, &r.x)) return NULL;
    math_span_over(&r, dim);
    return tn_div(op_sum_dim(x, dim, keepdim), tnk_scalar(r.n));
}

/* g shared evenly among the elements of x where `chosen` holds, times sign if that is given. The
 * others get 0, whatever g is. */
tn_tensor *math_share(const math_span *r, tn_tensor *g, tn_tensor *chosen, tn_tensor *sign) {
    tn_meta y;

    g = math_as_kept(r, g);
    if (!tnk_meta(g, &y)) return NULL;
    tn_tensor *ties = math_wide(tn_to(chosen, y.dtype)); /* to be counted */
    if (r->n_dims) ties = math_sum_keep(ties, r->dims, r->n_dims);
    g = math_as(tn_div(g, ties), y.dtype);
    return tn_where(chosen, sign ? tn_mul(g, sign) : g, tnk_scalar(0));
}

/* nanmean: of what is not NaN, g / their count. */
void math_grad_nanmean(math_grad_nanmean_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    tn_tensor *chosen = tn_logical_not(tn_isnan(TNK_SAVED(c, x)));
    TNK_SET_GRAD(c, x, math_share(&r, TNK_GRAD(c, 0), chosen, NULL));
}

/* Of what is not NaN. */
tn_tensor *math_compose_nanmean(tn_tensor *x, tn_ints dim, bool keepdim) {
    math_span r;

    if (!tnk_meta(x, &r.x)) return NULL;
    math_span_over(&r, dim);
    tn_tensor *nan = tn_isnan(x), *rest = tn_where(nan, tnk_scalar(0), x);
    tn_tensor *share = tn_to(op_sum_dim(tn_logical_not(nan), dim, keepdim), r.x.dtype);
    share = tn_div(tnk_scalar(r.n), share); /* the sum itself may leave the range */
    return tn_mul(op_mean_dim(rest, dim, keepdim), share);
}

/* softmax of x, times g; of nothing but -inf it is 0 */
void math_grad_logsumexp(math_grad_logsumexp_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    tn_tensor *y = math_finite_or_0(math_as_kept(&r, TNK_SAVED(c, y)));
    tn_tensor *share = tn_exp(tn_sub(TNK_SAVED(c, x), y));
    TNK_SET_GRAD(c, x, tn_mul(math_as_kept(&r, TNK_GRAD(c, 0)), share));
}

/* log(sum(exp(x - m))) + m, m being the largest, so that exp stays in range; 0 where it is not
 * finite. */
tn_tensor *math_compose_logsumexp(tn_tensor *x, tn_ints dim, bool keepdim) {
    tn_meta all, y;

    if (!tnk_meta(x, &all)) return NULL;
    if (math_meta_numel(&all) == 0) return tn_log(op_sum_dim(tn_exp(x), dim, keepdim));
    tn_tensor *m = op_amax(x, dim, true);
    m = tn_where(tn_eq(tn_abs(m), tnk_scalar(INFINITY)), tnk_scalar(0), m);
    tn_tensor *total = tn_log(op_sum_dim(tn_exp(tn_sub(x, m)), dim, keepdim));
    if (!tnk_meta(total, &y)) return NULL;
    return tn_add(total, math_reshape(m, y.sizes, y.rank));
}

/* any, all: boolean, but u8 of u8, as in PyTorch. */
tn_status math_shape_any(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    in->outs[0].dtype = tn_dtype_is(x->dtype, TN_U8) ? TN_U8 : TN_BOOL;
    return math_reduced_shape(in, x, math_reduced_dims(in, x->rank));
}

/* Sums of squares leave the range of narrower floats, and a mean that is to be subtracted must
 * not be rounded to them: both results are f64. */
tn_status math_shape_moments(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    for (uint32_t k = 0; k < in->n_outs; k++) in->outs[k].dtype = TN_F64;
    return math_reduced_shape(in, x, math_reduced_dims(in, x->rank));
}

/* mean: g / n; m2 = sum((x - mean)^2): 2 g1 (x - mean), for what mean adds cancels. In f64, as the
 * results are: x - mean leaves the range of x's dtype, and its digits. */
void math_grad_moments(math_grad_moments_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    tn_tensor *d = tn_div(math_as_kept(&r, TNK_GRAD(c, 0)), tnk_scalar(r.n));
    if (TNK_GRAD_DEFINED(c, 1)) {
        tn_tensor *slope = tn_mul(math_as_kept(&r, TNK_GRAD(c, 1)), tnk_scalar(2));
        tn_tensor *x = math_as(TNK_SAVED(c, x), TN_F64),
                  *mean = math_as_kept(&r, TNK_SAVED(c, mean));
        d = tn_add(d, tn_mul(slope, tn_sub(x, mean)));
    }
    TNK_SET_GRAD(c, x, math_as(as_x(&r, d), r.x.dtype));
}

/* m2 / max(0, n - correction), and the mean, both f64. dtype: x's. NULLs: an error is pending. */
static tn_var_mean_result variance(tn_tensor *x, tn_ints dim, double correction, bool keepdim,
                                   tn_dtype *dtype) {
    math_span r;

    if (!tnk_meta(x, &r.x)) return (tn_var_mean_result){NULL, NULL};
    math_span_over(&r, dim);
    *dtype = r.x.dtype;
    const tn_moments_result m = op_moments(x, dim, keepdim);
    return (tn_var_mean_result){tn_div(m.m2, tnk_scalar(fmax(0, r.n - correction))), m.mean};
}

tn_tensor *math_compose_var(tn_tensor *x, tn_ints dim, double correction, bool keepdim) {
    tn_dtype dtype;
    const tn_var_mean_result v = variance(x, dim, correction, keepdim, &dtype);
    return v.var ? math_as(v.var, dtype) : NULL;
}

/* t, with `other` where it is 0: what is divided by, or raised to a power. */
tn_tensor *math_nonzero_or(tn_tensor *t, double other) {
    return tn_where(tn_eq(t, tnk_scalar(0)), tnk_scalar(other), t);
}

static tn_tensor *mean_of(const math_span *r, tn_tensor *x) {
    return r->n_dims ? op_mean_dim(x, (tn_ints){r->dims, r->n_dims}, true) : x;
}

/* g (x - mean) / y / (n - correction), 0 where y is 0, as in PyTorch; in units of y, for x -
 * mean may leave the range. The mean of what x has left without its rounded mean is taken off as
 * well. */
void math_grad_std(math_grad_std_ctx *c) {
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    const double freedom = fmax(0, r.n - TNK_ARG(c, correction));
    tn_tensor *x = math_wide(TNK_SAVED(c, x)), *y = math_as_kept(&r, math_wide(TNK_SAVED(c, y)));
    tn_tensor *unit = math_unit(y), *zero = tnk_scalar(0);
    x = tn_div(x, unit), y = tn_div(y, unit);
    tn_tensor *d = tn_sub(x, mean_of(&r, x));
    d = tn_div(tn_sub(d, mean_of(&r, d)), math_nonzero_or(y, 1));
    tn_tensor *g = tn_div(math_as_kept(&r, math_wide(TNK_GRAD(c, 0))), tnk_scalar(freedom));
    TNK_SET_GRAD(c, x, tn_mul(d, tn_where(tn_eq(y, zero), zero, g)));
}

tn_tensor *math_compose_std(tn_tensor *x, tn_ints dim, double correction, bool keepdim) {
    tn_dtype dtype;
    const tn_var_mean_result v = variance(x, dim, correction, keepdim, &dtype);
    return v.var ? math_as(tn_sqrt(v.var), dtype) : NULL;
}

tn_var_mean_result math_compose_var_mean(tn_tensor *x, tn_ints dim, double correction,
                                         bool keepdim) {
    tn_dtype dtype;
    tn_var_mean_result v = variance(x, dim, correction, keepdim, &dtype);
    if (v.var) v.mean = math_as(v.mean, dtype), v.var = math_as(v.var, dtype);
    return v;
}

/* Through std, whose derivative is 0 where the square root's is not finite. */
tn_std_mean_result math_compose_std_mean(tn_tensor *x, tn_ints dim, double correction,
                                         bool keepdim) {
    tn_tensor *mean = op_mean_dim(x, dim, keepdim);
    return (tn_std_mean_result){op_std(x, dim, correction, keepdim), mean};
}

tn_status math_shape_sum_to(tn_infer *in) {
    const tn_view *x = x_of(in);
    char from[TNK_LIST_BYTES], to[TNK_LIST_BYTES];
    tn_meta wide, *y = &in->outs[0];

    if (!x || in->n_args < 2) return TN_ERR_INVALID;
    const tn_status status = math_set_sizes(in, y, in->args[1].ints, in->args[1].aux, "sizes");
    if (status) return status;
    wide = *y;
    if (wide.rank > x->rank || !math_broadcast(&wide, x->sizes, x->rank) ||
        memcmp(wide.sizes, x->sizes, (size_t)x->rank * sizeof *x->sizes) != 0)
        return tnk_fail_shape(
            in, TN_ERR_SHAPE, "x%s cannot be summed to sizes %s: those do not broadcast to x",
            tnk_sizes_text(x->sizes, x->rank, from), tnk_sizes_text(y->sizes, y->rank, to));
    return TN_OK;
}

/* Sums over the dims that are new or were of size 1, then drops the new ones. */
tn_tensor *math_compose_sum_to(tn_tensor *x, tn_ints sizes) {
    int64_t dims[TN_MAX_RANK], n = 0;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const int32_t rank = (int32_t)sizes.n, more = m.rank - rank;
    for (int32_t i = 0; i < m.rank; i++)
        if (i < more || (sizes.ptr[i - more] == 1 && m.sizes[i] != 1)) dims[n++] = i;
    if (n > 0) x = math_as(math_sum_keep(x, dims, n), m.dtype);
    return more > 0 ? math_reshape(x, sizes.ptr, rank) : x;
}
