/* loss.c - losses whose targets are numbers, and distances.
 *
 * Forms stay finite; 16-bit floats are computed as f32, for they hold neither a count beyond 65504
 * nor the bounds below. Invariant: a reduction that nobody knows, and targets of sizes that do not
 * fit, are refused by the shape rule; the last step of every loss is math_reduced.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/loss.h"

#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

#define MATH_LOG_2PI 1.8378770664093454836

math_reduction math_reduction_of(tnk_text word) {
    return tnk_says(word, "mean")   ? MATH_MEAN
           : tnk_says(word, "sum")  ? MATH_SUM
           : tnk_says(word, "none") ? MATH_NONE
                                    : MATH_UNKNOWN;
}

/* One number, or the sizes in outs[0] where reduction is none. It is the row's only string. */
tn_status math_reduced_sizes(tn_infer *in) {
    for (uint32_t i = 0; i < in->n_args; i++) {
        const tnk_text word = tnk_as_text(in->args[i]);
        if (!word.ptr) continue;
        const math_reduction r = math_reduction_of(word);
        if (r == MATH_UNKNOWN)
            return tnk_fail_shape(in, TN_ERR_INVALID, MATH_REDUCTION_TEXT, (int)word.n, word.ptr);
        if (r != MATH_NONE) in->outs[0].rank = 0;
        return TN_OK;
    }
    return tn_fail(in, TN_ERR_INVALID, "reduction is missing");
}

tn_status math_differ(tn_infer *in, const tn_view *x, const char *name, const tn_view *target,
                      const char *rule) {
    char a[TNK_LIST_BYTES], b[TNK_LIST_BYTES];
    return tnk_fail_shape(in, TN_ERR_SHAPE, "x%s and %s%s: %s",
                          tnk_sizes_text(x->sizes, x->rank, a), name,
                          tnk_sizes_text(target->sizes, target->rank, b), rule);
}

/* All tensors broadcast together. */
tn_status math_shape_loss(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    tn_meta all;

    if (!x) return tn_fail(in, TN_ERR_INVALID, "x is missing");
    math_view_meta(x, &all);
    for (uint32_t i = 1; i < in->n_args; i++) {
        const tn_view *v = view_of(in, i);
        if (v && !math_broadcast(&all, v->sizes, v->rank))
            return math_differ(in, x, "another argument", v, "they do not broadcast");
    }
    const tn_status status = math_set_sizes(in, &in->outs[0], all.sizes, all.rank, "result");
    return status ? status : math_reduced_sizes(in);
}

/* g 2 (x - target) */
void math_grad_mse_loss(math_grad_mse_loss_ctx *c) {
    tn_tensor *difference = tn_sub(math_wide(TNK_SAVED(c, x)), math_wide(TNK_SAVED(c, target)));
    tn_meta m;

    if (!tnk_meta(difference, &m)) return;
    const bool mean = math_reduction_of(TNK_ARG(c, reduction)) == MATH_MEAN;
    const double scale = mean ? 2.0 / (double)math_meta_numel(&m) : 2;
    tn_tensor *d = tn_mul(difference, tn_mul(math_wide(TNK_GRAD(c, 0)), tnk_scalar(scale)));
    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, d);
    if (TNK_NEEDS(c, target)) TNK_SET_GRAD(c, target, tn_neg(d));
}

static tn_tensor *square(tn_tensor *x) { return tn_mul(x, x); }

tn_tensor *math_reduced(tn_tensor *x, tnk_text reduction) {
    switch (math_reduction_of(reduction)) {
    case MATH_MEAN:
        return tn_mean(x);
    case MATH_SUM:
        return tn_sum(x);
    case MATH_NONE:
        return x;
    case MATH_UNKNOWN:
        break;
    }
    return tnk_raise_null(TN_ERR_INVALID, MATH_REDUCTION_TEXT, (int)reduction.n, reduction.ptr);
}

tn_tensor *math_compose_mse_loss(tn_tensor *x, tn_tensor *target, tnk_text reduction) {
    return math_reduced(square(tn_sub(x, target)), reduction);
}

tn_tensor *math_compose_l1_loss(tn_tensor *x, tn_tensor *target, tnk_text reduction) {
    return math_reduced(tn_abs(tn_sub(x, target)), reduction);
}

/* m (d - m / 2) with m = min(d, delta) is d^2 / 2 below delta, and the line that goes on above. */
static tn_tensor *huber(tn_tensor *x, double delta) {
    tn_tensor *d = tn_abs(x), *m = tn_minimum(d, tnk_scalar(delta));
    return tn_mul(m, tn_sub(d, times(m, 0.5)));
}

