/* decompositions_class.c - losses whose targets are classes.
 *
 * Invariant: as in decompositions.c. A target out of range is found by gather, and what is ignored
 * is replaced by 0 before anything is computed from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/losses.h"

bool math_classes_of(tn_tensor *x, tn_tensor *target, tn_tensor *weight, tn_value ignore_index,
                     math_classes *out) {
    tn_meta t, along = {0};

    if (!tnk_meta(x, &out->x) || !tnk_meta(target, &t)) return false;
    if (out->x.rank == 1 && t.rank == 1) { /* one row, written with its dim */
        target = math_reshape(target, NULL, 0), t.rank = 0;
    }
    out->dim = out->x.rank > 1, out->n = out->x.sizes[out->dim];
    out->counts = tn_ne(target, tn_plugin_ops->scalar(ignore_index));
    out->at = tn_where(out->counts, target, tnk_scalar_int(0));
    out->along = NULL;
    if (!weight) {
        out->weight = tn_to(out->counts, out->x.dtype);
        return out->weight != NULL;
    }
    const int64_t n = math_meta_numel(&t);
    tn_tensor *picked = tn_gather(weight, 0, math_reshape(out->at, &n, 1));
    out->weight = tn_where(out->counts, math_reshape(picked, t.sizes, t.rank), tnk_scalar(0));
    along.rank = out->x.rank;
    for (int32_t i = 0; i < along.rank; i++) along.sizes[i] = i == out->dim ? out->n : 1;
    out->along = math_reshape(weight, along.sizes, along.rank);
    return out->along != NULL;
}

tn_tensor *math_spread(const math_classes *c, tn_tensor *t) { return tn_unsqueeze(t, c->dim); }

tn_tensor *math_picked(const math_classes *c, tn_tensor *x) {
    return tn_select(tn_gather(x, c->dim, math_spread(c, c->at)), c->dim, 0);
}

/* The mean of a loss over classes is weighted: a quotient of means, for sums may leave the
 * range. */
static tn_tensor *reduced(const math_classes *c, tn_tensor *loss, const tn_value *reduction) {
    tn_tensor *y = math_reduced(loss, reduction);
    return math_reduction_of(reduction) == MATH_MEAN ? tn_div(y, tn_mean(c->weight)) : y;
}

/* -weight[target] log_p[target]; what is ignored may be infinite. */
static tn_tensor *nll(const math_classes *c, tn_tensor *log_p) {
    tn_tensor *loss = tn_neg(tn_mul(math_picked(c, log_p), c->weight));
    return tn_where(c->counts, loss, tnk_scalar(0));
}

tn_status math_compose_nll_loss(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    math_classes c;

    (void)n_outs;
    if (!math_classes_of(x, math_arg(args, n_args, 1), math_arg(args, n_args, 2), args[3], &c))
        return tnk_pending();
    return give(outs, reduced(&c, nll(&c, x), &args[4]));
}

/* -sum of weight log_p over the classes, for what is not ignored. */
static tn_tensor *to_all(const math_classes *c, tn_tensor *log_p) {
    const int64_t dim = c->dim;

    if (c->along) log_p = tn_mul(log_p, c->along);
    tn_tensor *loss = tn_neg(tn_sum_dim(log_p, (tn_ints){&dim, 1}, NULL));
    return tn_where(c->counts, loss, tnk_scalar(0));
}

/* (x, target, weight, ignore_index, reduction, label_smoothing) */
tn_status math_compose_cross_entropy(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs) {
    const double smoothing = args[5].f;
    math_classes c;

    (void)n_outs;
    if (!math_classes_of(math_arg(args, n_args, 0), math_arg(args, n_args, 1),
                         math_arg(args, n_args, 2), args[3], &c))
        return tnk_pending();
    tn_tensor *log_p = tn_log_softmax(math_arg(args, n_args, 0), c.dim), *loss = nll(&c, log_p);
    if (smoothing != 0)
        loss = tn_add(tn_mul(loss, tnk_scalar(1 - smoothing)),
                      tn_mul(to_all(&c, log_p), tnk_scalar(smoothing / (double)c.n)));
    return give(outs, reduced(&c, loss, &args[4]));
}

