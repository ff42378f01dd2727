/* shapes_matrix.c - shape rules of ops that bring several tensors together: products, norms,
 * joins.
 *
 * Invariant: whatever a kernel reads by position is compared here first; a mismatch names both
 * arguments and their sizes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/shapes.h"

/* ---- Products ----------------------------------------------------------------------------- */

/* [B,M,K] [B,K,N] -> [B,M,N]; the contract has compared them */
tn_status math_shape_gemm(tn_infer *in) {
    const tn_view *a = view_of(in, 0), *b = view_of(in, 1);

    if (!a || !b) return missing(in);
    return math_set_sizes(in, &in->outs[0], (int64_t[]){a->sizes[0], a->sizes[1], b->sizes[2]}, 3,
                          "result");
}

/* Sizes of the product of arguments i and i + 1, as results. */
static tn_status product_sizes(tn_infer *in, uint32_t i) {
    const tn_view *a = view_of(in, i), *b = view_of(in, i + 1);
    tn_meta y = {0};

    if (!a || !b) return missing(in);
    if (a->rank == 0 || b->rank == 0)
        return mismatch(in, "a", a, "b", b, "numbers are multiplied with mul");
    const int64_t a_inner = a->sizes[a->rank - 1],
                  b_inner = b->sizes[b->rank > 1 ? b->rank - 2 : 0];
    if (a_inner != b_inner)
        return mismatch(in, "a", a, "b", b,
                        "a's last size must equal b's last but one (the only one of a vector)");

    const int32_t a_batch = a->rank > 2 ? a->rank - 2 : 0, b_batch = b->rank > 2 ? b->rank - 2 : 0;
    if (!math_broadcast(&y, a->sizes, a_batch) || !math_broadcast(&y, b->sizes, b_batch))
        return mismatch(in, "a", a, "b", b, "the leading dims do not broadcast");
    if (a->rank > 1) y.sizes[y.rank++] = a->sizes[a->rank - 2];
    if (b->rank > 1) y.sizes[y.rank++] = b->sizes[b->rank - 1];
    return math_set_sizes(in, &in->outs[0], y.sizes, y.rank, "result");
}

tn_status math_shape_matmul(tn_infer *in) { return product_sizes(in, 0); }

/* Integers are scaled by the integer that is left of the factor, as in PyTorch; a negative one
 * wraps what has no sign. */
tn_status math_check_factor(tn_infer *in, uint32_t i, const char *name) {
    const tn_dtype d = in->outs[0].dtype;

    if (i >= in->n_args || in->args[i].tag == TN_TAG_NONE || math_holds(d, in->args[i]))
        return TN_OK;
    const double x = in->args[i].tag == TN_TAG_FLOAT ? in->args[i].f : (double)in->args[i].i;
    const bool is_float = tn_dtype_index(d) >= 0 && (TN_MASK_FLOAT >> tn_dtype_index(d) & 1);
    if (is_float || (d.code == 1 && math_holds(d, tn_float(-x)))) return TN_OK;
    return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%s is %.17g, which the tensors' dtype cannot hold",
                          name, x);
}

/* (c, a, b, beta, alpha): the product's sizes, which c must broadcast to */
tn_status math_shape_addmm(tn_infer *in) {
    const tn_view *c = view_of(in, 0);
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];
    tn_status status;

    if (!c) return missing(in);
    if ((status = product_sizes(in, 1))) return status;
    if ((status = math_check_factor(in, 3, "beta"))) return status;
    if ((status = math_check_factor(in, 4, "alpha"))) return status;
    tn_meta y = in->outs[0];
    if (c->rank <= y.rank && math_broadcast(&y, c->sizes, c->rank) &&
        (!y.rank || !memcmp(y.sizes, in->outs[0].sizes, (size_t)y.rank * sizeof *y.sizes)))
        return TN_OK;
    return tnk_fail_shape(in, TN_ERR_SHAPE, "c%s does not broadcast to the product's sizes %s",
                          tnk_sizes_text(c->sizes, c->rank, have),
                          tnk_sizes_text(in->outs[0].sizes, in->outs[0].rank, want));
}

