/* decompositions.c - composite ops written in other ops: how they run where no kernel takes them.
 *
 * Invariant: only ops are called, so a decomposition runs on every device and, where its row has no
 * derivative, differentiates by itself. Arguments are borrowed handles; the caller has opened a
 * scope and moves out what is put into outs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

/* x's elements, contiguous, as dtype. */
static tn_tensor *copy_as(tn_tensor *x, const tn_meta *m, tn_dtype dtype) {
    tn_device device;

    if (tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return tn_copy_(tn_plugin_ops->empty((tn_ints){m->sizes, m->rank}, dtype, device), x);
}

/* ---- Create and copy ---------------------------------------------------------------------- */

tn_status math_compose_clone(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    return tnk_meta(x, &m) ? give(outs, copy_as(x, &m, m.dtype)) : tnk_pending();
}

static bool is_contiguous(const tn_meta *m) {
    int64_t step = 1;

    for (int32_t i = m->rank - 1; i >= 0; i--) {
        if (m->sizes[i] == 0) return true;
        if (m->sizes[i] != 1 && m->strides[i] != step) return false;
        step *= m->sizes[i];
    }
    return true;
}

tn_status math_compose_contiguous(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    return give(outs, is_contiguous(&m) ? x : tn_clone(x));
}

tn_status math_compose_to(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    return tnk_meta(x, &m) ? give(outs, copy_as(x, &m, args[1].dtype)) : tnk_pending();
}

tn_status math_compose_full_like(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_device device;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m) || tn_plugin_ops->device(x, &device) != TN_OK) return tnk_pending();
    return give(
        outs, tn_fill_(tn_plugin_ops->empty((tn_ints){m.sizes, m.rank}, m.dtype, device), args[1]));
}

/* ---- Softmax ------------------------------------------------------------------------------ */

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

tn_status math_compose_log_softmax(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    tn_tensor *z = shifted(math_arg(args, n_args, 0), &args[1]);

    (void)n_outs;
    return give(outs, tn_sub(z, tn_log(math_sum_keep(tn_exp(z), &args[1].i, 1))));
}

tn_status math_compose_softmax_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                   uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *y = math_arg(args, n_args, 1);

    (void)n_outs; /* y (grad - sum(grad y)) */
    return give(outs, tn_mul(y, tn_sub(grad, math_sum_keep(tn_mul(grad, y), &args[2].i, 1))));
}

tn_status math_compose_log_softmax_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                       uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *y = math_arg(args, n_args, 1);

    (void)n_outs; /* grad - exp(y) sum(grad) */
    return give(outs, tn_sub(grad, tn_mul(tn_exp(y), math_sum_keep(grad, &args[2].i, 1))));
}

/* ---- Norms -------------------------------------------------------------------------------- */

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

/* ---- Classes ----------------------------------------------------------------------------- */

tn_status math_compose_one_hot(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *at = tn_unsqueeze(math_arg(args, n_args, 0), -1);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(at, &m)) return tnk_pending();
    m.sizes[m.rank - 1] = args[1].i;
    return give(outs, tn_scatter_add(math_full(&m, 0, at), -1, at, tn_ones_like(at)));
}

/* ---- Views and joins ---------------------------------------------------------------------- */

/* zeros of args[1]'s sizes, with grad copied into the part of them that op(zeros, args[2..])
 * shows. */
static tn_status put_back(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs) {
    tn_tensor *grad = math_arg(args, n_args, 0);
    tn_value part_args[5];
    tn_meta m;

    if (!tnk_meta(grad, &m) || args[1].aux > TN_MAX_RANK || n_args > 6) return tnk_pending();
    m.rank = (int32_t)args[1].aux;
    for (int32_t i = 0; i < m.rank; i++) m.sizes[i] = args[1].ints[i];
    tn_tensor *whole = math_full(&m, 0, grad);
    part_args[0] = tn_value_tensor(whole);
    for (uint32_t i = 2; i < n_args; i++) part_args[i - 1] = args[i];
    tn_tensor *part = math_call(op, part_args, n_args - 1);
    return give(outs, tn_copy_(part, grad) ? whole : NULL);
}

tn_status math_compose_slice_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    static tn_op_ref op = {"slice", 0, 0};

    (void)n_outs;
    return put_back(&op, args, n_args, outs);
}

