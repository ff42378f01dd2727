/* derivatives_reduce.c - derivatives of reductions and scans.
 *
 * Invariant: as in derivatives.c. Nothing is divided by an element of x: products are put together
 * from the factors before and behind it, so that zeros are right through any order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"

#include <math.h>

typedef struct reduction { /* the call whose derivative is wanted */
    tn_meta x, kept;       /* kept: x's sizes, 1 in reduced dims */
    int64_t dims[TN_MAX_RANK], n_dims;
    double n; /* elements that went into one result */
} reduction;

static bool reduction_of(tn_grad_ctx *c, tn_value dim, reduction *out) {
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
static tn_tensor *as_kept(const reduction *r, tn_tensor *t) {
    return math_reshape(t, r->kept.sizes, r->kept.rank);
}

/* ---- Sums --------------------------------------------------------------------------------- */

/* Every element has gone into the sum once. */
void math_grad_sum(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    set(c, "x", tn_expand(as_kept(&r, grad_of(c)), (tn_ints){r.x.sizes, r.x.rank}));
}

/* g / n for each element that went into the mean. */
void math_grad_mean(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    set(c, "x",
        tn_expand(tn_div(as_kept(&r, grad_of(c)), tnk_scalar(r.n)),
                  (tn_ints){r.x.sizes, r.x.rank}));
}

/* mean: g / n; m2 = sum((x - mean)^2): 2 g1 (x - mean), for what mean adds cancels. In f64, as the
 * results are: x - mean leaves the range of x's dtype, and its digits. */
void math_grad_moments(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    tn_tensor *d = tn_div(as_kept(&r, grad_of(c)), tnk_scalar(r.n));
    if (tn_plugin_ops->grad_out_defined(c, 1)) {
        tn_tensor *slope = tn_mul(as_kept(&r, tn_plugin_ops->grad_out(c, 1)), tnk_scalar(2));
        tn_tensor *x = math_as(saved(c, "x"), TN_F64), *mean = as_kept(&r, saved(c, "mean"));
        d = tn_add(d, tn_mul(slope, tn_sub(x, mean)));
    }
    set(c, "x", math_as(tn_expand(d, (tn_ints){r.x.sizes, r.x.rank}), r.x.dtype));
}

/* t, with `other` where it is 0: what is divided by, or raised to a power. */
static tn_tensor *nonzero_or(tn_tensor *t, double other) {
    return tn_where(tn_eq(t, tnk_scalar(0)), tnk_scalar(other), t);
}

/* g / y, 0 where y is 0, as in PyTorch. */
static tn_tensor *over_result(tn_tensor *g, tn_tensor *y) {
    tn_tensor *zero = tnk_scalar(0);
    return tn_where(tn_eq(y, zero), zero, tn_div(g, nonzero_or(y, 1)));
}

static tn_tensor *mean_of(const reduction *r, tn_tensor *x) {
    return r->n_dims ? math_mean_keep(x, r->dims, r->n_dims) : x;
}

/* g (x - mean) / y / (n - correction), 0 where y is 0, as in PyTorch; in units of y, for x -
 * mean may leave the range. The mean of what x has left without its rounded mean is taken off as
 * well. */
void math_grad_std(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    const double freedom = fmax(0, r.n - arg(c, "correction").f);
    tn_tensor *x = math_wide(saved(c, "x")), *y = as_kept(&r, math_wide(saved(c, "y")));
    tn_tensor *unit = math_unit(y), *zero = tnk_scalar(0);
    x = tn_div(x, unit), y = tn_div(y, unit);
    tn_tensor *d = tn_sub(x, mean_of(&r, x));
    d = tn_div(tn_sub(d, mean_of(&r, d)), nonzero_or(y, 1));
    tn_tensor *g = tn_div(as_kept(&r, math_wide(grad_of(c))), tnk_scalar(freedom));
    set(c, "x", tn_mul(d, tn_where(tn_eq(y, zero), zero, g)));
}

/* t, with 0 for -inf, which is the logarithm of nothing. */
static tn_tensor *finite_or_0(tn_tensor *t) {
    return tn_where(tn_eq(t, tnk_scalar(-INFINITY)), tnk_scalar(0), t);
}

/* softmax of x, times g; of nothing but -inf it is 0 */
void math_grad_logsumexp(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    tn_tensor *y = finite_or_0(as_kept(&r, saved(c, "y")));
    tn_tensor *share = tn_exp(tn_sub(saved(c, "x"), y));
    set(c, "x", tn_mul(as_kept(&r, grad_of(c)), share));
}

/* ---- Largest and smallest ----------------------------------------------------------------- */

/* g shared evenly among the elements of x where `chosen` holds, times sign if that is given. The
 * others get 0, whatever g is. */
static void share(tn_grad_ctx *c, const reduction *r, tn_tensor *chosen, tn_tensor *sign) {
    tn_tensor *g = as_kept(r, grad_of(c));
    tn_meta y;

    if (!tnk_meta(g, &y)) return;
    tn_tensor *ties = math_wide(tn_to(chosen, y.dtype)); /* to be counted */
    if (r->n_dims) ties = math_sum_keep(ties, r->dims, r->n_dims);
    g = math_as(tn_div(g, ties), y.dtype);
    set(c, "x", tn_where(chosen, sign ? tn_mul(g, sign) : g, tnk_scalar(0)));
}

/* nanmean: of what is not NaN, g / their count. */
void math_grad_nanmean(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    share(c, &r, tn_logical_not(tn_isnan(saved(c, "x"))), NULL);
}

void math_grad_amax(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    share(c, &r, tn_eq(saved(c, "x"), as_kept(&r, saved(c, "y"))), NULL);
}

/* max, min, median of all elements: as amax, but a result that is NaN goes to all that are. */
void math_grad_max(tn_grad_ctx *c) {
    reduction r;

    if (!reduction_of(c, tn_value_none(), &r)) return;
    tn_tensor *x = saved(c, "x"), *y = saved(c, "y");
    share(c, &r, tn_where(tn_isnan(y), tn_isnan(x), tn_eq(x, y)), NULL);
}

/* max.dim, topk, median.dim and so on: each result is the element of x at its index along dim. */
void math_grad_pick(tn_grad_ctx *c) {
    tn_tensor *g = grad_of(c), *indices = saved(c, "indices");
    tn_meta x, picked;

    if (!meta_of(c, "x", &x) || !tnk_meta(indices, &picked)) return;
    const int64_t dim = math_from_end(arg(c, "dim").i, x.rank);
    if (picked.rank < x.rank) g = tn_unsqueeze(g, dim), indices = tn_unsqueeze(indices, dim);
    set(c, "x", tn_scatter_add(math_full(&x, 0, g), dim, indices, g));
}

/* ---- Norms -------------------------------------------------------------------------------- */

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
    reduction r;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    tn_tensor *x = saved(c, "x"), *y = math_wide(as_kept(&r, saved(c, "y")));
    tn_tensor *g = as_kept(&r, grad_of(c)); /* 1 / y leaves the range of f16 */
    if (p == 0) {
        set(c, "x", tn_zeros_like(x));
    } else if (p == 1) {
        set(c, "x", tn_mul(tn_sign(x), g));
    } else if (p == 2) {
        tn_tensor *dx = tn_mul(math_wide(x), over_result(math_wide(g), y));
        set(c, "x", math_as(dx, r.x.dtype));
    } else if (isinf(p)) {
        share(c, &r, tn_eq(tn_abs(x), as_kept(&r, saved(c, "y"))), tn_sign(x));
    } else {
        tn_tensor *zero = tnk_scalar(0), *x_is_0 = tn_eq(x, zero), *y_is_0 = tn_eq(y, zero);
        tn_tensor *size = tn_where(x_is_0, y, tn_abs(math_wide(x))), *slope = tn_sign(x);
        slope = tn_mul(slope, ratio_power(nonzero_or(size, 1), nonzero_or(y, 1), p - 1));
        tn_tensor *dx = tn_where(tn_logical_or(x_is_0, y_is_0), zero, tn_mul(slope, g));
        set(c, "x", math_as(dx, r.x.dtype));
    }
}