tn_tensor *math_compose_huber_loss(tn_tensor *x, tn_tensor *target, tnk_text reduction,
                                   double delta) {
    if (!(delta > 0))
        return tnk_raise_null(TN_ERR_INVALID, "delta is %g; it must be above 0", delta);
    return math_reduced(huber(tn_sub(x, target), delta), reduction);
}

tn_tensor *math_compose_smooth_l1_loss(tn_tensor *x, tn_tensor *target, tnk_text reduction,
                                       double beta) {
    tn_tensor *d = tn_sub(x, target);

    d = beta == 0 ? tn_abs(d) : tn_div(huber(d, beta), tnk_scalar(beta));
    return math_reduced(d, reduction);
}

/* x and target of the same sizes; weights broadcast to them. */
tn_status math_shape_bce(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1);
    tn_meta all;

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    if (!same_sizes(x, target)) return math_differ(in, x, "target", target, "sizes must be equal");
    for (uint32_t i = 2; i < in->n_args; i++) {
        const tn_view *w = view_of(in, i);
        if (!w) continue;
        math_view_meta(x, &all);
        if (w->rank > x->rank || !math_broadcast(&all, w->sizes, w->rank) ||
            (x->rank && memcmp(all.sizes, x->sizes, (size_t)x->rank * sizeof *x->sizes)))
            return math_differ(in, x, "a weight", w, "it must broadcast to x");
    }
    const tn_status status = math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "result");
    return status ? status : math_reduced_sizes(in);
}

static tn_tensor *at_least(tn_tensor *x, double low) {
    return op_clamp(x, tn_float(low), tn_value_none());
}

static tn_tensor *one_minus(tn_tensor *x) { return tn_sub(tnk_scalar(1), x); }

static tn_tensor *cross_entropy(tn_tensor *x, tn_tensor *target, tn_tensor *weight) {
    tn_tensor *yes = at_least(tn_log(x), -100), *no = at_least(tn_log(one_minus(x)), -100);
    tn_tensor *loss = tn_neg(tn_add(tn_mul(target, yes), tn_mul(one_minus(target), no)));
    return weight ? tn_mul(loss, weight) : loss;
}

/* The gradient of each element, from that of the mean or sum of n. */
static tn_tensor *each(tn_tensor *g, tnk_text reduction, int64_t n) {
    g = math_wide(g);
    return math_reduction_of(reduction) == MATH_MEAN ? tn_div(g, tnk_scalar((double)n)) : g;
}

/* d x: (x - target) / (x (1 - x)), d target: log(1 - x) - log(x), kept finite as in the loss. */
void math_grad_bce(math_grad_bce_ctx *c) {
    tn_tensor *x = math_wide(TNK_SAVED(c, x)), *target = math_wide(TNK_SAVED(c, target));
    tn_tensor *weight = TNK_SAVED(c, weight), *other = tn_sub(tnk_scalar(1), x);
    tn_meta m;

    if (!tnk_meta(x, &m)) return;
    tn_tensor *g = each(TNK_GRAD(c, 0), TNK_ARG(c, reduction), math_meta_numel(&m));
    tn_tensor *weighted = weight ? tn_mul(g, weight) : g;
    if (TNK_NEEDS(c, x)) { /* PyTorch's bound is a float */
        tn_tensor *room = at_least(tn_mul(x, other), 1e-12f);
        TNK_SET_GRAD(c, x, tn_mul(weighted, tn_div(tn_sub(x, target), room)));
    }
    if (TNK_NEEDS(c, target)) {
        tn_tensor *slope = tn_sub(at_least(tn_log(other), -100), at_least(tn_log(x), -100));
        TNK_SET_GRAD(c, target, tn_mul(weighted, slope));
    }
    if (TNK_NEEDS(c, weight)) TNK_SET_GRAD(c, weight, tn_mul(g, cross_entropy(x, target, NULL)));
}

tn_tensor *math_compose_bce(tn_tensor *x, tn_tensor *target, tn_tensor *weight,
                            tnk_text reduction) {
    tn_tensor *loss = cross_entropy(x, target, weight);
    return math_reduced(loss, reduction);
}

/* (1 - target) x - (1 + (pos_weight - 1) target) log(sigmoid(x)) */
static tn_tensor *bce_with_logits(tn_tensor *x, tn_tensor *target, tn_tensor *pos_weight) {
    tn_tensor *tail = tn_logsigmoid(x);

    if (pos_weight) tail = tn_mul(tail, plus(tn_mul(plus(pos_weight, -1), target), 1));
    return tn_sub(tn_mul(one_minus(target), x), tail);
}

tn_tensor *math_compose_bce_with_logits(tn_tensor *x, tn_tensor *target, tn_tensor *weight,
                                        tn_tensor *pos_weight, tnk_text reduction) {
    tn_tensor *loss = bce_with_logits(x, target, pos_weight);

    return math_reduced(weight ? tn_mul(loss, weight) : loss, reduction);
}

