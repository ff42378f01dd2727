/* join.c - tensors joined, and cut into lists.
 *
 * Invariant: lists are views of the argument; their memory is the inner op's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/calls.h"
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
static bool is_nothing(int32_t rank, const int64_t *sizes) { return rank == 1 && sizes[0] == 0; }

tn_status math_shape_cat(tn_infer *in) {
    int64_t sizes[TN_MAX_RANK], dim, total = 0;

    if (!has_list(in)) return no_list(in);
    const tn_view *const *xs = in->args[0].views, *first = xs[0];
    for (uint32_t i = 1; is_nothing(first->rank, first->sizes) && i < in->args[0].aux; i++)
        first = xs[i];
    if (is_nothing(first->rank, first->sizes))
        return math_set_sizes(in, &in->outs[0], first->sizes, 1, "result");
    const tn_status status = checked_dim(in, first, 0, &dim);
    if (status) return status;
    for (uint32_t i = 0; i < in->args[0].aux; i++) {
        if (is_nothing(xs[i]->rank, xs[i]->sizes)) continue;
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

/* To be filled, and freed by the host. NULL: an error is pending. */
static tn_tensor **new_list(int64_t n) {
    tn_tensor **list = tn_plugin_host->alloc(tn_plugin_self, (n ? (uint64_t)n : 1) * sizeof *list);
    if (!list) tnk_raise(TN_ERR_NOMEM, "no memory for a list of tensors");
    return list;
}

/* Each input gets its part of the gradient; only their sizes are needed. */
void math_grad_cat(math_grad_cat_ctx *c) {
    const uint32_t n = TNK_COUNT(c, xs);
    tn_tensor *g = TNK_GRAD(c, 0), **gs = n ? new_list(n) : NULL;
    tn_meta y, x;

    if (!gs) return;
    int64_t start = 0;
    const int64_t dim = tnk_meta(g, &y) ? math_from_end(TNK_ARG(c, dim), y.rank) : 0;
    for (uint32_t i = 0; i < n; i++) {
        gs[i] = NULL;
        if (!TNK_META_AT(c, xs, i, &x)) break;     /* an error is pending */
        if (is_nothing(x.rank, x.sizes)) continue; /* and has no gradient */
        gs[i] = math_narrow(g, dim, start, x.sizes[dim]);
        start += x.sizes[dim];
    }
    if (tn_plugin_ops->error() == TN_OK) TNK_SET_GRAD(c, xs, (tn_tensors){gs, n});
    tn_plugin_host->free(tn_plugin_self, gs);
}

static tn_tensor *nothing_of(tn_tensor *x) { /* [0], of x's dtype */
    return math_reshape(math_narrow(x, 0, 0, 0), (int64_t[]){0}, 1);
}

/* The dtype that a list has in common: what the core says that adding its members gives. */
static bool common_dtype(tn_tensors xs, tn_dtype *out) {
    tn_meta m;

    if (!tnk_meta(xs.ptr[0], &m)) return false;
    *out = m.dtype;
    for (int64_t i = 1; i < xs.n; i++) {
        if (!tnk_meta(xs.ptr[i], &m)) return false;
        if (tn_dtype_is(m.dtype, *out)) continue;
        tn_tensor *sum = tn_to(nothing_of(xs.ptr[0]), *out);
        if (!tnk_meta(tn_add(sum, nothing_of(xs.ptr[i])), &m)) return false;
        *out = m.dtype;
    }
    return true;
}

