/* norm.c - norms of vectors, and vectors cut to a norm.
 *
 * Invariant: no power leaves the range of a dtype that holds the norm.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/grads.h"
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
void math_grad_norm(tn_grad_ctx *c) {
    const double p = arg(c, "p").f;
    math_span r;

    if (!math_span_of(c, arg(c, "dim"), &r)) return;
    tn_tensor *x = saved(c, "x"), *y = math_wide(math_as_kept(&r, saved(c, "y")));
    tn_tensor *g = math_as_kept(&r, grad_of(c)); /* 1 / y leaves the range of f16 */
    if (p == 0) {
        set(c, "x", tn_zeros_like(x));
    } else if (p == 1) {
        set(c, "x", tn_mul(tn_sign(x), g));
    } else if (p == 2) {
        tn_tensor *dx = tn_mul(math_wide(x), over_result(math_wide(g), y));
        set(c, "x", math_as(dx, r.x.dtype));
    } else if (isinf(p)) {
        math_share(c, &r, tn_eq(tn_abs(x), math_as_kept(&r, saved(c, "y"))), tn_sign(x));
    } else {
        tn_tensor *zero = tnk_scalar(0), *x_is_0 = tn_eq(x, zero), *y_is_0 = tn_eq(y, zero);
        tn_tensor *size = tn_where(x_is_0, y, tn_abs(math_wide(x))), *slope = tn_sign(x);
        slope = tn_mul(slope, ratio_power(math_nonzero_or(size, 1), math_nonzero_or(y, 1), p - 1));
        tn_tensor *dx = tn_where(tn_logical_or(x_is_0, y_is_0), zero, tn_mul(slope, g));
        set(c, "x", math_as(dx, r.x.dtype));
    }
}

/* What elements are divided by so that no power that matters leaves the range: the unit of the
 * largest |x|, or of the smallest for negative p. */
static tn_tensor *unit_of(const math_reduce_call *r, tn_tensor *magnitude, double p) {
    static tn_op_ref amax = {"amax", 0, 0}, amin = {"amin", 0, 0};

    if (math_meta_numel(&r->m) == 0) return tnk_scalar(1);
    return math_unit(
        MATH_CALL(p > 0 ? &amax : &amin, tn_value_tensor(magnitude), r->dim, tn_bool(true)));
}

/* math_sum_over(|x|^p)^(1/p) */
static tn_tensor *norm_of_powers(const math_reduce_call *r, double p) {
    tn_tensor *magnitude = tn_abs(r->x), *unit = unit_of(r, magnitude, p), *y;
    tn_meta m;

    magnitude = tn_div(magnitude, unit);
    if (p == 2)
        y = tn_sqrt(math_sum_over(r, tn_mul(magnitude, magnitude)));
    else
        y = tn_pow(math_sum_over(r, tn_pow(magnitude, tnk_scalar(p))), tnk_scalar(1 / p));
    if (!tnk_meta(y, &m)) return NULL;
    return math_meta_numel(&r->m) == 0 ? y : tn_mul(y, math_reshape(unit, m.sizes, m.rank));
}

/* (x, p, dim, keepdim) */
tn_status math_compose_norm(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    static tn_op_ref amax = {"amax", 0, 0}, amin = {"amin", 0, 0};
    const double p = args[1].f;
    tn_tensor *y;
    math_reduce_call r;

    (void)n_outs;
    if (!math_reduce_call_of(args, n_args, 2, 3, &r)) return tnk_pending();
    if (p == 0)
        y = tn_to(math_sum_over(&r, tn_ne(r.x, tnk_scalar(0))), r.m.dtype);
    else if (p == 1)
        y = math_sum_over(&r, tn_abs(r.x));
    else if (isinf(p))
        y = math_over(&r, p > 0 ? &amax : &amin, tn_abs(r.x));
    else
        y = norm_of_powers(&r, p);
    return give(outs, y);
}

