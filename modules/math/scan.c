/* scan.c - cumulative sums, products and extremes; differences.
 *
 * Invariant: nothing is divided by an element of x, so zeros are right through any order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/grads.h"
#include "modules/math/reduce.h"
#include "modules/math/shapes.h"

tn_status math_shape_cumsum(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    widen(in, x);
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
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

    set(c, "x", dim < 0 ? g : math_reversed(tn_cumsum(math_reversed(g, dim), dim), dim));
}

tn_status math_compose_cumsum_(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    static tn_op_ref op = {"cumsum", 0, 0};

    (void)n_outs;
    return math_in_place(&op, args, n_args, outs);
}

/* y_k = g_k + a_(k+1) y_(k+1), from the last to the first: what flows back through y = a y + x. */
static tn_tensor *scan_back(tn_tensor *g, tn_tensor *a, int64_t dim) {
    tn_tensor *factors = math_shifted(math_reversed(a, dim), dim, 0);
    return math_reversed(tn_linear_scan(math_reversed(g, dim), factors, dim), dim);
}

/* dy_i / dx_k = (x_0 .. x_(k-1)) (x_(k+1) .. x_i): what is before k stands in y, what is behind is
 * a linear scan from the end. */
void math_grad_cumprod(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = math_wide(grad_of(c)), *x = math_wide(saved(c, "x"));

    if (dim >=
        0) { /* a 16-bit y may be 0 or infinite where what it is multiplied with mends that */
        tn_tensor *before = x == saved(c, "x") ? saved(c, "y") : tn_cumprod(x, dim);
        g = tn_mul(math_shifted(before, dim, 1), scan_back(g, x, dim));
    }
    set(c, "x", g);
}

tn_status math_compose_cumprod_(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    static tn_op_ref op = {"cumprod", 0, 0};

    (void)n_outs;
    return math_in_place(&op, args, n_args, outs);
}

/* dx_k = exp(x_k - y_k) s_k, with s_k = sum of g_i exp(y_k - y_i) over i >= k: a linear scan
 * from the end, whose factors exp(y_(k-1) - y_k) are at most 1. y of -inf has no gradient. */
void math_grad_logcumsumexp(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = grad_of(c), *y = saved(c, "y");

    if (dim >= 0) {
        tn_tensor *finite = math_finite_or_0(y);
        tn_tensor *factors = tn_exp(tn_sub(math_shifted(y, dim, -INFINITY), finite));
        g = tn_mul(tn_exp(tn_sub(saved(c, "x"), finite)), scan_back(g, factors, dim));
    }
    set(c, "x", g);
}

void math_grad_linear_scan(tn_grad_ctx *c) {
    const int64_t dim = scanned_dim(c);
    tn_tensor *g = math_wide(grad_of(c));

    if (dim >= 0) g = scan_back(g, math_wide(saved(c, "a")), dim);
    if (needs(c, "x")) set(c, "x", g);
    if (!needs(c, "a")) return;
    set(c, "a", dim < 0 ? tn_zeros_like(g) : tn_mul(g, math_shifted(saved(c, "y"), dim, 0)));
}

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