/* ---- Scans -------------------------------------------------------------------------------- */

/* Back to front along dim: a view. */
static tn_tensor *reversed(tn_tensor *t, int64_t dim) {
    static tn_op_ref op = {"slice", 0, 0};
    return MATH_CALL(&op, tn_value_tensor(t), tn_int(dim), tn_value_none(), tn_value_none(),
                     tn_int(-1));
}

/* t moved on by one along dim, with `first` where that leaves room. */
static tn_tensor *shifted(tn_tensor *t, int64_t dim, double first) {
    tn_meta m;

    if (!tnk_meta(t, &m)) return NULL;
    const int64_t n = m.sizes[dim];
    m.sizes[dim] = 1;
    tn_tensor *pair[2] = {math_full(&m, first, t), math_narrow(t, dim, 0, n - 1)};
    return math_cat(pair, 2, dim);
}

/* y_k = g_k + a_(k+1) y_(k+1), from the last to the first: what flows back through y = a y + x. */
static tn_tensor *scan_back(tn_tensor *g, tn_tensor *a, int64_t dim) {
    tn_tensor *factors = shifted(reversed(a, dim), dim, 0);
    return reversed(tn_linear_scan(reversed(g, dim), factors, dim), dim);
}

/* The dim of a scan that has something to scan, or -1: then g is the gradient. */
static int64_t scanned_dim(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x) || x.rank == 0 || math_meta_numel(&x) == 0) return -1;
    return math_from_end(arg(c, "dim").i, x.rank);
}

