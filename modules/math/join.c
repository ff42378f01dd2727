/* join.c - tensors joined, and cut into lists.
 *
 * Invariant: lists are views of the argument; their memory is the inner op's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/grads.h"
#include "modules/math/shapes.h"

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
static tn_status checked_dim(tn_infer *in, const tn_view *first, int32_t extra, int64_t *dim) {
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
    const tn_status status = checked_dim(in, first, 0, &dim);
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

/* Each input gets its part of the gradient; only their sizes are needed. */
void math_grad_cat(tn_grad_ctx *c) {
    const uint32_t n = tn_plugin_ops->grad_count(c, "xs");
    tn_tensor *g = grad_of(c), **gs = n ? math_new_list(n) : NULL;
    tn_meta y, x;

    if (!gs) return;
    int64_t start = 0;
    const int64_t dim = tnk_meta(g, &y) ? math_from_end(arg(c, "dim").i, y.rank) : 0;
    for (uint32_t i = 0; i < n; i++) {
        gs[i] = NULL;
        if (tn_plugin_ops->grad_meta_at(c, "xs", i, &x)) break; /* an error is pending */
        if (math_is_nothing(&x)) continue;                      /* and has no gradient */
        gs[i] = math_narrow(g, dim, start, x.sizes[dim]);
        start += x.sizes[dim];
    }
    if (tn_plugin_ops->error() == TN_OK) tn_plugin_ops->grad_set_list(c, "xs", (tn_tensors){gs, n});
    tn_plugin_host->free(tn_plugin_self, gs);
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

tn_status math_shape_stack(tn_infer *in) {
    int64_t sizes[TN_MAX_RANK + 1], dim;

    if (!has_list(in)) return no_list(in);
    const tn_view *const *xs = in->args[0].views, *first = xs[0];
    const tn_status status = checked_dim(in, first, 1, &dim);
    if (status) return status;
    for (uint32_t i = 1; i < in->args[0].aux; i++)
        if (!same_sizes(first, xs[i]))
            return mismatch(in, "the first of xs", first, "another", xs[i], "sizes must be equal");
    for (int32_t i = 0, from = 0; i <= first->rank; i++)
        sizes[i] = i == dim ? in->args[0].aux : first->sizes[from++];
    return math_set_sizes(in, &in->outs[0], sizes, (int64_t)first->rank + 1, "result");
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

/* Joined once each has `least` dims: vectors become rows, numbers vectors. */
static tn_status join(const tn_value *xs, int32_t least, tn_value *outs) {
    const uint64_t n = xs->aux;
    tn_tensor **list = tn_plugin_host->alloc(tn_plugin_self, (n ? n : 1) * sizeof *list);
    tn_meta m = {.rank = 1};

    if (!list) return tnk_raise(TN_ERR_NOMEM, "no memory for the list");
    for (uint64_t i = 0; i < n; i++) {
        list[i] = xs->tensors[i];
        for (int32_t rank = tnk_meta(list[i], &m) ? m.rank : least; rank < least; rank++)
            list[i] = tn_unsqueeze(list[i], 0);
    }
    const int64_t dim = least == 1 && m.rank > 1;
    tn_tensor *y = math_cat(list, (int64_t)n, dim);
    tn_plugin_host->free(tn_plugin_self, list);
    return give(outs, y);
}

tn_status math_compose_hstack(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    (void)n_args, (void)n_outs;
    return join(&args[0], 1, outs);
}

tn_status math_compose_vstack(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    (void)n_args, (void)n_outs;
    return join(&args[0], 2, outs);
}

tn_status math_shape_split(tn_infer *in) {
    tn_meta x;

    if (!math_start_view(in, &x)) return TN_ERR_INVALID;
    const int64_t size = in->args[1].i, dim = in->args[2].i, whole = x.sizes[dim];
    if (size < 1)
        return tnk_fail_shape(in, TN_ERR_INVALID, "size is %lld: it must be at least 1",
                              (long long)size);
    const int64_t count = whole ? (whole - 1) / size + 1 : 1;
    if (count > 1 << 20)
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%lld pieces are too many; choose a larger size",
                              (long long)count);
    const tn_dtype dtype = x.dtype; /* of a view: the argument's */
    tn_meta *outs = in->resize ? in->resize(in, (uint32_t)count) : NULL;
    if (!outs) return tn_fail(in, TN_ERR_NOMEM, "no memory for the list of pieces");
    for (int64_t i = 0; i < count; i++) {
        outs[i] = x, outs[i].dtype = dtype;
        outs[i].sizes[dim] = whole - i * size < size ? whole - i * size : size;
        outs[i].offset = i * size * x.strides[dim];
    }
    return TN_OK;
}

/* The gradients of all n results, joined along dim. */
static void set_joined(tn_grad_ctx *c, int64_t n, int64_t dim, bool new_dim) {
    static tn_op_ref stack = {"stack", 0, 0};
    tn_tensor **gs = math_new_list(n);

    if (!gs) return;
    for (int64_t i = 0; i < n; i++) gs[i] = tn_plugin_ops->grad_out(c, (uint32_t)i);
    const tn_value list = tn_value_tensors((tn_tensors){gs, n});
    set(c, "x", new_dim ? MATH_CALL(&stack, list, tn_int(dim)) : math_cat(gs, n, dim));
    tn_plugin_host->free(tn_plugin_self, gs);
}

void math_grad_split(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    const int64_t size = arg(c, "size").i, dim = math_from_end(arg(c, "dim").i, x.rank);
    set_joined(c, x.sizes[dim] ? (x.sizes[dim] - 1) / size + 1 : 1, dim, false);
}

/* Pieces whose sizes add up to the whole. */
tn_status math_shape_split_sizes(tn_infer *in) {
    const tn_value *sizes = &in->args[1];
    int64_t sum = 0;
    tn_meta x;

    if (!math_start_view(in, &x)) return TN_ERR_INVALID;
    const int64_t dim = in->args[2].i;
    if (sizes->aux == 0 || sizes->aux > 1 << 20)
        return tnk_fail_shape(in, TN_ERR_INVALID, "sizes has %u entries; it must have 1 to 2^20",
                              (unsigned)sizes->aux);
    for (uint32_t i = 0; i < sizes->aux; i++)
        if (__builtin_add_overflow(sum, sizes->ints[i], &sum))
            return tnk_fail_shape(in, TN_ERR_OVERFLOW, "sizes are too large together");
    if (sum != x.sizes[dim])
        return tnk_fail_shape(in, TN_ERR_SHAPE,
                              "sizes add up to %lld, but x has %lld along dim %lld", (long long)sum,
                              (long long)x.sizes[dim], (long long)dim);
    tn_meta *outs = in->resize ? in->resize(in, sizes->aux) : NULL;
    if (!outs) return tn_fail(in, TN_ERR_NOMEM, "no memory for the list of pieces");
    for (uint32_t i = 0; i < sizes->aux; i++) {
        outs[i] = x, outs[i].sizes[dim] = sizes->ints[i];
        x.offset += sizes->ints[i] * x.strides[dim];
    }
    return TN_OK;
}

void math_grad_split_sizes(tn_grad_ctx *c) {
    tn_meta x;

    if (meta_of(c, "x", &x))
        set_joined(c, arg(c, "sizes").aux, math_from_end(arg(c, "dim").i, x.rank), false);
}

/* What select gives for every index along dim. */
tn_status math_shape_unbind(tn_infer *in) {
    tn_meta x;

    if (!math_start_view(in, &x)) return TN_ERR_INVALID;
    const int64_t dim = in->args[1].i, n = x.sizes[dim], stride = x.strides[dim];
    if (n > 1 << 16)
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%lld pieces are too many; select one by one",
                              (long long)n);
    for (int32_t i = (int32_t)dim; i + 1 < x.rank; i++)
        x.sizes[i] = x.sizes[i + 1], x.strides[i] = x.strides[i + 1];
    x.rank--;
    tn_meta *outs = in->resize ? in->resize(in, (uint32_t)n) : NULL;
    if (!outs) return tn_fail(in, TN_ERR_NOMEM, "no memory for the list of pieces");
    for (int64_t i = 0; i < n; i++, x.offset += stride) outs[i] = x;
    return TN_OK;
}

