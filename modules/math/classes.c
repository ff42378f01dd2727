/* classes.c - losses whose targets are classes.
 *
 * Invariant: a target out of range is found by gather, and what is ignored is replaced by 0 before
 * anything is computed from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/loss.h"
#include "modules/math/shapes.h"

/* Targets of x[C] or x[N,C,*], of which some may be ignored. */
typedef struct targets {
    int32_t dim; /* of the classes */
    int64_t n;   /* how many */
    tn_meta x;
    tn_tensor *counts; /* bool: not ignored; of target's sizes, as all that follows */
    tn_tensor *at;     /* the target, 0 where it is ignored */
    tn_tensor *weight; /* of the target's class, 0 where it is ignored; in x's dtype */
    tn_tensor *along;  /* all weights, in sizes that broadcast to x; NULL: all are 1 */
} targets;

tn_status math_shape_one_hot(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    int64_t sizes[TN_MAX_RANK + 1];

    if (!x || in->n_args < 2) return tnk_fail_shape(in, TN_ERR_INVALID, "x or classes is missing");
    for (int32_t i = 0; i < x->rank; i++) sizes[i] = x->sizes[i];
    sizes[x->rank] = in->args[1].i;
    return math_set_sizes(in, &in->outs[0], sizes, (int64_t)x->rank + 1, "result");
}

tn_tensor *math_compose_one_hot(tn_tensor *x, int64_t classes) {
    tn_tensor *at = tn_unsqueeze(x, -1);
    tn_meta m;

    if (!tnk_meta(at, &m)) return NULL;
    m.sizes[m.rank - 1] = classes;
    return tn_scatter_add(math_full(&m, 0, at), -1, at, tn_ones_like(at));
}

static bool has_sizes(const tn_view *v, const tn_meta *m) {
    return v->rank == m->rank &&
           (!v->rank || !memcmp(v->sizes, m->sizes, (size_t)v->rank * sizeof *m->sizes));
}

/* x's sizes without those of the classes, dim, in outs[0]; weight, if it is there, has one
 * number per class. */
static tn_status without_classes(tn_infer *in, const tn_view *x, int32_t dim,
                                 const tn_view *weight) {
    tn_meta *y = &in->outs[0];

    y->rank = 0;
    for (int32_t i = 0; i < x->rank; i++)
        if (i != dim) y->sizes[y->rank++] = x->sizes[i];
    if (weight && (weight->rank != 1 || weight->sizes[0] != x->sizes[dim]))
        return math_differ(in, x, "weight", weight, "there must be one weight for each class");
    return TN_OK;
}

/* A single row may be written with or without its dim of size 1: as PyTorch has it. */
static bool one_row(const tn_view *x, const tn_view *target) {
    return x->rank == 1 && target->rank == 1 && target->sizes[0] == 1;
}

/* Arguments i and i + 1: x[C], x[N,C] or x[N,C,*], and target, which is without C. Its sizes, or
 * none, come into outs[0]. */
static tn_status classes(tn_infer *in, uint32_t i, const tn_view *weight) {
    const tn_view *x = view_of(in, i), *target = view_of(in, i + 1);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    if (x->rank == 0) return tn_fail(in, TN_ERR_SHAPE, "x must have a dim of classes");
    const tn_status status = without_classes(in, x, x->rank > 1, weight);
    if (status) return status;
    if (!has_sizes(target, &in->outs[0]) && !one_row(x, target))
        return math_differ(in, x, "target", target,
                           "target must have x's sizes without the classes");
    return math_reduced_sizes(in);
}

tn_status math_shape_nll(tn_infer *in) { return classes(in, 0, view_of(in, 2)); }

