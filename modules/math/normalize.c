/* normalize.c - softmax and layer_norm: brought to a sum, or to a mean and a variance.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* x less its largest along dim, so that exp stays in range. Nothing has no largest. */
static tn_tensor *shifted(tn_tensor *x, int64_t dim) {
    tn_meta m;

    if (!tnk_meta(x, &m) || math_meta_numel(&m) == 0) return x;
    return tn_sub(x, op_amax(x, (tn_ints){&dim, 1}, true));
}

/* [compose_softmax.begin] */
tn_tensor *math_compose_softmax(tn_tensor *x, int64_t dim) {
    tn_tensor *e = tn_exp(shifted(x, dim));

    return tn_div(e, math_sum_keep(e, &dim, 1));
}
/* [compose_softmax.end] */

/* y (grad - sum(grad y)) */
tn_tensor *math_compose_softmax_bwd(tn_tensor *grad, tn_tensor *y, int64_t dim) {
    return tn_mul(y, tn_sub(grad, math_sum_keep(tn_mul(grad, y), &dim, 1)));
}

tn_tensor *math_compose_log_softmax(tn_tensor *x, int64_t dim) {
    tn_tensor *z = shifted(x, dim);

    return tn_sub(z, tn_log(math_sum_keep(tn_exp(z), &dim, 1)));
}

/* grad - exp(y) sum(grad) */
tn_tensor *math_compose_log_softmax_bwd(tn_tensor *grad, tn_tensor *y, int64_t dim) {
    return tn_sub(grad, tn_mul(tn_exp(y), math_sum_keep(grad, &dim, 1)));
}

/* t as x's dtype */
static tn_tensor *like(tn_tensor *t, tn_tensor *x) {
    tn_meta m;
    return tnk_meta(x, &m) ? math_as(t, m.dtype) : NULL;
}

/* x - mean, in x's dtype: what a mean of f64 loses when rounded to that is taken off as well. */
static tn_tensor *centred_on(tn_tensor *x, tn_tensor *mean) {
    tn_tensor *near = like(mean, x), *centred = tn_sub(x, near);
    return near == mean ? centred : tn_sub(centred, like(tn_sub(mean, near), x));
}

/* Do the last sizes of v equal `shape`? */
static bool ends_with(const tn_view *v, const tn_value *shape) {
    const int32_t n = (int32_t)shape->aux;
    return shape->aux <= TN_MAX_RANK && n <= v->rank &&
           (n == 0 || !memcmp(v->sizes + v->rank - n, shape->ints, (size_t)n * sizeof(int64_t)));
}

static tn_status check_norm(tn_infer *in, const char *name, const tn_view *v, const tn_value *shape,
                            bool whole) {
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!v || (ends_with(v, shape) && (!whole || (uint32_t)v->rank == shape->aux))) return TN_OK;
    tnk_sizes_text(shape->ints, shape->aux < TN_MAX_RANK ? (int32_t)shape->aux : TN_MAX_RANK, want);
    return tnk_fail_shape(in, TN_ERR_SHAPE,
                          whole ? "%s%s must have exactly the sizes of shape %s"
                                : "%s%s must end in the sizes of shape %s",
                          name, tnk_sizes_text(v->sizes, v->rank, have), want);
}

/* y as x; mean and rstd, f64 so that backward loses nothing, with size 1 in the dims normalised. */
tn_status math_shape_layer_norm(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    tn_status status;

    if (!x || in->n_args < 4 || in->args[1].tag != TN_TAG_INTS) return missing(in);
    if (in->args[1].aux == 0)
        return tn_fail(in, TN_ERR_INVALID, "shape must name at least one dim to normalise over");
    if ((status = check_norm(in, "x", x, &in->args[1], false))) return status;
    if ((status = check_norm(in, "w", view_of(in, 2), &in->args[1], true))) return status;
    if ((status = check_norm(in, "b", view_of(in, 3), &in->args[1], true))) return status;
    for (uint32_t o = 0; o < in->n_outs; o++) {
        if ((status = math_set_sizes(in, &in->outs[o], x->sizes, x->rank, "x"))) return status;
        if (o == 0) continue;
        in->outs[o].dtype = TN_F64;
        for (uint32_t i = 0; i < in->args[1].aux; i++)
            in->outs[o].sizes[x->rank - 1 - (int32_t)i] = 1;
    }
    return TN_OK;
}

/* What came back through mean and rstd (in a second derivative) goes on to x:
 * d mean / dx = 1 / n, d rstd / dx = -rstd^3 (x - mean) / n. */
static tn_tensor *norm_statistics(math_grad_layer_norm_ctx *c, tn_tensor *dx) {
    const tn_ints shape = TNK_ARG(c, shape);
    tn_tensor *rstd = TNK_SAVED(c, rstd);
    double n = 1;
    tn_meta m;

    if (!tnk_meta(dx, &m)) return NULL;
    for (int64_t i = 0; i < shape.n; i++) n *= (double)shape.ptr[i];
    if (TNK_GRAD_DEFINED(c, 1))
        dx = tn_add(dx, math_as(tn_mul(TNK_GRAD(c, 1), tnk_scalar(1 / n)), m.dtype));
    if (!TNK_GRAD_DEFINED(c, 2)) return dx;
    tn_tensor *scale = tn_mul(tn_mul(rstd, tn_mul(rstd, rstd)), tnk_scalar(1 / n));
    scale = math_as(tn_mul(TNK_GRAD(c, 2), scale), m.dtype);
    return tn_sub(dx, tn_mul(scale, centred_on(TNK_SAVED(c, x), TNK_SAVED(c, mean))));
}

