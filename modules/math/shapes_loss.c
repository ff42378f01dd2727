/* shapes_loss.c - shape rules of losses.
 *
 * Invariant: a reduction that nobody knows, and targets of sizes that do not fit, are refused here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/rows.h"

#include <string.h>

static const tn_view *view_of(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag == TN_TAG_VIEW ? in->args[i].view : NULL;
}

bool math_says(const tn_value *v, const char *word) {
    const uint64_t n = tn_strlen(word);
    return v->tag == TN_TAG_STR && v->aux == n && memcmp(v->str, word, n) == 0;
}

math_reduction math_reduction_of(const tn_value *v) {
    return math_says(v, "mean")   ? MATH_MEAN
           : math_says(v, "sum")  ? MATH_SUM
           : math_says(v, "none") ? MATH_NONE
                                  : MATH_UNKNOWN;
}

/* One number, or the sizes in outs[0] where reduction is none. It is the row's only string. */
static tn_status reduced(tn_infer *in) {
    for (uint32_t i = 0; i < in->n_args; i++) {
        const tn_value *v = &in->args[i];
        if (v->tag != TN_TAG_STR) continue;
        const math_reduction r = math_reduction_of(v);
        if (r == MATH_UNKNOWN)
            return tnk_fail_shape(in, TN_ERR_INVALID, MATH_REDUCTION_TEXT, (int)v->aux, v->str);
        if (r != MATH_NONE) in->outs[0].rank = 0;
        return TN_OK;
    }
    return tn_fail(in, TN_ERR_INVALID, "reduction is missing");
}

static tn_status differ(tn_infer *in, const tn_view *x, const char *name, const tn_view *target,
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
            return differ(in, x, "another argument", v, "they do not broadcast");
    }
    const tn_status status = math_set_sizes(in, &in->outs[0], all.sizes, all.rank, "result");
    return status ? status : reduced(in);
}

static bool same_sizes(const tn_view *a, const tn_view *b) {
    return a->rank == b->rank &&
           (!a->rank || !memcmp(a->sizes, b->sizes, (size_t)a->rank * sizeof *a->sizes));
}

/* x and target of the same sizes; weights broadcast to them. */
tn_status math_shape_bce(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1);
    tn_meta all;

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    if (!same_sizes(x, target)) return differ(in, x, "target", target, "sizes must be equal");
    for (uint32_t i = 2; i < in->n_args; i++) {
        const tn_view *w = view_of(in, i);
        if (!w) continue;
        math_view_meta(x, &all);
        if (w->rank > x->rank || !math_broadcast(&all, w->sizes, w->rank) ||
            (x->rank && memcmp(all.sizes, x->sizes, (size_t)x->rank * sizeof *x->sizes)))
            return differ(in, x, "a weight", w, "it must broadcast to x");
    }
    const tn_status status = math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "result");
    return status ? status : reduced(in);
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
        return differ(in, x, "weight", weight, "there must be one weight for each class");
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
        return differ(in, x, "target", target, "target must have x's sizes without the classes");
    return reduced(in);
}

tn_status math_shape_nll(tn_infer *in) { return classes(in, 0, view_of(in, 2)); }

/* x[N,C] and target[N]; of one row x may also be [C], or [] of one class, and target [] or [1],
 * which is what the loss is then. */
tn_status math_shape_multi_margin(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1), *weight = view_of(in, 4);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    const int64_t n = x->rank == 2 ? x->sizes[0] : 1, kinds = x->rank ? x->sizes[x->rank - 1] : 1;
    if (target->rank > 1 || (target->rank ? target->sizes[0] : 1) != n)
        return differ(in, x, "target", target, "target must have x's sizes without the classes");
    if (weight && (weight->rank != 1 || weight->sizes[0] != kinds))
        return differ(in, x, "weight", weight, "there must be one weight for each class");
    in->outs[0].rank = target->rank, in->outs[0].sizes[0] = n;
    return reduced(in);
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

/* cross_entropy.probs: x and target alike */
tn_status math_shape_probs(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    if (x->rank == 0) return tn_fail(in, TN_ERR_SHAPE, "x must have a dim of classes");
    if (!same_sizes(x, target)) return differ(in, x, "target", target, "sizes must be equal");
    const tn_status status = without_classes(in, x, x->rank > 1, view_of(in, 2));
    return status ? status : reduced(in);
}

static int64_t numel(const tn_view *v) {
    tn_meta m;
    math_view_meta(v, &m);
    return math_meta_numel(&m);
}

/* multilabel_margin_loss: x and target alike, [N,C], [C], or [] for one class; the last dim goes */
tn_status math_shape_multilabel(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *target = view_of(in, 1);

    if (!x || !target) return tn_fail(in, TN_ERR_INVALID, "x or target is missing");
    const bool one = numel(x) == 1 && numel(target) == 1 && x->rank < 2;
    if (!same_sizes(x, target) && !(one && target->rank < 2))
        return differ(in, x, "target", target, "sizes must be equal");
    in->outs[0].rank = x->rank > 1, in->outs[0].sizes[0] = x->rank ? x->sizes[0] : 1;
    return reduced(in);
}
