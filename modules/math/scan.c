/* scan.c - cumulative sums, products and extremes; differences.
 *
 * Invariant: nothing is divided by an element of x, so zeros are right through any order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "modules/math/calls.h"
#include "modules/math/reduce.h"
#include "modules/math/shapes.h"

tn_status math_shape_cumsum(tn_infer *in) {
    const tn_view *x = x_of(in);

    if (!x) return TN_ERR_INVALID;
    widen(in, x);
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* The dim of a scan that has something to scan, or -1: then g is the gradient. */
static int64_t scanned_dim(const tn_meta *x, int64_t dim) {
    return x->rank == 0 || math_meta_numel(x) == 0 ? -1 : math_from_end(dim, x->rank);
}

void math_grad_cumsum(math_grad_cumsum_ctx *c) {
    tn_meta m;

    if (!TNK_META_OF(c, x, &m)) return;
    const int64_t dim = scanned_dim(&m, TNK_ARG(c, dim));
    tn_tensor *g = TNK_GRAD(c, 0);

    TNK_SET_GRAD(c, x, dim < 0 ? g : math_reversed(tn_cumsum(math_reversed(g, dim), dim), dim));
}

/* A copy is summed, for derivatives keep what they read. */
tn_tensor *math_compose_cumsum_(tn_tensor *x, int64_t dim) {
    return tn_copy_(x, tn_cumsum(tn_clone(x), dim));
}

/* y_k = g_k + a_(k+1) y_(k+1), from the last to the first: what flows back through y = a y + x. */
static tn_tensor *scan_back(tn_tensor *g, tn_tensor *a, int64_t dim) {
    tn_tensor *factors = math_shifted(math_reversed(a, dim), dim, 0);
    return math_reversed(tn_linear_scan(math_reversed(g, dim), factors, dim), dim);
}

/* dy_i / dx_k = (x_0 .. x_(k-1)) (x_(k+1) .. x_i): what is before k stands in y, what is behind is
 * a linear scan from the end. */
void math_grad_cumprod(math_grad_cumprod_ctx *c) {
    tn_meta m;

    if (!TNK_META_OF(c, x, &m)) return;
    const int64_t dim = scanned_dim(&m, TNK_ARG(c, dim));
    tn_tensor *saved = TNK_SAVED(c, x);
    tn_tensor *g = math_wide(TNK_GRAD(c, 0)), *x = math_wide(saved);

    if (dim >= 0) {
        /* a 16-bit y may be 0 or infinite where what it is multiplied with mends that */
        tn_tensor *before = x == saved ? TNK_SAVED(c, y) : tn_cumprod(x, dim);
        g = tn_mul(math_shifted(before, dim, 1), scan_back(g, x, dim));
    }
    TNK_SET_GRAD(c, x, g);
}

tn_tensor *math_compose_cumprod_(tn_tensor *x, int64_t dim) {
    return tn_copy_(x, tn_cumprod(tn_clone(x), dim));
}

/* dx_k = exp(x_k - y_k) s_k, with s_k = sum of g_i exp(y_k - y_i) over i >= k: a linear scan
 * from the end, whose factors exp(y_(k-1) - y_k) are at most 1. y of -inf has no gradient. */
void math_grad_logcumsumexp(math_grad_logcumsumexp_ctx *c) {
    tn_meta m;

    if (!TNK_META_OF(c, x, &m)) return;
    const int64_t dim = scanned_dim(&m, TNK_ARG(c, dim));
    tn_tensor *g = TNK_GRAD(c, 0), *y = TNK_SAVED(c, y);

    if (dim >= 0) {
        tn_tensor *finite = math_finite_or_0(y);
        tn_tensor *factors = tn_exp(tn_sub(math_shifted(y, dim, -INFINITY), finite));
        g = tn_mul(tn_exp(tn_sub(TNK_SAVED(c, x), finite)), scan_back(g, factors, dim));
    }
    TNK_SET_GRAD(c, x, g);
}

void math_grad_linear_scan(math_grad_linear_scan_ctx *c) {
    tn_meta m;

    if (!TNK_META_OF(c, x, &m)) return;
    const int64_t dim = scanned_dim(&m, TNK_ARG(c, dim));
    tn_tensor *g = math_wide(TNK_GRAD(c, 0));

    if (dim >= 0) g = scan_back(g, math_wide(TNK_SAVED(c, a)), dim);
    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, g);
    if (!TNK_NEEDS(c, a)) return;
    TNK_SET_GRAD(c, a,
                 dim < 0 ? tn_zeros_like(g) : tn_mul(g, math_shifted(TNK_SAVED(c, y), dim, 0)));
}

/* x[k + 1] - x[k], n times over; of booleans, whether they differ. */
tn_tensor *math_compose_diff(tn_tensor *x, int64_t n, int64_t dim) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    dim = math_from_end(dim, m.rank);
    const int64_t size = m.sizes[dim];
    n = n < size ? n : size;
    for (int64_t left = size - 1; left >= size - n; left--) {
        const int64_t k = left < 0 ? 0 : left;
        tn_tensor *a = math_narrow(x, dim, size && k < left + 1 ? 1 : 0, k),
                  *b = math_narrow(x, dim, 0, k);
        x = tn_dtype_is(m.dtype, TN_BOOL) ? tn_ne(a, b) : tn_sub(a, b);
    }
    return x;
}
