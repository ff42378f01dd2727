/* norm.c - norms of vectors, and vectors cut to a norm.
 *
 * Invariant: no power leaves the range of a dtype that holds the norm.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/calls.h"
#include "modules/math/reduce.h"
#include "modules/math/shapes.h"

/* (x, p, dim, keepdim): sums of powers are 0 for nothing, but there is no largest element. */
tn_status math_shape_norm(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x || in->n_args < 2) return TN_ERR_INVALID;
    const uint32_t dims = math_reduced_dims(in, x->rank);
    const bool sum = in->args[1].f >= 0 && !isinf(in->args[1].f);
    return sum ? math_reduced_shape(in, x, dims) : math_pick(in, x, dims);
}

/* g / y, 0 where y is 0, as in PyTorch. */
static tn_tensor *over_result(tn_tensor *g, tn_tensor *y) {
    tn_tensor *zero = tnk_scalar(0);
    return tn_where(tn_eq(y, zero), zero, tn_div(g, math_nonzero_or(y, 1)));
}

/* (a / b)^e; for small e factor by factor, for the quotient may leave the range where its power
 * does not. */
static tn_tensor *ratio_power(tn_tensor *a, tn_tensor *b, double e) {
    if (fabs(e) > 1) return tn_pow(tn_div(a, b), tnk_scalar(e));
    return tn_mul(tn_pow(a, tnk_scalar(e)), tn_pow(b, tnk_scalar(-e)));
}

/* p:     0    1            2          inf, -inf                       else
 * dx:    0    g sign(x)    g x / y    g sign(x), shared among those   g sign(x) (|x| / y)^(p-1)
 *                                     with |x| = y
 * and 0 where y is 0, but for p = 1. */
void math_grad_norm(math_grad_norm_ctx *c) {
    const double p = TNK_ARG(c, p);
    math_span r;

    if (!TNK_META_OF(c, x, &r.x)) return;
    math_span_over(&r, TNK_ARG(c, dim));
    tn_tensor *x = TNK_SAVED(c, x), *y = math_wide(math_as_kept(&r, TNK_SAVED(c, y)));
    tn_tensor *g = math_as_kept(&r, TNK_GRAD(c, 0)); /* 1 / y leaves the range of f16 */
    if (p == 0) {
        TNK_SET_GRAD(c, x, tn_zeros_like(x));
    } else if (p == 1) {
        TNK_SET_GRAD(c, x, tn_mul(tn_sign(x), g));
    } else if (p == 2) {
        tn_tensor *dx = tn_mul(math_wide(x), over_result(math_wide(g), y));
        TNK_SET_GRAD(c, x, math_as(dx, r.x.dtype));
    } else if (isinf(p)) {
        tn_tensor *chosen = tn_eq(tn_abs(x), math_as_kept(&r, TNK_SAVED(c, y)));
        TNK_SET_GRAD(c, x, math_share(&r, TNK_GRAD(c, 0), chosen, tn_sign(x)));
    } else {
        tn_tensor *zero = tnk_scalar(0), *x_is_0 = tn_eq(x, zero), *y_is_0 = tn_eq(y, zero);
        tn_tensor *size = tn_where(x_is_0, y, tn_abs(math_wide(x))), *slope = tn_sign(x);
        slope = tn_mul(slope, ratio_power(math_nonzero_or(size, 1), math_nonzero_or(y, 1), p - 1));
        tn_tensor *dx = tn_where(tn_logical_or(x_is_0, y_is_0), zero, tn_mul(slope, g));
        TNK_SET_GRAD(c, x, math_as(dx, r.x.dtype));
    }
}

/* What elements are divided by so that no power that matters leaves the range: the unit of the
 * largest |x|, or of the smallest for negative p. */
static tn_tensor *unit_of(tn_tensor *magnitude, double p, tn_ints dim) {
    return math_unit(p > 0 ? op_amax(magnitude, dim, true) : op_amin(magnitude, dim, true));
}

/* sum(|x|^p)^(1/p) */
static tn_tensor *norm_of_powers(tn_tensor *x, double p, tn_ints dim, bool keepdim) {
    tn_meta all, m;

    if (!tnk_meta(x, &all)) return NULL;
    const bool empty = math_meta_numel(&all) == 0;
    tn_tensor *size = tn_abs(x), *unit = empty ? tnk_scalar(1) : unit_of(size, p, dim), *y;
    size = tn_div(size, unit);
    if (p == 2)
        y = tn_sqrt(op_sum_dim(tn_mul(size, size), dim, keepdim));
    else
        y = tn_pow(op_sum_dim(tn_pow(size, tnk_scalar(p)), dim, keepdim), tnk_scalar(1 / p));
    if (!tnk_meta(y, &m)) return NULL;
    return empty ? y : tn_mul(y, math_reshape(unit, m.sizes, m.rank));
}

