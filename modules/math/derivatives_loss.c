/* derivatives_loss.c - derivatives of losses.
 *
 * Invariant: as in derivatives.c. 16-bit floats are computed as f32, like the losses themselves:
 * they hold neither a count beyond 65504 nor the bounds below.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"
#include "modules/math/losses.h"

/* The gradient of each element, from that of the mean or sum of n. */
static tn_tensor *each(tn_grad_ctx *c, int64_t n) {
    const tn_value reduction = arg(c, "reduction");
    tn_tensor *g = math_wide(grad_of(c));

    if (math_reduction_of(&reduction) != MATH_MEAN) return g;
    return tn_div(g, tnk_scalar((double)n));
}

/* g 2 (x - target) */
void math_grad_mse_loss(tn_grad_ctx *c) {
    tn_tensor *difference = tn_sub(math_wide(saved(c, "x")), math_wide(saved(c, "target")));
    const tn_value reduction = arg(c, "reduction");
    tn_meta m;

    if (!tnk_meta(difference, &m)) return;
    const bool mean = math_reduction_of(&reduction) == MATH_MEAN;
    const double scale = mean ? 2.0 / (double)math_meta_numel(&m) : 2;
    tn_tensor *d = tn_mul(difference, tn_mul(math_wide(grad_of(c)), tnk_scalar(scale)));
    if (needs(c, "x")) set(c, "x", d);
    if (needs(c, "target")) set(c, "target", tn_neg(d));
}

/* d x: (x - target) / (x (1 - x)), d target: log(1 - x) - log(x), kept finite as in the loss. */
void math_grad_bce(tn_grad_ctx *c) {
    tn_tensor *x = math_wide(saved(c, "x")), *target = math_wide(saved(c, "target"));
    tn_tensor *weight = saved(c, "weight"), *other = tn_sub(tnk_scalar(1), x);
    tn_meta m;

    if (!tnk_meta(x, &m)) return;
    tn_tensor *g = each(c, math_meta_numel(&m)), *weighted = weight ? tn_mul(g, weight) : g;
    if (needs(c, "x")) { /* PyTorch's bound is a float */
        tn_tensor *room = tn_clamp(tn_mul(x, other), &(tn_clamp_opts){.min = tn_float(1e-12f)});
        set(c, "x", tn_mul(weighted, tn_div(tn_sub(x, target), room)));
    }
    if (needs(c, "target")) {
        const tn_clamp_opts floor = {.min = tn_float(-100)};
        tn_tensor *slope = tn_sub(tn_clamp(tn_log(other), &floor), tn_clamp(tn_log(x), &floor));
        set(c, "target", tn_mul(weighted, slope));
    }
    if (needs(c, "weight")) set(c, "weight", tn_mul(g, math_bce(x, target, NULL)));
}

/* What weights get: S / D with S the weighted losses and D, for a mean, the weights that counted.
 * dS is each class's losses, dD how often it counted. */
static tn_tensor *weight_slope(tn_grad_ctx *ctx, const math_classes *c, const tn_value *args) {
    static tn_op_ref op = {"cross_entropy", 0, 0};
    const double smoothing = args[5].f;
    tn_tensor *g = math_wide(grad_of(ctx)), *log_p = tn_log_softmax(args[0].tensor, c->dim);
    tn_tensor *counts = tn_to(c->counts, c->x.dtype), *loss = tn_neg(math_picked(c, log_p));
    tn_meta m, weight;

    if (!meta_of(ctx, "weight", &weight) || !tnk_meta(counts, &m)) return NULL;
    loss = tn_mul(loss, tnk_scalar(1 - smoothing));
    if (math_reduction_of(&args[4]) == MATH_MEAN) {
        g = tn_div(g, tn_sum(c->weight));
        loss = tn_sub(loss, math_call(&op, args, 6));
    }
    g = tn_where(c->counts, g, tnk_scalar(0));
    loss = tn_where(c->counts, tn_mul(g, loss), tnk_scalar(0));
    const int64_t n = math_meta_numel(&m);
    tn_tensor *d = tn_scatter_add(math_full(&weight, 0, g), 0, math_reshape(c->at, &n, 1),
                                  math_reshape(loss, &n, 1));
    if (smoothing == 0) return d;
    tn_tensor *all =
        tn_mul(tn_mul(math_spread(c, g), log_p), tnk_scalar(-smoothing / (double)c->n));
    int64_t dims[TN_MAX_RANK], n_dims = 0;
    for (int32_t i = 0; i < c->x.rank; i++)
        if (i != c->dim) dims[n_dims++] = i;
    return tn_add(d, n_dims ? tn_sum_dim(all, (tn_ints){dims, n_dims}, NULL) : all);
}

void math_grad_cross_entropy(tn_grad_ctx *c) {
    static tn_op_ref op = {"cross_entropy_bwd", 0, 0};
    tn_value args[] = {
        tn_value_tensor(saved(c, "x")),
        tn_value_tensor(saved(c, "target")),
        tn_value_tensor(saved(c, "weight")),
        arg(c, "ignore_index"),
        arg(c, "reduction"),
        arg(c, "label_smoothing"),
    };
    math_classes classes;

    if (needs(c, "x"))
        set(c, "x",
            MATH_CALL(&op, tn_value_tensor(grad_of(c)), args[0], args[1], args[2], args[3], args[4],
                      args[5]));
    if (!needs(c, "weight")) return;
    args[0].tensor = math_wide(args[0].tensor), args[2].tensor = math_wide(args[2].tensor);
    if (math_classes_of(args[0].tensor, args[1].tensor, args[2].tensor, args[3], &classes))
        set(c, "weight", weight_slope(c, &classes, args));
}
