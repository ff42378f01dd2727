/* decompositions_reduce.c - reductions and scans written in other ops.
 *
 * Invariant: as in decompositions.c. Rows whose sums may leave the range of 16-bit floats on their
 * way are wide.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

#include <math.h>
#include <stdio.h>

/* A reduction called with (x, .., dim, .., keepdim). */
typedef struct reduction {
    tn_tensor *x;
    tn_meta m; /* of x */
    tn_value dim, keepdim;
    double n; /* elements that go into one result */
} reduction;

static bool reduction_of(const tn_value *args, uint32_t n_args, uint32_t dim, uint32_t keepdim,
                         reduction *r) {
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
static tn_tensor *over(const reduction *r, tn_op_ref *op, tn_tensor *t) {
    return MATH_CALL(op, tn_value_tensor(t), r->dim, r->keepdim);
}

static tn_tensor *sum(const reduction *r, tn_tensor *t) {
    static tn_op_ref op = {"sum.dim", 0, 0};
    return over(r, &op, t);
}

static tn_tensor *in_dtype_of_x(const reduction *r, tn_tensor *y) { return math_as(y, r->m.dtype); }

/* ---- Means and variances ------------------------------------------------------------------ */

/* sum / n. A kernel adds up in a type that holds every sum; this overflows where the sum does. */
tn_status math_compose_mean(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    reduction r;

    (void)n_outs;
    if (!reduction_of(args, n_args, 1, 2, &r)) return tnk_pending();
    return give(outs, tn_div(sum(&r, r.x), tnk_scalar(r.n)));
}

/* Of what is not NaN. */
tn_status math_compose_nanmean(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    static tn_op_ref mean = {"mean.dim", 0, 0};
    reduction r;

    (void)n_outs;
    if (!reduction_of(args, n_args, 1, 2, &r)) return tnk_pending();
    tn_tensor *nan = tn_isnan(r.x), *rest = tn_where(nan, tnk_scalar(0), r.x);
    tn_tensor *share = tn_to(sum(&r, tn_logical_not(nan)), r.m.dtype);
    share = tn_div(tnk_scalar(r.n), share); /* the sum itself may leave the range */
    return give(outs, tn_mul(over(&r, &mean, rest), share));
}

/* m2 / max(0, n - correction), and the mean: (x, dim, correction, keepdim) */
static bool variance(const tn_value *args, uint32_t n_args, reduction *r, tn_tensor **var,
                     tn_tensor **mean) {
    static tn_op_ref op = {"moments", 0, 0};
    tn_value parts[2] = {tn_value_none(), tn_value_none()};

    if (!reduction_of(args, n_args, 1, 3, r)) return false;
    const tn_value inner[] = {tn_value_tensor(r->x), r->dim, r->keepdim};
    if (tn_plugin_ops->call(&op, inner, 3, parts, 2) != TN_OK) return false;
    *mean = parts[0].tensor;
    *var = tn_div(parts[1].tensor, tnk_scalar(fmax(0, r->n - args[2].f)));
    return *var != NULL;
}

tn_status math_compose_var(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *var, *mean;
    reduction r;

    (void)n_outs;
    if (!variance(args, n_args, &r, &var, &mean)) return tnk_pending();
    return give(outs, in_dtype_of_x(&r, var));
}

tn_status math_compose_std(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *var, *mean;
    reduction r;

    (void)n_outs;
    if (!variance(args, n_args, &r, &var, &mean)) return tnk_pending();
    return give(outs, in_dtype_of_x(&r, tn_sqrt(var)));
}

tn_status math_compose_var_mean(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *var, *mean;
    reduction r;

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

/* ---- Norms -------------------------------------------------------------------------------- */

/* What elements are divided by so that no power that matters leaves the range: the unit of the
 * largest |x|, or of the smallest for negative p. */
static tn_tensor *unit_of(const reduction *r, tn_tensor *magnitude, double p) {
    static tn_op_ref amax = {"amax", 0, 0}, amin = {"amin", 0, 0};

    if (math_meta_numel(&r->m) == 0) return tnk_scalar(1);
    return math_unit(
        MATH_CALL(p > 0 ? &amax : &amin, tn_value_tensor(magnitude), r->dim, tn_bool(true)));
}

/* sum(|x|^p)^(1/p) */
static tn_tensor *norm_of_powers(const reduction *r, double p) {
    tn_tensor *magnitude = tn_abs(r->x), *unit = unit_of(r, magnitude, p), *y;
    tn_meta m;

    magnitude = tn_div(magnitude, unit);
    if (p == 2)
        y = tn_sqrt(sum(r, tn_mul(magnitude, magnitude)));
    else
        y = tn_pow(sum(r, tn_pow(magnitude, tnk_scalar(p))), tnk_scalar(1 / p));
    if (!tnk_meta(y, &m)) return NULL;
    return math_meta_numel(&r->m) == 0 ? y : tn_mul(y, math_reshape(unit, m.sizes, m.rank));
}

/* (x, p, dim, keepdim) */
tn_status math_compose_norm(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    static tn_op_ref amax = {"amax", 0, 0}, amin = {"amin", 0, 0};
    const double p = args[1].f;
    tn_tensor *y;
    reduction r;

    (void)n_outs;
    if (!reduction_of(args, n_args, 2, 3, &r)) return tnk_pending();
    if (p == 0)
        y = tn_to(sum(&r, tn_ne(r.x, tnk_scalar(0))), r.m.dtype);
    else if (p == 1)
        y = sum(&r, tn_abs(r.x));
    else if (isinf(p))
        y = over(&r, p > 0 ? &amax : &amin, tn_abs(r.x));
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

/* ---- Sums of exponentials ----------------------------------------------------------------- */

/* log(sum(exp(x - m))) + m, m being the largest, so that exp stays in range; 0 where it is not
 * finite. */
tn_status math_compose_logsumexp(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    static tn_op_ref amax = {"amax", 0, 0};
    tn_meta y;
    reduction r;

    (void)n_outs;
    if (!reduction_of(args, n_args, 1, 2, &r)) return tnk_pending();
    if (math_meta_numel(&r.m) == 0) return give(outs, tn_log(sum(&r, tn_exp(r.x))));
    tn_tensor *m = MATH_CALL(&amax, tn_value_tensor(r.x), r.dim, tn_bool(true));
    m = tn_where(tn_eq(tn_abs(m), tnk_scalar(INFINITY)), tnk_scalar(0), m);
    tn_tensor *total = tn_log(sum(&r, tn_exp(tn_sub(r.x, m))));
    if (!tnk_meta(total, &y)) return tnk_pending();
    return give(outs, tn_add(total, math_reshape(m, y.sizes, y.rank)));
}

/* ---- Sums over dims that broadcasting had added ------------------------------------------- */

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

/* ---- Differences -------------------------------------------------------------------------- */

/* (x, n, dim): x[k + 1] - x[k], n times over; of booleans, whether they differ. */
tn_status math_compose_diff(const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t dim = math_from_end(args[2].i, m.rank), size = m.sizes[dim];
    const int64_t n = args[1].i < size ? args[1].i : size;
    for (int64_t left = size - 1; left >= size - n; left--) {
        const int64_t k = left < 0 ? 0 : left;
        tn_tensor *a = math_narrow(x, dim, size && k < left + 1 ? 1 : 0, k),
                  *b = math_narrow(x, dim, 0, k);
        x = tn_dtype_is(m.dtype, TN_BOOL) ? tn_ne(a, b) : tn_sub(a, b);
    }
    return give(outs, x);
}

/* ---- In place ----------------------------------------------------------------------------- */

/* Twins of rows that are not pointwise: x = op(a copy of x), for derivatives keep what they
 * read. */
static tn_status in_place(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs) {
    tn_value inner[4];

    if (n_args > 4) n_args = 4;
    for (uint32_t i = 1; i < n_args; i++) inner[i] = args[i];
    inner[0] = tn_value_tensor(tn_clone(math_arg(args, n_args, 0)));
    return give(outs, tn_copy_(math_arg(args, n_args, 0), math_call(op, inner, n_args)));
}

#define IN_PLACE(name)                                                                             \
    tn_status math_compose_##name##_(const tn_value *args, uint32_t n_args, tn_value *outs,        \
                                     uint32_t n_outs) {                                            \
        static tn_op_ref op = {#name, 0, 0};                                                       \
        (void)n_outs;                                                                              \
        return in_place(&op, args, n_args, outs);                                                  \
    }
IN_PLACE(cumsum)
IN_PLACE(cumprod)
IN_PLACE(renorm)