void math_grad_layer_norm(math_grad_layer_norm_ctx *c) {
    tn_tensor *x = TNK_SAVED(c, x), *w = TNK_SAVED(c, w);
    tn_tensor *mean = TNK_SAVED(c, mean), *rstd = TNK_SAVED(c, rstd);
    const tn_layer_norm_bwd_result d =
        tn_layer_norm_bwd(TNK_GRAD(c, 0), x, w, mean, rstd, TNK_ARG(c, shape));

    if (!d.dx) return;
    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, norm_statistics(c, d.dx));
    if (TNK_NEEDS(c, w)) TNK_SET_GRAD(c, w, d.dw);
    if (TNK_NEEDS(c, b)) TNK_SET_GRAD(c, b, d.db);
}

/* The last n dims, from the first of them on; list: has room for them. */
static tn_ints last_dims(const tn_meta *m, int64_t n, int64_t list[TN_MAX_RANK]) {
    for (int64_t i = 0; i < n; i++) list[i] = m->rank - n + i;
    return (tn_ints){list, n};
}

math_layer_norm_results math_compose_layer_norm(tn_tensor *x, tn_ints shape, tn_tensor *w,
                                                tn_tensor *b, double eps) {
    int64_t list[TN_MAX_RANK];
    tn_meta m;

    if (!tnk_meta(x, &m) || shape.n > m.rank) return (math_layer_norm_results){0};
    const tn_ints last = last_dims(&m, shape.n, list);
    tn_tensor *near = op_mean_dim(x, last, true), *centred = tn_sub(x, near);
    tn_tensor *rest = op_mean_dim(centred, last, true); /* what rounding the mean has left */
    centred = tn_sub(centred, rest);
    tn_tensor *variance = op_mean_dim(tn_mul(centred, centred), last, true);
    tn_tensor *rstd = tn_rsqrt(tn_add(variance, tnk_scalar(eps)));
    tn_tensor *y = tn_mul(centred, rstd);
    if (w) y = tn_mul(y, w);
    tn_tensor *mean = tn_add(math_as(near, TN_F64), rest), *saved_rstd = math_as(rstd, TN_F64);
    return (math_layer_norm_results){b ? tn_add(y, b) : y, mean, saved_rstd};
}

/* (grad, x, w?, mean, rstd, shape) -> dx as x; dw and db in `shape` */
tn_status math_shape_layer_norm_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *x = view_of(in, 1), *w = view_of(in, 2);
    tn_status status;

    if (!grad || !x || in->n_args < 6 || in->args[5].tag != TN_TAG_INTS) return missing(in);
    const tn_value *shape = &in->args[5];
    if (!same_sizes(grad, x)) return mismatch(in, "grad", grad, "x", x, "sizes must be equal");
    if ((status = check_norm(in, "x", x, shape, false))) return status;
    if ((status = check_norm(in, "w", w, shape, true))) return status;
    int64_t rows = 1;
    for (int32_t d = 0; d < x->rank - (int32_t)shape->aux; d++) rows *= x->sizes[d];
    for (uint32_t i = 3; i < 5; i++) {
        const tn_view *v = view_of(in, i);
        if (!v) return missing(in);
        if (tn_view_numel(v) != rows)
            return mismatch(in, i == 3 ? "mean" : "rstd", v, "x", x,
                            "one number is needed for every normalised row");
    }
    if ((status = math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x"))) return status;
    if ((status = math_set_sizes(in, &in->outs[1], shape->ints, shape->aux, "shape")))
        return status;
    return math_set_sizes(in, &in->outs[2], shape->ints, shape->aux, "shape");
}

/* With normal = (x - mean) rstd and d = grad w:
 * dx = rstd (d - mean(d) - normal mean(d normal)), dw = sum(grad normal), db = sum(grad) */
tn_layer_norm_bwd_result math_compose_layer_norm_bwd(tn_tensor *grad, tn_tensor *x, tn_tensor *w,
                                                     tn_tensor *mean, tn_tensor *rstd,
                                                     tn_ints shape) {
    int64_t list[TN_MAX_RANK];
    tn_meta kept;

    if (!tnk_meta(x, &kept) || shape.n > kept.rank) return (tn_layer_norm_bwd_result){0};
    const tn_ints last = last_dims(&kept, shape.n, list);
    rstd = math_as(rstd, kept.dtype);
    for (int64_t i = 0; i < last.n; i++) kept.sizes[list[i]] = 1;
    mean = math_reshape(mean, kept.sizes, kept.rank);
    rstd = math_reshape(rstd, kept.sizes, kept.rank);
    tn_tensor *normal = tn_mul(centred_on(x, mean), rstd), *d = w ? tn_mul(grad, w) : grad;
    tn_tensor *along = tn_mul(normal, op_mean_dim(tn_mul(d, normal), last, true));
    tn_tensor *across = tn_sub(tn_sub(d, op_mean_dim(d, last, true)), along);
    tn_tensor *dw = tn_sum_to(tn_mul(grad, normal), shape), *db = tn_sum_to(grad, shape);
    return (tn_layer_norm_bwd_result){tn_mul(rstd, across), dw, db};
}