/* False: an error is pending. weight may be NULL. */
static bool targets_of(tn_tensor *x, tn_tensor *target, tn_tensor *weight, int64_t ignore_index,
                       targets *out) {
    tn_meta t, along = {0};

    if (!tnk_meta(x, &out->x) || !tnk_meta(target, &t)) return false;
    if (out->x.rank == 1 && t.rank == 1) { /* one row, written with its dim */
        target = math_reshape(target, NULL, 0), t.rank = 0;
    }
    out->dim = out->x.rank > 1, out->n = out->x.sizes[out->dim];
    out->counts = tn_ne(target, tnk_scalar_int(ignore_index));
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

/* The mean of a loss over classes is weighted: a quotient of means, for sums may leave the
 * range. */
static tn_tensor *reduced(const targets *c, tn_tensor *loss, tnk_text reduction) {
    tn_tensor *y = math_reduced(loss, reduction);
    return math_reduction_of(reduction) == MATH_MEAN ? tn_div(y, tn_mean(c->weight)) : y;
}

/* Of a factor with target's sizes: a dim of size 1 for the classes. */
static tn_tensor *spread(const targets *c, tn_tensor *t) { return tn_unsqueeze(t, c->dim); }

/* x at the target's class, of target's sizes. */
static tn_tensor *picked(const targets *c, tn_tensor *x) {
    return tn_select(tn_gather(x, c->dim, spread(c, c->at)), c->dim, 0);
}

/* -weight[target] log_p[target]; what is ignored may be infinite. */
static tn_tensor *nll(const targets *c, tn_tensor *log_p) {
    tn_tensor *loss = tn_neg(tn_mul(picked(c, log_p), c->weight));
    return tn_where(c->counts, loss, tnk_scalar(0));
}

tn_tensor *math_compose_nll_loss(tn_tensor *x, tn_tensor *target, tn_tensor *weight,
                                 int64_t ignore_index, tnk_text reduction) {
    targets c;

    if (!targets_of(x, target, weight, ignore_index, &c)) return NULL;
    return reduced(&c, nll(&c, x), reduction);
}

/* What weights get: S / D with S the weighted losses and D, for a mean, the weights that counted.
 * dS is each class's losses, dD how often it counted. */
static tn_tensor *weight_slope(math_grad_cross_entropy_ctx *ctx, const targets *c, tn_tensor *x,
                               tn_tensor *target, tn_tensor *weights) {
    const double smoothing = TNK_ARG(ctx, label_smoothing);
    const tnk_text reduction = TNK_ARG(ctx, reduction);
    tn_tensor *g = math_wide(TNK_GRAD(ctx, 0)), *log_p = tn_log_softmax(x, c->dim);
    tn_tensor *counts = tn_to(c->counts, c->x.dtype), *loss = tn_neg(picked(c, log_p));
    tn_meta m, weight;

    if (!TNK_META_OF(ctx, weight, &weight) || !tnk_meta(counts, &m)) return NULL;
    loss = tn_mul(loss, tnk_scalar(1 - smoothing));
    if (math_reduction_of(reduction) == MATH_MEAN) {
        g = tn_div(g, tn_sum(c->weight));
        loss = tn_sub(loss, op_cross_entropy(x, target, weights, TNK_ARG(ctx, ignore_index),
                                             reduction, smoothing));
    }
    g = tn_where(c->counts, g, tnk_scalar(0));
    loss = tn_where(c->counts, tn_mul(g, loss), tnk_scalar(0));
    const int64_t n = math_meta_numel(&m);
    tn_tensor *d = tn_scatter_add(math_full(&weight, 0, g), 0, math_reshape(c->at, &n, 1),
                                  math_reshape(loss, &n, 1));
    if (smoothing == 0) return d;
    tn_tensor *all = tn_mul(tn_mul(spread(c, g), log_p), tnk_scalar(-smoothing / (double)c->n));
    int64_t dims[TN_MAX_RANK], n_dims = 0;
    for (int32_t i = 0; i < c->x.rank; i++)
        if (i != c->dim) dims[n_dims++] = i;
    return tn_add(d, n_dims ? op_sum_dim(all, (tn_ints){dims, n_dims}, false) : all);
}

void math_grad_cross_entropy(math_grad_cross_entropy_ctx *c) {
    tn_tensor *x = TNK_SAVED(c, x), *target = TNK_SAVED(c, target), *weight = TNK_SAVED(c, weight);
    const int64_t ignored = TNK_ARG(c, ignore_index);
    targets t;

    if (TNK_NEEDS(c, x))
        TNK_SET_GRAD(c, x,
                     op_cross_entropy_bwd(TNK_GRAD(c, 0), x, target, weight, ignored,
                                          TNK_ARG(c, reduction), TNK_ARG(c, label_smoothing)));
    if (!TNK_NEEDS(c, weight)) return;
    x = math_wide(x), weight = math_wide(weight);
    if (targets_of(x, target, weight, ignored, &t))
        TNK_SET_GRAD(c, weight, weight_slope(c, &t, x, target, weight));
}

/* -sum of weight log_p over the classes, for what is not ignored. */
static tn_tensor *to_all(const targets *c, tn_tensor *log_p) {
    const int64_t dim = c->dim;

    if (c->along) log_p = tn_mul(log_p, c->along);
    tn_tensor *loss = tn_neg(op_sum_dim(log_p, (tn_ints){&dim, 1}, false));
    return tn_where(c->counts, loss, tnk_scalar(0));
}

tn_tensor *math_compose_cross_entropy(tn_tensor *x, tn_tensor *target, tn_tensor *weight,
                                      int64_t ignore_index, tnk_text reduction,
                                      double label_smoothing) {
    targets c;

    if (!targets_of(x, target, weight, ignore_index, &c)) return NULL;
    tn_tensor *log_p = tn_log_softmax(x, c.dim), *loss = nll(&c, log_p);
    if (label_smoothing != 0)
        loss = tn_add(tn_mul(loss, tnk_scalar(1 - label_smoothing)),
                      tn_mul(to_all(&c, log_p), tnk_scalar(label_smoothing / (double)c.n)));
    return reduced(&c, loss, reduction);
}

/* (grad, x, target, weight, ...): grad has the loss's sizes, dx those of x. */
tn_status math_shape_cross_entropy_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *x = view_of(in, 1);

    const tn_status status = classes(in, 1, view_of(in, 3));
    if (status) return status;
    if (!grad || !has_sizes(grad, &in->outs[0]))
        return tn_fail(in, TN_ERR_SHAPE, "grad must have the sizes of the loss");
    return math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* With q, the weighted target: softmax(x) sum(q) - q, before what comes from outside. */
static tn_tensor *entropy_slope(const targets *c, tn_tensor *x, double smoothing) {
    const int64_t dim = c->dim;
    tn_tensor *at = spread(c, c->at), *p = tn_softmax(x, dim);
    tn_tensor *own = spread(c, tn_mul(c->weight, tnk_scalar(1 - smoothing)));

    if (smoothing == 0) return tn_scatter_add(tn_mul(p, own), dim, at, tn_neg(own));
    const double share = smoothing / (double)c->n;
    tn_tensor *counts = spread(c, tn_to(c->counts, c->x.dtype));
    tn_tensor *all = tn_mul(counts, tnk_scalar(share)), *total = tnk_scalar((double)c->n);
    if (c->along) total = op_sum_dim(c->along, (tn_ints){&dim, 1}, true);
    tn_tensor *d = tn_mul(p, tn_add(own, tn_mul(all, total)));
    d = tn_sub(d, c->along ? tn_mul(all, c->along) : all);
    return tn_scatter_add(d, dim, at, tn_neg(own));
}

tn_tensor *math_compose_cross_entropy_bwd(tn_tensor *grad, tn_tensor *x, tn_tensor *target,
                                          tn_tensor *weight, int64_t ignore_index,
                                          tnk_text reduction, double label_smoothing) {
    const math_reduction how = math_reduction_of(reduction);
    targets c;

    if (!targets_of(x, target, weight, ignore_index, &c)) return NULL;
    if (how == MATH_MEAN) grad = tn_div(grad, tn_sum(c.weight));
    if (how == MATH_NONE) grad = spread(&c, grad);
    tn_tensor *d = tn_mul(entropy_slope(&c, x, label_smoothing), grad);
    return tn_where(spread(&c, c.counts), d, tnk_scalar(0));
}

/* cross_entropy.probs: x and target alike */
tn_status math_shape_probs(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    if (x->rank == 0) return tn_fail(in, TN_ERR_SHAPE, "x must have a dim of classes");
    if (!same_sizes(x, target)) return math_differ(in, x, "target", target, "sizes must be equal");
    const tn_status status = without_classes(in, x, x->rank > 1, view_of(in, 2));
    return status ? status : math_reduced_sizes(in);
}

tn_tensor *math_compose_cross_entropy_probs(tn_tensor *x, tn_tensor *target, tn_tensor *weight,
                                            tnk_text reduction, double label_smoothing) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    const int64_t dim = m.rank > 1, n = m.sizes[dim];
    if (label_smoothing != 0)
        target = tn_add(tn_mul(target, tnk_scalar(1 - label_smoothing)),
                        tnk_scalar(label_smoothing / (double)n));
    if (weight) {
        for (int32_t i = 0; i < m.rank; i++) m.sizes[i] = i == dim ? n : 1;
        target = tn_mul(target, math_reshape(weight, m.sizes, m.rank));
    }
    tn_tensor *terms = tn_mul(tn_log_softmax(x, dim), target);
    return math_reduced(tn_neg(op_sum_dim(terms, (tn_ints){&dim, 1}, false)), reduction);
}