void math_grad_cumsum(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = grad_of(c);

    set(c, "x", dim < 0 ? g : reversed(tn_cumsum(reversed(g, dim), dim), dim));
}

void math_grad_linear_scan(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = math_wide(grad_of(c));

    if (dim >= 0) g = scan_back(g, math_wide(saved(c, "a")), dim);
    if (needs(c, "x")) set(c, "x", g);
    if (!needs(c, "a")) return;
    set(c, "a", dim < 0 ? tn_zeros_like(g) : tn_mul(g, shifted(saved(c, "y"), dim, 0)));
}

/* dy_i / dx_k = (x_0 .. x_(k-1)) (x_(k+1) .. x_i): what is before k stands in y, what is behind is
 * a linear scan from the end. */
void math_grad_cumprod(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = math_wide(grad_of(c)), *x = math_wide(saved(c, "x"));

    if (dim >=
        0) { /* a 16-bit y may be 0 or infinite where what it is multiplied with mends that */
        tn_tensor *before = x == saved(c, "x") ? saved(c, "y") : tn_cumprod(x, dim);
        g = tn_mul(shifted(before, dim, 1), scan_back(g, x, dim));
    }
    set(c, "x", g);
}

/* dx_k = exp(x_k - y_k) s_k, with s_k = sum of g_i exp(y_k - y_i) over i >= k: a linear scan
 * from the end, whose factors exp(y_(k-1) - y_k) are at most 1. y of -inf has no gradient. */
void math_grad_logcumsumexp(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = grad_of(c), *y = saved(c, "y");

    if (dim >= 0) {
        tn_tensor *finite = finite_or_0(y);
        tn_tensor *factors = tn_exp(tn_sub(shifted(y, dim, -INFINITY), finite));
        g = tn_mul(tn_exp(tn_sub(saved(c, "x"), finite)), scan_back(g, factors, dim));
    }
    set(c, "x", g);
}

/* Reduced dims last, and as one; back[] undoes the order. */
static tn_tensor *gathered(const reduction *r, tn_tensor *x, int64_t back[TN_MAX_RANK],
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
    reduction r;
    tn_meta wide;

    if (!reduction_of(c, arg(c, "dim"), &r)) return;
    g = math_wide(as_kept(&r, g));
    if (r.n_dims > 0 && math_meta_numel(&r.x) > 0) {
        tn_tensor *x = gathered(&r, math_wide(saved(c, "x")), back, &wide);
        const int64_t last = r.x.rank - r.n_dims;
        tn_tensor *before = shifted(tn_cumprod(x, last), last, 1);
        tn_tensor *behind = shifted(tn_cumprod(reversed(x, last), last), last, 1);
        tn_tensor *others =
            math_reshape(tn_mul(before, reversed(behind, last)), wide.sizes, wide.rank);
        g = tn_mul(g, tn_permute(others, (tn_ints){back, wide.rank}));
    }
    set(c, "x", tn_expand(g, (tn_ints){r.x.sizes, r.x.rank}));
}
