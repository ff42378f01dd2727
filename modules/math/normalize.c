/* normalize.c - softmax and layer_norm: brought to a sum, or to a mean and a variance.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/grads.h"
#include "modules/math/shapes.h"

/* x less its largest along dim, so that exp stays in range. Nothing has no largest. */
static tn_tensor *shifted(tn_tensor *x, const tn_value *dim) {
    static tn_op_ref amax = {"amax", 0, 0};
    tn_meta m;

    if (!tnk_meta(x, &m) || math_meta_numel(&m) == 0) return x;
    return tn_sub(x, MATH_CALL(&amax, tn_value_tensor(x), tn_value_ints((tn_ints){&dim->i, 1}),
                               tn_bool(true)));
}

tn_status math_compose_softmax(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *e = tn_exp(shifted(math_arg(args, n_args, 0), &args[1]));

    (void)n_outs;
    return give(outs, tn_div(e, math_sum_keep(e, &args[1].i, 1)));
}

tn_status math_compose_softmax_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *y = math_arg(args, n_args, 1);

    (void)n_outs; /* y (grad - sum(grad y)) */
    return give(outs, tn_mul(y, tn_sub(grad, math_sum_keep(tn_mul(grad, y), &args[2].i, 1))));
}

tn_status math_compose_log_softmax(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    tn_tensor *z = shifted(math_arg(args, n_args, 0), &args[1]);

    (void)n_outs;
    return give(outs, tn_sub(z, tn_log(math_sum_keep(tn_exp(z), &args[1].i, 1))));
}

tn_status math_compose_log_softmax_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                       uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *y = math_arg(args, n_args, 1);

    (void)n_outs; /* grad - exp(y) sum(grad) */
    return give(outs, tn_sub(grad, tn_mul(tn_exp(y), math_sum_keep(grad, &args[2].i, 1))));
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
static tn_tensor *norm_statistics(tn_grad_ctx *c, tn_tensor *dx) {
    const tn_value shape = arg(c, "shape");
    tn_tensor *rstd = saved(c, "rstd");
    double n = 1;
    tn_meta m;

    if (!tnk_meta(dx, &m)) return NULL;
    for (uint32_t i = 0; i < shape.aux; i++) n *= (double)shape.ints[i];
    if (tn_plugin_ops->grad_out_defined(c, 1)) {
        tn_tensor *share = tn_mul(tn_plugin_ops->grad_out(c, 1), tnk_scalar(1 / n));
        dx = tn_add(dx, math_as(share, m.dtype));
    }
    if (!tn_plugin_ops->grad_out_defined(c, 2)) return dx;
    tn_tensor *scale = tn_mul(tn_mul(rstd, tn_mul(rstd, rstd)), tnk_scalar(1 / n));
    scale = math_as(tn_mul(tn_plugin_ops->grad_out(c, 2), scale), m.dtype);
    return tn_sub(dx, tn_mul(scale, math_centred(saved(c, "x"), saved(c, "mean"))));
}

void math_grad_layer_norm(tn_grad_ctx *c) {
    static tn_op_ref op = {"layer_norm_bwd", 0, 0};
    tn_value outs[3] = {tn_value_none(), tn_value_none(), tn_value_none()};
    const tn_value args[] = {
        tn_value_tensor(grad_of(c)),       tn_value_tensor(saved(c, "x")),
        tn_value_tensor(saved(c, "w")),    tn_value_tensor(saved(c, "mean")),
        tn_value_tensor(saved(c, "rstd")), arg(c, "shape"),
    };

    if (tn_plugin_ops->call(&op, args, 6, outs, 3) != TN_OK) return;
    if (needs(c, "x")) set(c, "x", norm_statistics(c, outs[0].tensor));
    if (needs(c, "w")) set(c, "w", outs[1].tensor);
    if (needs(c, "b")) set(c, "b", outs[2].tensor);
}

typedef struct dims {
    int64_t dims[TN_MAX_RANK], n;
} dims;

static bool last_dims(const tn_meta *m, uint32_t n, dims *out) {
    if (n > (uint32_t)m->rank) return false;
    out->n = n;
    for (int64_t i = 0; i < out->n; i++) out->dims[i] = m->rank - out->n + i;
    return true;
}

tn_status math_compose_layer_norm(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *w = math_arg(args, n_args, 2);
    tn_tensor *b = math_arg(args, n_args, 3);
    tn_meta m;
    dims t;

    if (!tnk_meta(x, &m) || !last_dims(&m, args[1].aux, &t)) return tnk_pending();
    tn_tensor *near = math_mean_keep(x, t.dims, t.n), *centred = tn_sub(x, near);
    tn_tensor *rest = math_mean_keep(centred, t.dims, t.n); /* what rounding the mean has left */
    centred = tn_sub(centred, rest);
    tn_tensor *variance = math_mean_keep(tn_mul(centred, centred), t.dims, t.n);
    tn_tensor *rstd = tn_rsqrt(tn_add(variance, tnk_scalar(args[4].f)));
    tn_tensor *y = tn_mul(centred, rstd);
    if (w) y = tn_mul(y, w);
    if (n_outs > 1) outs[1] = tn_value_tensor(tn_add(math_as(near, TN_F64), rest));
    if (n_outs > 2) outs[2] = tn_value_tensor(math_as(rstd, TN_F64));
    return give(outs, b ? tn_add(y, b) : y);
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

/* (grad, x, w?, mean, rstd, shape), with normal = (x - mean) rstd and d = grad w:
 * dx = rstd (d - mean(d) - normal mean(d normal)), dw = sum(grad normal), db = sum(grad) */
tn_status math_compose_layer_norm_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                      uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *w = math_arg(args, n_args, 2);
    tn_tensor *x = math_arg(args, n_args, 1);
    const tn_ints shape = {args[5].ints, args[5].aux};
    tn_meta kept;
    dims t;

    (void)n_outs;
    if (!tnk_meta(x, &kept) || !last_dims(&kept, args[5].aux, &t)) return tnk_pending();
    tn_tensor *rstd = math_as(math_arg(args, n_args, 4), kept.dtype);
    for (int64_t i = 0; i < t.n; i++) kept.sizes[t.dims[i]] = 1;
    tn_tensor *mean = math_reshape(math_arg(args, n_args, 3), kept.sizes, kept.rank);
    rstd = math_reshape(rstd, kept.sizes, kept.rank);
    tn_tensor *normal = tn_mul(math_centred(x, mean), rstd), *d = w ? tn_mul(grad, w) : grad;
    tn_tensor *along = tn_mul(normal, math_mean_keep(tn_mul(d, normal), t.dims, t.n));
    tn_tensor *across = tn_sub(tn_sub(d, math_mean_keep(d, t.dims, t.n)), along);
    outs[1] = tn_value_tensor(tn_sum_to(tn_mul(grad, normal), shape));
    outs[2] = tn_value_tensor(tn_sum_to(grad, shape));
    return give(outs, tn_mul(rstd, across));
}