/* [*,I] [O,I] and [O] -> [*,O]; [*,I] [I] and [] -> [*] */
tn_status math_shape_linear(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *w = view_of(in, 1), *b = view_of(in, 2);
    int64_t sizes[TN_MAX_RANK];

    if (!x || !w) return missing(in);
    if (x->sizes[x->rank - 1] != w->sizes[w->rank - 1])
        return mismatch(in, "x", x, "w", w, "their last dims must be equal");
    if (b && (b->rank != w->rank - 1 || (b->rank && b->sizes[0] != w->sizes[0])))
        return mismatch(in, "b", b, "w", w, "b must have one number for each row of w");
    if (w->rank == 1) return math_set_sizes(in, &in->outs[0], x->sizes, x->rank - 1, "result");
    for (int32_t i = 0; i < x->rank - 1; i++) sizes[i] = x->sizes[i];
    sizes[x->rank - 1] = w->sizes[0];
    return math_set_sizes(in, &in->outs[0], sizes, x->rank, "result");
}

/* Do a and b have the same sizes, but for the last? */
static bool same_rows(const tn_view *a, const tn_view *b) {
    return a->rank == b->rank &&
           (a->rank < 2 || !memcmp(a->sizes, b->sizes, (size_t)(a->rank - 1) * sizeof *a->sizes));
}

/* grad[*,O] x[*,I] -> dw[O,I] db[O] */
tn_status math_shape_linear_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *x = view_of(in, 1);

    if (!grad || !x) return missing(in);
    if (!same_rows(grad, x))
        return mismatch(in, "grad", grad, "x", x, "all sizes but the last must be equal");
    const int64_t sizes[2] = {grad->sizes[grad->rank - 1], x->sizes[x->rank - 1]};
    const tn_status status = math_set_sizes(in, &in->outs[0], sizes, 2, "result");
    return status ? status : math_set_sizes(in, &in->outs[1], sizes, 1, "result");
}

/* x1[*,I] x2[*,J] w[O,I,J] -> [*,O]; the contract has compared I and J */
tn_status math_shape_bilinear(tn_infer *in) {
    const tn_view *x1 = view_of(in, 0), *x2 = view_of(in, 1), *w = view_of(in, 2);
    int64_t sizes[TN_MAX_RANK];

    if (!x1 || !x2 || !w) return missing(in);
    if (!same_rows(x1, x2))
        return mismatch(in, "x1", x1, "x2", x2, "all sizes but the last must be equal");
    for (int32_t i = 0; i < x1->rank - 1; i++) sizes[i] = x1->sizes[i];
    sizes[x1->rank - 1] = w->sizes[0];
    return math_set_sizes(in, &in->outs[0], sizes, x1->rank, "result");
}

/* ---- Norms -------------------------------------------------------------------------------- */

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

/* ---- Joins -------------------------------------------------------------------------------- */

