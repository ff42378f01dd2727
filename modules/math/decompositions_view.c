/* decompositions_view.c - views that are other views by another name.
 *
 * Invariant: nothing is copied but what flatten and unflatten cannot show without it; results share
 * the argument's memory and can be written through.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "modules/math/calls.h"

/* start may count from the end; start + length must stay inside. */
tn_status math_compose_narrow(const tn_value *args, uint32_t n_args, tn_value *outs,
                              uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    const int64_t dim = args[1].i, length = args[3].i;
    int64_t start = args[2].i;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    const int64_t size = m.sizes[dim];
    if (start < -size || start > size)
        return tnk_raise(TN_ERR_INDEX, "narrow: start is %lld, x has size %lld in dim %lld",
                         (long long)start, (long long)size, (long long)dim);
    if (start < 0) start += size;
    if (length > size - start)
        return tnk_raise(TN_ERR_INDEX,
                         "narrow: start %lld and length %lld reach beyond size %lld of dim %lld",
                         (long long)start, (long long)length, (long long)size, (long long)dim);
    return give(outs, math_narrow(x, dim, start, length));
}

tn_status math_compose_flatten(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    const int64_t first = args[1].i, last = args[2].i;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (m.rank == 0) return give(outs, tn_unsqueeze(x, 0));
    if (first > last)
        return tnk_raise(TN_ERR_INVALID, "flatten: start_dim %lld is behind end_dim %lld",
                         (long long)first, (long long)last);
    for (int64_t i = first + 1; i <= last; i++) m.sizes[first] *= m.sizes[i];
    for (int64_t i = last + 1; i < m.rank; i++) m.sizes[i - last + first] = m.sizes[i];
    return give(outs, math_reshape(x, m.sizes, m.rank - (int32_t)(last - first)));
}

/* One of sizes may be -1. */
tn_status math_compose_unflatten(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    const int64_t dim = args[1].i, n = args[2].aux;
    char why[TNK_LIST_BYTES] = "";
    tn_meta m, part, one = {.rank = 1};

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    one.sizes[0] = m.sizes[dim];
    if (n == 0 || m.rank - 1 + n > TN_MAX_RANK)
        return tnk_raise(TN_ERR_SHAPE, "unflatten: sizes has %lld entries, for x of rank %d",
                         (long long)n, (int)m.rank);
    if (!math_infer_sizes(&one, (tn_ints){args[2].ints, n}, &part, why))
        return tnk_raise(TN_ERR_SHAPE, "unflatten: dim %lld: %s", (long long)dim, why);
    memmove(m.sizes + dim + n, m.sizes + dim + 1, (size_t)(m.rank - dim - 1) * sizeof *m.sizes);
    memcpy(m.sizes + dim, part.sizes, (size_t)n * sizeof *m.sizes);
    return give(outs, tn_view_sizes(x, (tn_ints){m.sizes, m.rank - 1 + n}));
}

/* The dims of source go to those of destination; the others keep their order. */
tn_status math_compose_movedim(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    tn_tensor *x = math_arg(args, n_args, 0);
    int64_t from[TN_MAX_RANK];
    uint32_t placed = 0, moved = 0;
    tn_meta m;

    (void)n_outs;
    if (!tnk_meta(x, &m)) return tnk_pending();
    if (args[1].aux != args[2].aux)
        return tnk_raise(TN_ERR_INVALID, "movedim: source has %u dims, destination %u",
                         (unsigned)args[1].aux, (unsigned)args[2].aux);
    for (uint32_t i = 0; i < args[1].aux && m.rank; i++) {
        from[args[2].ints[i]] = args[1].ints[i];
        placed |= 1u << args[2].ints[i], moved |= 1u << args[1].ints[i];
    }
    for (int32_t i = 0, next = 0; i < m.rank; i++) {
        if (placed >> i & 1) continue;
        while (moved >> next & 1) next++;
        from[i] = next++;
    }
    return give(outs, tn_permute(x, (tn_ints){from, m.rank}));
}

/* (x, other): expand_as, view_as */
static tn_status like_other(const tn_value *args, uint32_t n_args, tn_value *outs, bool expand) {
    tn_tensor *x = math_arg(args, n_args, 0);
    tn_meta m;

    if (!tnk_meta(math_arg(args, n_args, 1), &m)) return tnk_pending();
    const tn_ints sizes = {m.sizes, m.rank};
    return give(outs, expand ? tn_expand(x, sizes) : tn_view_sizes(x, sizes));
}

tn_status math_compose_expand_as(const tn_value *args, uint32_t n_args, tn_value *outs,
                                 uint32_t n_outs) {
    (void)n_outs;
    return like_other(args, n_args, outs, true);
}

tn_status math_compose_view_as(const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs) {
    (void)n_outs;
    return like_other(args, n_args, outs, false);
}

/* ---- Lists: their memory is the inner op's ------------------------------------------------- */

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