tn_tensor *math_compose_cat(tn_tensors xs, int64_t dim) {
    tn_device device;
    tn_dtype dtype;
    tn_meta x, y;

    if (!common_dtype(xs, &dtype) || !tnk_meta(xs.ptr[0], &y)) return NULL;
    if (tn_plugin_ops->device(xs.ptr[0], &device) != TN_OK) return NULL;
    for (int64_t i = 1; is_nothing(y.rank, y.sizes) && i < xs.n; i++)
        if (!tnk_meta(xs.ptr[i], &y)) return NULL;
    dim = is_nothing(y.rank, y.sizes) ? 0 : math_from_end(dim, y.rank);
    y.sizes[dim] = 0;
    for (int64_t i = 0; i < xs.n; i++) {
        if (!tnk_meta(xs.ptr[i], &x)) return NULL;
        if (!is_nothing(x.rank, x.sizes))
            y.sizes[dim] += x.sizes[dim]; /* checked by the shape rule */
    }
    tn_tensor *whole = tn_plugin_ops->empty((tn_ints){y.sizes, y.rank}, dtype, device);
    for (int64_t i = 0, start = 0; i < xs.n; i++) {
        if (!tnk_meta(xs.ptr[i], &x)) return NULL;
        if (is_nothing(x.rank, x.sizes)) continue;
        if (!tn_copy_(math_narrow(whole, dim, start, x.sizes[dim]), xs.ptr[i])) return NULL;
        start += x.sizes[dim];
    }
    return whole;
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

tn_tensor *math_compose_stack(tn_tensors xs, int64_t dim) {
    tn_tensor **list = new_list(xs.n);

    if (!list) return NULL;
    for (int64_t i = 0; i < xs.n; i++) list[i] = tn_unsqueeze(xs.ptr[i], dim);
    tn_tensor *y = op_cat((tn_tensors){list, xs.n}, dim);
    tn_plugin_host->free(tn_plugin_self, list);
    return y;
}

/* Joined once each has `least` dims: vectors become rows, numbers vectors. */
static tn_tensor *joined(tn_tensors xs, int32_t least) {
    tn_tensor **list = new_list(xs.n);
    tn_meta m = {.rank = 1};

    if (!list) return NULL;
    for (int64_t i = 0; i < xs.n; i++) {
        list[i] = xs.ptr[i];
        for (int32_t rank = tnk_meta(list[i], &m) ? m.rank : least; rank < least; rank++)
            list[i] = tn_unsqueeze(list[i], 0);
    }
    tn_tensor *y = op_cat((tn_tensors){list, xs.n}, least == 1 && m.rank > 1);
    tn_plugin_host->free(tn_plugin_self, list);
    return y;
}

tn_tensor *math_compose_hstack(tn_tensors xs) { return joined(xs, 1); }

tn_tensor *math_compose_vstack(tn_tensors xs) { return joined(xs, 2); }

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

/* The gradients of all n results; NULL: an error is pending. */
static tn_tensor **result_grads(tn_grad_ctx *c, int64_t n) {
    tn_tensor **gs = new_list(n);
    for (int64_t i = 0; gs && i < n; i++) gs[i] = TNK_GRAD(c, (uint32_t)i);
    return gs;
}

/* Joined along dim. */
static tn_tensor *joined_grads(tn_grad_ctx *c, int64_t n, int64_t dim) {
    tn_tensor **gs = result_grads(c, n);

    if (!gs) return NULL;
    tn_tensor *dx = op_cat((tn_tensors){gs, n}, dim);
    tn_plugin_host->free(tn_plugin_self, gs);
    return dx;
}

void math_grad_split(math_grad_split_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    const int64_t size = TNK_ARG(c, size), dim = math_from_end(TNK_ARG(c, dim), x.rank);
    const int64_t n = x.sizes[dim] ? (x.sizes[dim] - 1) / size + 1 : 1;
    TNK_SET_GRAD(c, x, joined_grads(TNK_CTX(c), n, dim));
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

void math_grad_split_sizes(math_grad_split_sizes_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    const int64_t dim = math_from_end(TNK_ARG(c, dim), x.rank);
    TNK_SET_GRAD(c, x, joined_grads(TNK_CTX(c), TNK_ARG(c, sizes).n, dim));
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

void math_grad_unbind(math_grad_unbind_ctx *c) {
    tn_meta x;

    if (!TNK_META_OF(c, x, &x)) return;
    const int64_t dim = math_from_end(TNK_ARG(c, dim), x.rank);
    tn_tensor **gs = x.sizes[dim] ? result_grads(TNK_CTX(c), x.sizes[dim]) : NULL;
    TNK_SET_GRAD(c, x, gs ? op_stack((tn_tensors){gs, x.sizes[dim]}, dim) : NULL);
    if (gs) tn_plugin_host->free(tn_plugin_self, gs);
}

tn_tensors math_compose_chunk(tn_tensor *x, int64_t chunks, int64_t dim) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return (tn_tensors){NULL, 0};
    const int64_t size = m.sizes[dim];
    return op_split(x, size > chunks ? (size - 1) / chunks + 1 : 1, dim);
}

/* Sections of sizes that differ by at most 1, the larger first. */
tn_tensors math_compose_tensor_split(tn_tensor *x, int64_t sections, int64_t dim) {
    tn_tensors y = {NULL, 0};
    tn_meta m;

    if (!tnk_meta(x, &m)) return y;
    int64_t *sizes = NULL;
    if (sections > 1 << 20)
        tnk_raise(TN_ERR_OVERFLOW, "tensor_split: %lld sections are too many", (long long)sections);
    else if (!(sizes = tn_plugin_host->alloc(tn_plugin_self, (uint64_t)sections * sizeof *sizes)))
        tnk_raise(TN_ERR_NOMEM, "tensor_split: no memory for the sizes");
    if (!sizes) return y;
    for (int64_t i = 0; i < sections; i++)
        sizes[i] = m.sizes[dim] / sections + (i < m.sizes[dim] % sections);
    y = op_split_sizes(x, (tn_ints){sizes, sections}, dim);
    tn_plugin_host->free(tn_plugin_self, sizes);
    return y;
}