void math_grad_unbind(tn_grad_ctx *c) {
    tn_meta x;

    if (!meta_of(c, "x", &x)) return;
    const int64_t dim = math_from_end(arg(c, "dim").i, x.rank);
    if (x.sizes[dim])
        set_joined(c, x.sizes[dim], dim, true);
    else
        set(c, "x", NULL);
}

static tn_status give_list(tn_op_ref *op, tn_tensor *x, tn_value how, int64_t dim, tn_value *outs) {
    const tn_value args[] = {tn_value_tensor(x), how, tn_int(dim)};
    return tn_plugin_ops->call(op, args, 3, outs, 1);
}

tn_status math_compose_chunk(const tn_value *args, uint32_t n_args, tn_value *outs,
                             uint32_t n_outs) {
    static tn_op_ref split = {"split", 0, 0};
    const int64_t chunks = args[1].i, dim = args[2].i;
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t size = m.sizes[dim];
    return give_list(&split, x, tn_int(size > chunks ? (size - 1) / chunks + 1 : 1), dim, outs);
}

/* Sections of sizes that differ by at most 1, the larger first. */
tn_status math_compose_tensor_split(const tn_value *args, uint32_t n_args, tn_value *outs,
                                    uint32_t n_outs) {
    static tn_op_ref split = {"split.sizes", 0, 0};
    const int64_t n = args[1].i, dim = args[2].i;
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (n > 1 << 20)
        return tnk_raise(TN_ERR_OVERFLOW, "tensor_split: %lld sections are too many", (long long)n);
    int64_t *sizes = tn_plugin_host->alloc(tn_plugin_self, (uint64_t)n * sizeof *sizes);
    if (!sizes) return tnk_raise(TN_ERR_NOMEM, "tensor_split: no memory for the sizes");
    for (int64_t i = 0; i < n; i++) sizes[i] = m.sizes[dim] / n + (i < m.sizes[dim] % n);
    const tn_status status = give_list(&split, x, tn_value_ints((tn_ints){sizes, n}), dim, outs);
    tn_plugin_host->free(tn_plugin_self, sizes);
    return status;
}
