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

#include "modules/math/grads.h"
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

bool math_span_of(tn_grad_ctx *c, tn_value dim, math_span *out) {
    if (!meta_of(c, "x", &out->x)) return false;
    const uint32_t mask = math_dim_mask(dim, out->x.rank);
    out->kept = math_kept(&out->x, mask);
    out->n_dims = 0, out->n = 1;
    for (int32_t i = 0; i < out->x.rank; i++) {
        if (!(mask >> i & 1)) continue;
        out->dims[out->n_dims++] = i;
        out->n *= (double)out->x.sizes[i];
    }
    return true;
}

/* A result or its gradient with reduced dims of size 1, so that it broadcasts with x. */
tn_tensor *math_as_kept(const math_span *r, tn_tensor *t) {
    return math_reshape(t, r->kept.sizes, r->kept.rank);
}

/* Every element has gone into the sum once. */
void math_grad_sum(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    set(c, "x", tn_expand(math_as_kept(&r, grad_of(c)), (tn_ints){r.x.sizes, r.x.rank}));
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
void math_grad_prod(tn_grad_ctx *c) {
    int64_t back[TN_MAX_RANK];
    tn_tensor *g = grad_of(c);
    math_span r;
    tn_meta wide;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    g = math_wide(math_as_kept(&r, g));
    if (r.n_dims > 0 && math_meta_numel(&r.x) > 0) {
        tn_tensor *x = gathered(&r, math_wide(saved(c, "x")), back, &wide);
        const int64_t last = r.x.rank - r.n_dims;
        tn_tensor *before = math_shifted(tn_cumprod(x, last), last, 1);
        tn_tensor *behind = math_shifted(tn_cumprod(math_reversed(x, last), last), last, 1);
        tn_tensor *others =
            math_reshape(tn_mul(before, math_reversed(behind, last)), wide.sizes, wide.rank);
        g = tn_mul(g, tn_permute(others, (tn_ints){back, wide.rank}));
    }
    set(c, "x", tn_expand(g, (tn_ints){r.x.sizes, r.x.rank}));
}

/* g / n for each element that went into the mean. */
void math_grad_mean(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    set(c, "x",
        tn_expand(tn_div(math_as_kept(&r, grad_of(c)), tnk_scalar(r.n)),
                  (tn_ints){r.x.sizes, r.x.rank}));
}

bool math_reduce_call_of(const tn_value *args, uint32_t n_args, uint32_t dim, uint32_t keepdim,
                         math_reduce_call *r) {
    r->x = math_arg(args, n_args, 0);
    if (!tnk_meta(r->x, &r->m)) return false;
    r->dim = args[dim], r->n = 1;
    r->keepdim = keepdim < n_args ? args[keepdim] : tn_bool(false);
    const uint32_t mask = math_dim_mask(r->dim, r->m.rank);
    for (int32_t i = 0; i < r->m.rank; i++)
        if (mask >> i & 1) r->n *= (double)r->m.sizes[i];
    return true;
}

/* op over the call's dims of t, which is shaped like x. */
tn_tensor *math_over(const math_reduce_call *r, tn_op_ref *op, tn_tensor *t) {
    return MATH_CALL(op, tn_value_tensor(t), r->dim, r->keepdim);
}

tn_tensor *math_sum_over(const math_reduce_call *r, tn_tensor *t) {
    static tn_op_ref op = {"sum.dim", 0, 0};
    return math_over(r, &op, t);
}

/* sum / n. A kernel adds up in a type that holds every sum; this overflows where the sum does. */
tn_status math_compose_mean(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    math_reduce_call r;

    (void)n_outs;
    if (!math_reduce_call_of(args, n_args, 1, 2, &r)) return tnk_pending();
    return give(outs, tn_div(math_sum_over(&r, r.x), tnk_scalar(r.n)));
}

/* g shared evenly among the elements of x where `chosen` holds, times sign if that is given. The
 * others get 0, whatever g is. */
void math_share(tn_grad_ctx *c, const math_span *r, tn_tensor *chosen, tn_tensor *sign) {
    tn_tensor *g = math_as_kept(r, grad_of(c));
    tn_meta y;

    if (!tnk_meta(g, &y)) return;
    tn_tensor *ties = math_wide(tn_to(chosen, y.dtype)); /* to be counted */
    if (r->n_dims) ties = math_sum_keep(ties, r->dims, r->n_dims);
    g = math_as(tn_div(g, ties), y.dtype);
    set(c, "x", tn_where(chosen, sign ? tn_mul(g, sign) : g, tnk_scalar(0)));
}

/* nanmean: of what is not NaN, g / their count. */
void math_grad_nanmean(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    math_share(c, &r, tn_logical_not(tn_isnan(saved(c, "x"))), NULL);
}

/* Of what is not NaN. */
tn_status math_compose_nanmean(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    static tn_op_ref mean = {"mean.dim", 0, 0};
    math_reduce_call r;

    (void)n_outs;
    if (!math_reduce_call_of(args, n_args, 1, 2, &r)) return tnk_pending();
    tn_tensor *nan = tn_isnan(r.x), *rest = tn_where(nan, tnk_scalar(0), r.x);
    tn_tensor *share = tn_to(math_sum_over(&r, tn_logical_not(nan)), r.m.dtype);
    share = tn_div(tnk_scalar(r.n), share); /* the sum itself may leave the range */
    return give(outs, tn_mul(math_over(&r, &mean, rest), share));
}

/* softmax of x, times g; of nothing but -inf it is 0 */
void math_grad_logsumexp(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    tn_tensor *y = math_finite_or_0(math_as_kept(&r, saved(c, "y")));
    tn_tensor *share = tn_exp(tn_sub(saved(c, "x"), y));
    set(c, "x", tn_mul(math_as_kept(&r, grad_of(c)), share));
}

/* log(math_sum_over(exp(x - m))) + m, m being the largest, so that exp stays in range; 0 where it is not
 * finite. */
tn_status math_compose_logsumexp(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    static tn_op_ref amax = {"amax", 0, 0};
    tn_meta y;
    math_reduce_call r;

    (void)n_outs;
    if (!math_reduce_call_of(args, n_args, 1, 2, &r)) return tnk_pending();
    if (math_meta_numel(&r.m) == 0) return give(outs, tn_log(math_sum_over(&r, tn_exp(r.x))));
    tn_tensor *m = MATH_CALL(&amax, tn_value_tensor(r.x), r.dim, tn_bool(true));
    m = tn_where(tn_eq(tn_abs(m), tnk_scalar(INFINITY)), tnk_scalar(0), m);
    tn_tensor *total = tn_log(math_sum_over(&r, tn_exp(tn_sub(r.x, m))));
    if (!tnk_meta(total, &y)) return tnk_pending();
    return give(outs, tn_add(total, math_reshape(m, y.sizes, y.rank)));
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
void math_grad_moments(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    tn_tensor *d = tn_div(math_as_kept(&r, grad_of(c)), tnk_scalar(r.n));
    if (tn_plugin_ops->grad_out_defined(c, 1)) {
        tn_tensor *slope = tn_mul(math_as_kept(&r, tn_plugin_ops->grad_out(c, 1)), tnk_scalar(2));
        tn_tensor *x = math_as(saved(c, "x"), TN_F64), *mean = math_as_kept(&r, saved(c, "mean"));
        d = tn_add(d, tn_mul(slope, tn_sub(x, mean)));
    }
    set(c, "x", math_as(tn_expand(d, (tn_ints){r.x.sizes, r.x.rank}), r.x.dtype));
}

static tn_tensor *in_dtype_of_x(const math_reduce_call *r, tn_tensor *y) {
    return math_as(y, r->m.dtype);
}

/* m2 / max(0, n - correction), and the mean: (x, dim, correction, keepdim) */
static bool variance(const tn_value *args, uint32_t n_args, math_reduce_call *r, tn_tensor **var,
                     tn_tensor **mean) {
    static tn_op_ref op = {"moments", 0, 0};
    tn_value parts[2] = {tn_value_none(), tn_value_none()};

    if (!math_reduce_call_of(args, n_args, 1, 3, r)) return false;
    const tn_value inner[] = {tn_value_tensor(r->x), r->dim, r->keepdim};
    if (tn_plugin_ops->call(&op, inner, 3, parts, 2) != TN_OK) return false;
    *mean = parts[0].tensor;
    *var = tn_div(parts[1].tensor, tnk_scalar(fmax(0, r->n - args[2].f)));
    return *var != NULL;
}

tn_status math_compose_var(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *var, *mean;
    math_reduce_call r;

    (void)n_outs;
    if (!variance(args, n_args, &r, &var, &mean)) return tnk_pending();
    return give(outs, in_dtype_of_x(&r, var));
}

/* t, with `other` where it is 0: what is divided by, or raised to a power. */
tn_tensor *math_nonzero_or(tn_tensor *t, double other) {
    return tn_where(tn_eq(t, tnk_scalar(0)), tnk_scalar(other), t);
}

static tn_tensor *mean_of(const math_span *r, tn_tensor *x) {
    return r->n_dims ? math_mean_keep(x, r->dims, r->n_dims) : x;
}

/* g (x - mean) / y / (n - correction), 0 where y is 0, as in PyTorch; in units of y, for x -
 * mean may leave the range. The mean of what x has left without its rounded mean is taken off as
 * well. */
void math_grad_std(tn_grad_ctx *c) {
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    const double freedom = fmax(0, r.n - arg(c, "correction").f);
    tn_tensor *x = math_wide(saved(c, "x")), *y = math_as_kept(&r, math_wide(saved(c, "y")));
    tn_tensor *unit = math_unit(y), *zero = tnk_scalar(0);
    x = tn_div(x, unit), y = tn_div(y, unit);
    tn_tensor *d = tn_sub(x, mean_of(&r, x));
    d = tn_div(tn_sub(d, mean_of(&r, d)), math_nonzero_or(y, 1));
    tn_tensor *g = tn_div(math_as_kept(&r, math_wide(grad_of(c))), tnk_scalar(freedom));
    set(c, "x", tn_mul(d, tn_where(tn_eq(y, zero), zero, g)));
}

tn_status math_compose_std(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *var, *mean;
    math_reduce_call r;

    (void)n_outs;
    if (!variance(args, n_args, &r, &var, &mean)) return tnk_pending();
    return give(outs, in_dtype_of_x(&r, tn_sqrt(var)));
}

tn_status math_compose_var_mean(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *var, *mean;
    math_reduce_call r;

    (void)n_outs;
    if (!variance(args, n_args, &r, &var, &mean)) return tnk_pending();
    outs[1] = tn_value_tensor(in_dtype_of_x(&r, mean));
    return give(outs, in_dtype_of_x(&r, var));
}

/* Through std, whose derivative is 0 where the square root's is not finite. */
tn_status math_compose_std_mean(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    static tn_op_ref std = {"std", 0, 0}, mean = {"mean.dim", 0, 0};

    (void)n_outs;
    outs[1] = tn_value_tensor(MATH_CALL(&mean, args[0], args[1], args[3]));
    return give(outs, math_call(&std, args, n_args));
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
tn_status math_compose_sum_to(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    int64_t dims[TN_MAX_RANK], n = 0;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int32_t rank = (int32_t)args[1].aux, more = m.rank - rank;
    for (int32_t i = 0; i < m.rank; i++)
        if (i < more || (args[1].ints[i - more] == 1 && m.sizes[i] != 1)) dims[n++] = i;
    if (n > 0) x = math_as(math_sum_keep(x, dims, n), m.dtype);
    return give(outs, more > 0 ? math_reshape(x, args[1].ints, rank) : x);
}