/* With q, the weighted target: softmax(x) sum(q) - q, before what comes from outside. */
static tn_tensor *entropy_slope(const math_classes *c, tn_tensor *x, double smoothing) {
    const int64_t dim = c->dim;
    tn_tensor *at = math_spread(c, c->at), *p = tn_softmax(x, dim);
    tn_tensor *own = math_spread(c, tn_mul(c->weight, tnk_scalar(1 - smoothing)));

    if (smoothing == 0) return tn_scatter_add(tn_mul(p, own), dim, at, tn_neg(own));
    const double share = smoothing / (double)c->n;
    tn_tensor *counts = math_spread(c, tn_to(c->counts, c->x.dtype));
    tn_tensor *all = tn_mul(counts, tnk_scalar(share)), *total = tnk_scalar((double)c->n);
    if (c->along) total = tn_sum_dim(c->along, (tn_ints){&dim, 1}, &(tn_sum_dim_opts){true});
    tn_tensor *d = tn_mul(p, tn_add(own, tn_mul(all, total)));
    d = tn_sub(d, c->along ? tn_mul(all, c->along) : all);
    return tn_scatter_add(d, dim, at, tn_neg(own));
}

/* (grad, x, target, weight, ignore_index, reduction, label_smoothing) */
tn_status math_compose_cross_entropy_bwd(const tn_value *args, uint32_t n_args, tn_value *outs,
                                         uint32_t n_outs) {
    tn_tensor *grad = math_arg(args, n_args, 0), *x = math_arg(args, n_args, 1);
    const math_reduction reduction = math_reduction_of(&args[5]);
    math_classes c;

    (void)n_outs;
    if (!math_classes_of(x, math_arg(args, n_args, 2), math_arg(args, n_args, 3), args[4], &c))
        return tnk_pending();
    if (reduction == MATH_MEAN) grad = tn_div(grad, tn_sum(c.weight));
    if (reduction == MATH_NONE) grad = math_spread(&c, grad);
    tn_tensor *d = tn_mul(entropy_slope(&c, x, args[6].f), grad);
    return give(outs, tn_where(math_spread(&c, c.counts), d, tnk_scalar(0)));
}

/* (x, target, weight, reduction, label_smoothing) */
tn_status math_compose_cross_entropy_probs(const tn_value *args, uint32_t n_args, tn_value *outs,
                                           uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *target = math_arg(args, n_args, 1);
    tn_tensor *weight = math_arg(args, n_args, 2);
    const double smoothing = args[4].f;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t dim = m.rank > 1, n = m.sizes[dim];
    if (smoothing != 0)
        target =
            tn_add(tn_mul(target, tnk_scalar(1 - smoothing)), tnk_scalar(smoothing / (double)n));
    if (weight) {
        for (int32_t i = 0; i < m.rank; i++) m.sizes[i] = i == dim ? n : 1;
        target = tn_mul(target, math_reshape(weight, m.sizes, m.rank));
    }
    tn_tensor *terms = tn_mul(tn_log_softmax(x, dim), target);
    return give(outs, math_reduced(tn_neg(tn_sum_dim(terms, (tn_ints){&dim, 1}, NULL)), &args[3]));
}

/* ---- Margins ------------------------------------------------------------------------------ */