static bool same_but(const tn_view *a, const tn_view *b, int64_t dim) {
    if (a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (i != dim && a->sizes[i] != b->sizes[i]) return false;
    return true;
}

static tn_status no_list(tn_infer *in) {
    return tn_fail(in, TN_ERR_INVALID, "xs is empty: there must be at least one tensor to join");
}

static bool has_list(const tn_infer *in) {
    return in->n_args >= 2 && in->args[0].tag == TN_TAG_VIEWS && in->args[0].aux > 0;
}

/* dim, which is one of first's rank + extra, made non-negative. */
static tn_status join(tn_infer *in, const tn_view *first, int32_t extra, int64_t *dim) {
    const int64_t rank = (int64_t)first->rank + extra;
    if (rank == 0) return tn_fail(in, TN_ERR_SHAPE, "xs are 0-dim tensors: join those with stack");
    *dim = in->args[1].i;
    if (*dim < -rank || *dim >= rank)
        return tnk_fail_shape(in, TN_ERR_INDEX, "dim is %lld, allowed are %lld to %lld",
                              (long long)*dim, (long long)-rank, (long long)rank - 1);
    if (*dim < 0) *dim += rank;
    return TN_OK;
}

/* [0] joins with anything, as in PyTorch. */
static bool is_nothing(const tn_view *x) { return x->rank == 1 && x->sizes[0] == 0; }

tn_status math_shape_cat(tn_infer *in) {
    int64_t sizes[TN_MAX_RANK], dim, total = 0;

    if (!has_list(in)) return no_list(in);
    const tn_view *const *xs = in->args[0].views, *first = xs[0];
    for (uint32_t i = 1; is_nothing(first) && i < in->args[0].aux; i++) first = xs[i];
    if (is_nothing(first)) return math_set_sizes(in, &in->outs[0], first->sizes, 1, "result");
    const tn_status status = join(in, first, 0, &dim);
    if (status) return status;
    for (uint32_t i = 0; i < in->args[0].aux; i++) {
        if (is_nothing(xs[i])) continue;
        if (!same_but(first, xs[i], dim))
            return mismatch(in, "the first of xs", first, "another", xs[i],
                            "sizes must be equal in every dim but dim");
        if (__builtin_add_overflow(total, xs[i]->sizes[dim], &total))
            return tn_fail(in, TN_ERR_OVERFLOW, "xs are too long together");
    }
    memcpy(sizes, first->sizes, (size_t)first->rank * sizeof *sizes);
    sizes[dim] = total;
    return math_set_sizes(in, &in->outs[0], sizes, first->rank, "result");
}

tn_status math_shape_stack(tn_infer *in) {
    int64_t sizes[TN_MAX_RANK + 1], dim;

    if (!has_list(in)) return no_list(in);
    const tn_view *const *xs = in->args[0].views, *first = xs[0];
    const tn_status status = join(in, first, 1, &dim);
    if (status) return status;
    for (uint32_t i = 1; i < in->args[0].aux; i++)
        if (!same_sizes(first, xs[i]))
            return mismatch(in, "the first of xs", first, "another", xs[i], "sizes must be equal");
    for (int32_t i = 0, from = 0; i <= first->rank; i++)
        sizes[i] = i == dim ? in->args[0].aux : first->sizes[from++];
    return math_set_sizes(in, &in->outs[0], sizes, (int64_t)first->rank + 1, "result");
}

/* ---- Optimizers --------------------------------------------------------------------------- */

static tn_status check_list(tn_infer *in, const tn_value *params, const tn_value *list,
                            const char *name) {
    if (list->tag != TN_TAG_VIEWS || list->aux != params->aux)
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "%s has %u tensors, params has %u: there must be one for each", name,
                              (unsigned)list->aux, (unsigned)params->aux);
    for (uint32_t i = 0; i < params->aux; i++)
        if (!same_sizes(params->views[i], list->views[i]))
            return mismatch(in, "a tensor of params", params->views[i], name, list->views[i],
                            "sizes must be equal");
    return TN_OK;
}

/* Each of the n lists after params has one tensor for each of those; the last may be empty. Nothing
 * is returned. */
static tn_status check_lists(tn_infer *in, const char *const *names, uint32_t n) {
    if (in->n_args <= n || in->args[0].tag != TN_TAG_VIEWS) return missing(in);
    for (uint32_t i = 1; i <= n; i++) {
        if (i == n && in->args[i].tag == TN_TAG_VIEWS && in->args[i].aux == 0) break;
        const tn_status status = check_list(in, &in->args[0], &in->args[i], names[i - 1]);
        if (status) return status;
    }
    return TN_OK;
}

tn_status math_shape_sgd(tn_infer *in) {
    return check_lists(in, (const char *const[]){"grads", "momenta"}, 2);
}

tn_status math_shape_adam(tn_infer *in) {
    return check_lists(
        in, (const char *const[]){"grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"}, 4);
}