/* x[N,C] and target[N]; of one row x may also be [C], or [] of one class, and target [] or [1],
 * which is what the loss is then. */
tn_status math_shape_multi_margin(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1), *weight = view_of(in, 4);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    const int64_t n = x->rank == 2 ? x->sizes[0] : 1, kinds = x->rank ? x->sizes[x->rank - 1] : 1;
    if (target->rank > 1 || (target->rank ? target->sizes[0] : 1) != n)
        return math_differ(in, x, "target", target,
                           "target must have x's sizes without the classes");
    if (weight && (weight->rank != 1 || weight->sizes[0] != kinds))
        return math_differ(in, x, "weight", weight, "there must be one weight for each class");
    in->outs[0].rank = target->rank, in->outs[0].sizes[0] = n;
    return math_reduced_sizes(in);
}

/* x as [N,C]: what has no rows is one, what has no classes is of one. */
static bool as_rows(tn_tensor **x, tn_meta *m) {
    if (!tnk_meta(*x, m)) return false;
    if (m->rank == 2) return true;
    m->sizes[1] = m->rank ? m->sizes[0] : 1, m->sizes[0] = 1, m->rank = 2;
    return (*x = math_reshape(*x, m->sizes, 2)) != NULL;
}

tn_tensor *math_compose_multi_margin_loss(tn_tensor *x, tn_tensor *target, int64_t p, double margin,
                                          tn_tensor *weight, tnk_text reduction) {
    const int64_t last = -1;
    tn_meta m, y;

    if (!tnk_meta(target, &y) || !as_rows(&x, &m)) return NULL;
    tn_tensor *at = math_reshape(target, (int64_t[]){m.sizes[0], 1}, 2);
    tn_tensor *own = tn_gather(x, -1, at);
    tn_tensor *over = tn_relu(tn_add(tn_sub(x, own), tnk_scalar(margin)));
    if (p == 2) over = tn_mul(over, over);
    if (weight) /* of the target's class */
        over = tn_mul(over, tn_unsqueeze(tn_gather(weight, 0, math_reshape(at, m.sizes, 1)), -1));
    tn_tensor *is_own = tn_eq(math_count_from(0, m.sizes[1], x), at);
    over = tn_where(is_own, tnk_scalar(0), over);
    tn_tensor *loss = math_reshape(op_mean_dim(over, (tn_ints){&last, 1}, false), y.sizes, y.rank);
    return math_reduced(loss, reduction);
}