/* 0, 1, ... n-1 where x lives */
static tn_tensor *numbers_below(int64_t n, tn_tensor *x) {
    tn_device device;

    if (!x || tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return tn_arange(tn_int(0), tn_int(n), &(tn_arange_opts){.dtype = TN_I64, .device = device});
}

/* x as [N,C]: what has no rows is one, what has no classes is of one. */
static bool as_rows(tn_tensor **x, tn_meta *m) {
    if (!tnk_meta(*x, m)) return false;
    if (m->rank == 2) return true;
    m->sizes[1] = m->rank ? m->sizes[0] : 1, m->sizes[0] = 1, m->rank = 2;
    return (*x = math_reshape(*x, m->sizes, 2)) != NULL;
}

/* (x, target, p, margin, weight, reduction) */
tn_status math_compose_multi_margin_loss(const tn_value *args, uint32_t n_args, tn_value *outs,
                                         uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *target = math_arg(args, n_args, 1);
    tn_tensor *weight = math_arg(args, n_args, 4);
    const int64_t last = -1;
    tn_meta m, y;

    (void)n_outs;
    if (!tnk_meta(target, &y) || !as_rows(&x, &m)) return tnk_pending();
    tn_tensor *at = math_reshape(target, (int64_t[]){m.sizes[0], 1}, 2);
    tn_tensor *own = tn_gather(x, -1, at);
    tn_tensor *over = tn_relu(tn_add(tn_sub(x, own), tnk_scalar(args[3].f)));
    if (args[2].i == 2) over = tn_mul(over, over);
    if (weight) /* of the target's class */
        over = tn_mul(over, tn_unsqueeze(tn_gather(weight, 0, math_reshape(at, m.sizes, 1)), -1));
    tn_tensor *is_own = tn_eq(numbers_below(m.sizes[1], x), at);
    over = tn_where(is_own, tnk_scalar(0), over);
    tn_tensor *loss = math_reshape(tn_mean_dim(over, (tn_ints){&last, 1}, NULL), y.sizes, y.rank);
    return give(outs, math_reduced(loss, &args[5]));
}

/* (x, target, reduction): target lists classes up to a -1 */
tn_status math_compose_multilabel_margin_loss(const tn_value *args, uint32_t n_args, tn_value *outs,
                                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0), *zero = tnk_scalar(0);
    tn_tensor *target = tn_to(math_arg(args, n_args, 1), TN_I64);
    const int64_t last = -1;
    tn_meta y, m;

    (void)n_outs;
    if (!tnk_meta(x, &y) || !as_rows(&x, &m)) return tnk_pending();
    const int64_t n = m.sizes[1];
    y.rank = y.rank > 1; /* [N] or a number */
    target = math_reshape(target, m.sizes, 2);
    if (n == 0) {
        x = math_reshape(tn_mean_dim(x, (tn_ints){&last, 1}, NULL), y.sizes, y.rank);
        return give(outs, math_reduced(x, &args[2]));
    }
    tn_tensor *positions = numbers_below(n, x);
    tn_tensor *ends = tn_where(tn_eq(target, tnk_scalar_int(-1)), positions, tnk_scalar_int(n));
    tn_tensor *listed =
        tn_lt(positions, tn_amin(ends, &(tn_amin_opts){.dim = {&last, 1}, .keepdim = true}));
    tn_tensor *at = tn_where(listed, target, tnk_scalar_int(0));
    tn_tensor *own = tn_unsqueeze(tn_gather(x, -1, at), -1); /* [.., listed, 1] */
    tn_tensor *counts = tn_scatter_add(tn_zeros_like(target), -1, at, tn_to(listed, TN_I64));
    tn_tensor *over = tn_relu(tn_add(tn_sub(tn_unsqueeze(x, -2), own), tnk_scalar(1)));
    over = tn_where(tn_unsqueeze(tn_eq(counts, tnk_scalar_int(0)), -2), over, zero);
    over = tn_where(tn_unsqueeze(listed, -1), over, zero); /* [.., listed, others] */
    tn_tensor *loss = tn_mean_dim(over, (tn_ints){&last, 1}, NULL);
    loss = tn_sum_dim(loss, (tn_ints){&last, 1}, NULL);
    return give(outs, math_reduced(math_reshape(loss, y.sizes, y.rank), &args[2]));
}