/* Slices of x along dim scaled down to norm maxnorm, those above it: (x, p, dim, maxnorm). Norms
 * are f64, for those of slices to be scaled down may be beyond what x's dtype holds. */
tn_status math_compose_renorm(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    static tn_op_ref op = {"norm", 0, 0};
    tn_tensor *limit = tnk_scalar(args[3].f);
    int64_t dims[TN_MAX_RANK], n = 0;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(math_arg(args, n_args, 0), &m)) return tnk_pending();
    if (!(args[1].f > 0))
        return tnk_raise(TN_ERR_INVALID, "p is %g; it must be above 0", args[1].f);
    tn_tensor *x = math_as(math_arg(args, n_args, 0), TN_F64);
    for (int32_t i = 0; i < m.rank; i++)
        if (i != math_from_end(args[2].i, m.rank)) dims[n++] = i;
    tn_tensor *norm = tn_abs(x); /* of slices of one element */
    if (n > 0)
        norm = MATH_CALL(&op, tn_value_tensor(x), args[1], tn_value_ints((tn_ints){dims, n}),
                         tn_bool(true));
    tn_tensor *scale = tn_div(limit, tn_add(norm, tnk_scalar(1e-7)));
    tn_tensor *y = tn_mul(x, tn_where(tn_gt(norm, limit), scale, tnk_scalar(1)));
    return give(outs, math_as(y, m.dtype));
}

tn_status math_compose_renorm_(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    static tn_op_ref op = {"renorm", 0, 0};

    (void)n_outs;
    return math_in_place(&op, args, n_args, outs);
}

/* The norm of all gradients as if they were one vector, in f64, which holds it where their dtype
 * does not; empty ones add nothing. */
static tn_tensor *total_norm(tn_value grads, tn_value p) {
    static tn_op_ref op = {"norm", 0, 0};
    tn_tensor **norms = tn_plugin_host->alloc(tn_plugin_self, (grads.aux + 1) * sizeof *norms);
    tn_tensor *total = NULL;
    int64_t n = 0;
    tn_meta m;

    if (!norms) {
        tnk_raise(TN_ERR_NOMEM, "no memory for the list of norms");
        return NULL;
    }
    for (uint32_t i = 0; i < grads.aux && tnk_meta(grads.tensors[i], &m); i++)
        if (math_meta_numel(&m) > 0)
            norms[n++] =
                tn_to(MATH_CALL(&op, tn_value_tensor(math_wide(grads.tensors[i])), p), TN_F64);
    if (n > 0)
        total = MATH_CALL(&op, tn_value_tensor(tn_stack((tn_tensors){norms, n}, NULL)), p);
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
static tn_dtype norm_dtype(tn_value grads) {
    tn_meta m;

    for (uint32_t i = 0; i < grads.aux && tnk_meta(grads.tensors[i], &m); i++)
        if (tn_dtype_is(m.dtype, TN_F64)) return TN_F64;
    return TN_F32;
}

/* (grads, max_norm, norm_type, error_if_nonfinite) */
tn_status math_compose_clip_grad_norm(const tn_value *args, uint32_t n_args, tn_value *outs,
                                      uint32_t n_outs) {
    static tn_op_ref clamp = {"clamp", 0, 0};
    tn_tensor *total = total_norm(args[0], args[2]);

    (void)n_args, (void)n_outs;
    if (!total || (args[3].i && !is_finite(total, args[2].f))) return tnk_pending();
    tn_tensor *scale = tn_div(tnk_scalar(args[1].f), tn_add(total, tnk_scalar(1e-6)));
    scale = MATH_CALL(&clamp, tn_value_tensor(scale), tn_value_none(), tn_float(1));
    for (uint32_t i = 0; i < args[0].aux; i++)
        if (!tn_mul_(args[0].tensors[i], scale)) return tnk_pending();
    return give(outs, math_as(total, norm_dtype(args[0])));
}