tn_status math_compose_select_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                  uint32_t n_outs) {
    static tn_op_ref op = {"select", 0, 0};

    (void)n_outs;
    return put_back(&op, args, n_args, outs);
}

tn_status math_compose_diagonal_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                    uint32_t n_outs) {
    static tn_op_ref op = {"diagonal", 0, 0};

    (void)n_outs;
    return put_back(&op, args, n_args, outs);
}

tn_status math_compose_reshape(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    char why[TNK_LIST_BYTES] = "";
    tn_meta m, y;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (!math_infer_sizes(&m, (tn_ints){args[1].ints, args[1].aux}, &y, why))
        return tnk_raise(TN_ERR_SHAPE, "%s", why);
    if (!math_view_strides(&m, &y)) x = tn_clone(x);
    return give(outs, tn_view_sizes(x, (tn_ints){y.sizes, y.rank}));
}

static tn_tensor *nothing_of(tn_tensor *x) { /* [0], of x's dtype */
    return math_reshape(math_narrow(x, 0, 0, 0), (int64_t[]){0}, 1);
}

/* The dtype that a list has in common: what the core says that adding its members gives. */
static bool common_dtype(const tn_value *xs, tn_dtype *out) {
    tn_meta m;

    if (!tnk_meta(xs->tensors[0], &m)) return false;
    *out = m.dtype;
    for (uint32_t i = 1; i < xs->aux; i++) {
        if (!tnk_meta(xs->tensors[i], &m)) return false;
        if (tn_dtype_is(m.dtype, *out)) continue;
        tn_tensor *sum = tn_to(nothing_of(xs->tensors[0]), *out);
        if (!tnk_meta(tn_add(sum, nothing_of(xs->tensors[i])), &m)) return false;
        *out = m.dtype;
    }
    return true;
}

tn_status math_compose_cat(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    const tn_value *xs = &args[0];
    tn_device device;
    tn_dtype dtype;
    tn_meta x, y;

    (void)n_args, (void)n_outs;
    if (!common_dtype(xs, &dtype) || !tnk_meta(xs->tensors[0], &y)) return tnk_pending();
    if (tn_plugin_ops->device(xs->tensors[0], &device) != TN_OK) return tnk_pending();
    for (uint32_t i = 1; math_is_nothing(&y) && i < xs->aux; i++)
        if (!tnk_meta(xs->tensors[i], &y)) return tnk_pending();
    const int64_t dim = math_is_nothing(&y) ? 0 : math_from_end(args[1].i, y.rank);
    y.sizes[dim] = 0;
    for (uint32_t i = 0; i < xs->aux; i++) {
        if (!tnk_meta(xs->tensors[i], &x)) return tnk_pending();
        if (!math_is_nothing(&x)) y.sizes[dim] += x.sizes[dim]; /* checked by the shape rule */
    }
    tn_tensor *whole = tn_plugin_ops->empty((tn_ints){y.sizes, y.rank}, dtype, device);
    for (int64_t i = 0, start = 0; i < (int64_t)xs->aux; i++) {
        if (!tnk_meta(xs->tensors[i], &x)) return tnk_pending();
        if (math_is_nothing(&x)) continue;
        if (!tn_copy_(math_narrow(whole, dim, start, x.sizes[dim]), xs->tensors[i]))
            return tnk_pending();
        start += x.sizes[dim];
    }
    return give(outs, whole);
}

tn_status math_compose_stack(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    const uint64_t n = args[0].aux;
    tn_tensor **xs = tn_plugin_host->alloc(tn_plugin_self, (n ? n : 1) * sizeof *xs);

    (void)n_args, (void)n_outs;
    if (!xs) return tnk_raise(TN_ERR_NOMEM, "no memory for the list");
    for (uint64_t i = 0; i < n; i++) xs[i] = tn_unsqueeze(args[0].tensors[i], args[1].i);
    tn_tensor *y = math_cat(xs, (int64_t)n, args[1].i);
    tn_plugin_host->free(tn_plugin_self, xs);
    return give(outs, y);
}

/* ---- Data-dependent sizes ----------------------------------------------------------------- */

tn_status math_compose_nonzero(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *count = tn_nonzero_count(x);
    int64_t n = 0;

    (void)n_outs;
    if (!count || tn_plugin_ops->read(count, &n, sizeof n) != TN_OK) return tnk_pending();
    return give(outs, tn_nonzero_fill(x, n));
}