/* The log of a probability that is 0 counts as 0: its factor is. */
static tn_tensor *safe_log(tn_tensor *x, tn_tensor *is_safe) {
    return tn_log(tn_where(is_safe, x, tnk_scalar(1)));
}

/* Divided before it is added up, for the sum may leave the range. */
static tn_tensor *batch_mean(tn_tensor *loss, tn_tensor *x) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    return tn_sum(m.rank ? tn_div(loss, tnk_scalar((double)m.sizes[0])) : loss);
}

tn_tensor *math_compose_kl_div(tn_tensor *x, tn_tensor *target, tnk_text reduction,
                               bool log_target) {
    tn_tensor *loss, *zero = tnk_scalar(0);

    if (log_target) {
        loss = tn_mul(tn_exp(target), tn_sub(target, x));
    } else {
        tn_tensor *some = tn_gt(target, zero);
        loss = tn_where(some, tn_mul(target, tn_sub(safe_log(target, some), x)), zero);
    }
    if (tnk_says(reduction, "batchmean")) return batch_mean(loss, x);
    return math_reduced(loss, reduction);
}

/* target log(target) - target + log(2 pi target) / 2 where target > 1, else 0 */
static tn_tensor *stirling(tn_tensor *target) {
    tn_tensor *large = tn_gt(target, tnk_scalar(1)), *log = safe_log(target, large);
    tn_tensor *sum =
        tn_add(tn_sub(tn_mul(target, log), target), times(plus(log, MATH_LOG_2PI), 0.5));
    return tn_where(large, sum, tnk_scalar(0));
}

tn_tensor *math_compose_poisson_nll_loss(tn_tensor *x, tn_tensor *target, bool log_input, bool full,
                                         double eps, tnk_text reduction) {
    tn_tensor *loss;

    if (log_input)
        loss = tn_sub(tn_exp(x), tn_mul(target, x));
    else
        loss = tn_sub(x, tn_mul(target, tn_log(plus(x, eps))));
    if (full) loss = tn_add(loss, stirling(target));
    return math_reduced(loss, reduction);
}

/* var in a form that broadcasts to x: its sizes, or without the last, or 1 there. */
static tn_tensor *fitting_variance(tn_tensor *x, tn_tensor *var) {
    tn_meta x_meta, v;
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!tnk_meta(x, &x_meta) || !tnk_meta(var, &v)) return NULL;
    bool fits = v.rank == x_meta.rank || v.rank == x_meta.rank - 1;
    for (int32_t i = 0; fits && i < v.rank; i++)
        fits = v.sizes[i] == x_meta.sizes[i] || (i == x_meta.rank - 1 && v.sizes[i] == 1);
    if (fits) return v.rank == x_meta.rank ? var : tn_unsqueeze(var, -1);
    return tnk_raise_null(
        TN_ERR_SHAPE, "var%s must have the sizes of x%s; the last may be 1 or missing",
        tnk_sizes_text(v.sizes, v.rank, have), tnk_sizes_text(x_meta.sizes, x_meta.rank, want));
}

static bool has_negative(tn_tensor *x) {
    tn_tensor *n = tn_sum(tn_lt(x, tnk_scalar(0)));
    int64_t count = 0;
    return n && tn_plugin_ops->read(n, &count, sizeof count) == TN_OK && count > 0;
}

tn_tensor *math_compose_gaussian_nll_loss(tn_tensor *x, tn_tensor *target, tn_tensor *var,
                                          bool full, double eps, tnk_text reduction) {
    var = fitting_variance(x, var);
    if (has_negative(var))
        return tnk_raise_null(TN_ERR_INVALID, "var has a negative element: a variance has none");
    var = at_least(var, eps);
    tn_tensor *d = square(tn_sub(x, target));
    tn_tensor *loss = times(tn_add(tn_log(var), tn_div(d, var)), 0.5);
    if (full) loss = plus(loss, MATH_LOG_2PI / 2);
    return math_reduced(loss, reduction);
}

/* max(x, 0) with gradient 1 at 0, as PyTorch's clamp_min has it. */
static tn_tensor *positive_part(tn_tensor *x) { return at_least(x, 0); }

tn_tensor *math_compose_hinge_embedding_loss(tn_tensor *x, tn_tensor *target, double margin,
                                             tnk_text reduction) {
    tn_tensor *zero = tnk_scalar(0), *far = tn_sub(tnk_scalar(margin), x);
    /* a target that is neither 1 nor -1 counts as both, as in PyTorch */
    tn_tensor *loss = tn_add(tn_where(tn_eq(target, tnk_scalar(-1)), zero, x),
                             tn_where(tn_eq(target, tnk_scalar(1)), zero, positive_part(far)));
    return math_reduced(loss, reduction);
}