/* multilabel_margin_loss: x and target alike, [N,C], [C], or [] for one class; the last dim goes */
tn_status math_shape_multilabel(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    const bool one = tn_view_numel(x) == 1 && tn_view_numel(target) == 1 && x->rank < 2;
    if (!same_sizes(x, target) && !(one && target->rank < 2))
        return math_differ(in, x, "target", target, "sizes must be equal");
    in->outs[0].rank = x->rank > 1, in->outs[0].sizes[0] = x->rank ? x->sizes[0] : 1;
    return math_reduced_sizes(in);
}

/* target lists classes up to a -1 */
tn_tensor *math_compose_multilabel_margin_loss(tn_tensor *x, tn_tensor *target,
                                               tnk_text reduction) {
    tn_tensor *zero = tnk_scalar(0);
    const int64_t last = -1;
    tn_meta y, m;

    if (!tnk_meta(x, &y) || !as_rows(&x, &m)) return NULL;
    const int64_t n = m.sizes[1];
    y.rank = y.rank > 1; /* [N] or a number */
    target = math_reshape(tn_to(target, TN_I64), m.sizes, 2);
    if (n == 0) {
        x = math_reshape(op_mean_dim(x, (tn_ints){&last, 1}, false), y.sizes, y.rank);
        return math_reduced(x, reduction);
    }
    tn_tensor *positions = math_count_from(0, n, x);
    tn_tensor *ends = tn_where(tn_eq(target, tnk_scalar_int(-1)), positions, tnk_scalar_int(n));
    tn_tensor *listed = tn_lt(positions, op_amin(ends, (tn_ints){&last, 1}, true));
    tn_tensor *at = tn_where(listed, target, tnk_scalar_int(0));
    tn_tensor *own = tn_unsqueeze(tn_gather(x, -1, at), -1); /* [.., listed, 1] */
    tn_tensor *counts = tn_scatter_add(tn_zeros_like(target), -1, at, tn_to(listed, TN_I64));
    tn_tensor *over = tn_relu(tn_add(tn_sub(tn_unsqueeze(x, -2), own), tnk_scalar(1)));
    over = tn_where(tn_unsqueeze(tn_eq(counts, tnk_scalar_int(0)), -2), over, zero);
    over = tn_where(tn_unsqueeze(listed, -1), over, zero); /* [.., listed, others] */
    tn_tensor *loss = op_mean_dim(over, (tn_ints){&last, 1}, false);
    loss = op_sum_dim(loss, (tn_ints){&last, 1}, false);
    return math_reduced(math_reshape(loss, y.sizes, y.rank), reduction);
}