tn_tensor *math_compose_norm(tn_tensor *x, double p, tn_ints dim, bool keepdim) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (p == 0) return tn_to(op_sum_dim(tn_ne(x, tnk_scalar(0)), dim, keepdim), m.dtype);
    if (p == 1) return op_sum_dim(tn_abs(x), dim, keepdim);
    if (!isinf(p)) return norm_of_powers(x, p, dim, keepdim);
    return p > 0 ? op_amax(tn_abs(x), dim, keepdim) : op_amin(tn_abs(x), dim, keepdim);
}

/* Slices of x along dim scaled down to norm maxnorm, those above it. Norms are f64,
 * for those of slices to be scaled down may be beyond what x's dtype holds. */
tn_tensor *math_compose_renorm(tn_tensor *x, double p, int64_t dim, double maxnorm) {
    tn_tensor *limit = tnk_scalar(maxnorm);
    int64_t dims[TN_MAX_RANK], n = 0;
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    if (!(p > 0)) return tnk_raise_null(TN_ERR_INVALID, "p is %g; it must be above 0", p);
    x = math_as(x, TN_F64);
    for (int32_t i = 0; i < m.rank; i++)
        if (i != math_from_end(dim, m.rank)) dims[n++] = i;
    tn_tensor *norm = tn_abs(x); /* of slices of one element */
    if (n > 0) norm = op_norm(x, p, (tn_ints){dims, n}, true);
    tn_tensor *scale = tn_div(limit, tn_add(norm, tnk_scalar(1e-7)));
    tn_tensor *y = tn_mul(x, tn_where(tn_gt(norm, limit), scale, tnk_scalar(1)));
    return math_as(y, m.dtype);
}

/* A copy is renormed, for its derivative keeps what it reads. */
tn_tensor *math_compose_renorm_(tn_tensor *x, double p, int64_t dim, double maxnorm) {
    return tn_copy_(x, tn_renorm(tn_clone(x), p, dim, maxnorm));
}

/* The norm of all gradients as if they were one vector, in f64, which holds it where their dtype
 * does not; empty ones add nothing. */
static tn_tensor *total_norm(tn_tensors grads, double p) {
    const tn_ints all = {NULL, 0};
    tn_tensor **norms =
        tn_plugin_host->alloc(tn_plugin_self, ((uint64_t)grads.n + 1) * sizeof *norms);
    tn_tensor *total = NULL;
    int64_t n = 0;
    tn_meta m;

    if (!norms) return tnk_raise_null(TN_ERR_NOMEM, "no memory for the list of norms");
    for (int64_t i = 0; i < grads.n && tnk_meta(grads.ptr[i], &m); i++)
        if (math_meta_numel(&m) > 0)
            norms[n++] = tn_to(op_norm(math_wide(grads.ptr[i]), p, all, false), TN_F64);
    if (n > 0)
        total = op_norm(op_stack((tn_tensors){norms, n}, 0), p, all, false);
    else
        total = tn_fill_(tn_plugin_ops->empty((tn_ints){NULL, 0}, TN_F64, (tn_device){TN_CPU, 0}),
                         tn_float(0));
    tn_plugin_host->free(tn_plugin_self, norms);
    return total;
}

static bool is_finite(tn_tensor *total, double p) {
    double norm = 0;

    if (!total || tn_plugin_ops->read(total, &norm, sizeof norm) != TN_OK) return false;
    if (isfinite(norm)) return true;
    tnk_raise(TN_ERR_INVALID,
              "the total norm of order %g is %g, so the gradients cannot be clipped; leave "
              "error_if_nonfinite away to scale by it nevertheless",
              p, norm);
    return false;
}

/* The dtype the norm is given in: f32, f64 if that is among the gradients'. */
static tn_dtype norm_dtype(tn_tensors grads) {
    tn_meta m;

    for (int64_t i = 0; i < grads.n && tnk_meta(grads.ptr[i], &m); i++)
        if (tn_dtype_is(m.dtype, TN_F64)) return TN_F64;
    return TN_F32;
}

tn_tensor *math_compose_clip_grad_norm(tn_tensors grads, double max_norm, double norm_type,
                                       bool error_if_nonfinite) {
    tn_tensor *total = total_norm(grads, norm_type);

    if (!total || (error_if_nonfinite && !is_finite(total, norm_type))) return NULL;
    tn_tensor *scale = tn_div(tnk_scalar(max_norm), tn_add(total, tnk_scalar(1e-6)));
    scale = op_clamp(scale, tn_value_none(), tn_float(1));
    for (int64_t i = 0; i < grads.n; i++)
        if (!tn_mul_(grads.ptr[i], scale)) return NULL;
    return math_as(total, norm_dtype(grads));
}