tn_tensor *math_compose_margin_ranking_loss(tn_tensor *x1, tn_tensor *x2, tn_tensor *target,
                                            double margin, tnk_text reduction) {
    tn_tensor *d = tn_mul(target, tn_sub(x1, x2));
    tn_tensor *loss = positive_part(tn_sub(tnk_scalar(margin), d));
    return math_reduced(loss, reduction);
}

tn_tensor *math_compose_soft_margin_loss(tn_tensor *x, tn_tensor *target, tnk_text reduction) {
    tn_tensor *z = tn_mul(x, target);

    return math_reduced(tn_neg(tn_logsigmoid(z)), reduction);
}

tn_tensor *math_compose_multilabel_soft_margin_loss(tn_tensor *x, tn_tensor *target,
                                                    tn_tensor *weight, tnk_text reduction) {
    tn_tensor *loss = bce_with_logits(x, target, NULL);
    const int64_t last = -1;

    if (weight) loss = tn_mul(loss, weight);
    return math_reduced(op_mean_dim(loss, (tn_ints){&last, 1}, false), reduction);
}

static tn_tensor *distance(tn_tensor *a, tn_tensor *b, double p, double eps, bool keepdim) {
    const int64_t last = -1;
    return op_norm(plus(tn_sub(a, b), eps), p, (tn_ints){&last, 1}, keepdim);
}

tn_tensor *math_compose_pairwise_distance(tn_tensor *x1, tn_tensor *x2, double p, double eps,
                                          bool keepdim) {
    return distance(x1, x2, p, eps, keepdim);
}

/* The norm over dim, which stays with size 1; its squares stay in range. */
static tn_tensor *length(tn_tensor *a, int64_t dim) {
    return op_norm(a, 2, (tn_ints){&dim, 1}, true);
}

/* What vectors are scaled by before their norm is taken, so that it stays in range. */
static const double scale = 0x1p-24;

/* a / its norm over dim, or eps if that is more. */
static tn_tensor *unit(tn_tensor *a, int64_t dim, double eps) {
    a = times(a, scale);
    return tn_div(a, at_least(length(a, dim), eps * scale));
}

tn_tensor *math_compose_cosine_similarity(tn_tensor *x1, tn_tensor *x2, int64_t dim, double eps) {
    tn_meta m;

    if (!math_broadcast_pair(&x1, &x2, &m)) return NULL; /* dim counts in what comes out */
    tn_tensor *products = tn_mul(unit(x1, dim, eps), unit(x2, dim, eps));
    return op_sum_dim(products, (tn_ints){&dim, 1}, false);
}

static tn_tensor *sum_last(tn_tensor *x) {
    const int64_t last = -1;
    return op_sum_dim(x, (tn_ints){&last, 1}, false);
}

/* a / sqrt(|a|^2 + 1e-12) over the last dim: the norm of a with one more element, 1e-6. */
static tn_tensor *softened_unit(tn_tensor *a) {
    static const int64_t one_behind[2] = {0, 1};
    const tn_value last = tn_float(1e-6 * scale);
    a = times(a, scale);
    return tn_div(a, length(tn_constant_pad(a, (tn_ints){one_behind, 2}, last), -1));
}

tn_tensor *math_compose_cosine_embedding_loss(tn_tensor *x1, tn_tensor *x2, tn_tensor *target,
                                              double margin, tnk_text reduction) {
    tn_tensor *zero = tnk_scalar(0);
    tn_meta m;

    if (!math_broadcast_pair(&x1, &x2, &m)) return NULL;
    tn_tensor *cos = sum_last(tn_mul(softened_unit(x1), softened_unit(x2)));
    tn_tensor *apart = positive_part(plus(cos, -margin));
    tn_tensor *loss =
        tn_where(tn_gt(target, zero), one_minus(cos), tn_where(tn_lt(target, zero), apart, zero));
    return math_reduced(loss, reduction);
}

tn_tensor *math_compose_triplet_margin_loss(tn_tensor *anchor, tn_tensor *positive,
                                            tn_tensor *negative, double margin, double p,
                                            double eps, bool swap, tnk_text reduction) {
    if (margin <= 0)
        return tnk_raise_null(TN_ERR_INVALID,
                              "triplet_margin_loss: margin is %g; it must be above 0", margin);
    tn_tensor *near = distance(anchor, positive, p, eps, false);
    tn_tensor *far = distance(anchor, negative, p, eps, false);
    if (swap) far = tn_minimum(far, distance(positive, negative, p, eps, false));
    tn_tensor *loss = positive_part(plus(tn_sub(near, far), margin));
    return math_reduced(loss, reduction);
}
