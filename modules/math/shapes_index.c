/* shapes_index.c - shape rules of ops that pick or spread elements by index.
 *
 * Invariant: sizes are compared here, values of indices by the kernels.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/shapes.h"

#include <stdio.h>

/* ---- An index for every element ----------------------------------------------------------- */

/* What is 0-dim counts as one dim of size 1. */
static int32_t rank_of(const tn_view *v) { return v->rank ? v->rank : 1; }
static int64_t size_of(const tn_view *v, int32_t dim) { return v->rank ? v->sizes[dim] : 1; }

/* index must not reach outside v, save along dim (-1: along none), where the values decide. */
static bool index_inside(const tn_view *index, const tn_view *v, int64_t dim) {
    if (rank_of(index) != rank_of(v)) return false;
    for (int32_t i = 0; i < rank_of(v); i++)
        if (i != dim && size_of(index, i) > size_of(v, i)) return false;
    return true;
}

/* Is the index, argument 2, one for x, argument 0? */
static tn_status check_index(tn_infer *in, const tn_view *x, const tn_view *index) {
    if (!x || !index) return missing(in);
    if (index_inside(index, x, in->args[1].i)) return TN_OK;
    return mismatch(in, "index", index, "x", x,
                    "ranks must be equal and index no larger than x, save along dim");
}

tn_status math_shape_gather(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 2);
    const tn_status status = check_index(in, x, index);
    return status ? status : math_set_sizes(in, &in->outs[0], index->sizes, index->rank, "index");
}

/* (x, dim, index, value): as x */
tn_status math_shape_scatter_value(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 2);
    const tn_status status = check_index(in, x, index);
    return status ? status : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* (x, dim, index, src): as x */
tn_status math_shape_scatter(tn_infer *in) {
    const tn_view *index = view_of(in, 2), *src = view_of(in, 3);

    if (!index || !src) return missing(in);
    if (!index_inside(index, src, -1))
        return mismatch(in, "index", index, "src", src,
                        "ranks must be equal and index no larger than src");
    return math_shape_scatter_value(in);
}

tn_status math_shape_scatter_reduce(tn_infer *in) {
    static const char *const reduces[] = {"sum", "prod", "mean", "amax", "amin"};
    const tn_value *word = &in->args[4];

    for (size_t i = 0; i < sizeof reduces / sizeof *reduces; i++)
        if (math_says(word, reduces[i])) return math_shape_scatter(in);
    return tnk_fail_shape(in, TN_ERR_INVALID,
                          "reduce is \"%.*s\"; it must be sum, prod, mean, amax or amin",
                          (int)(word->aux < 64 ? word->aux : 64), word->str);
}

/* ---- An index for every row --------------------------------------------------------------- */

/* index, argument 2, has rank 1, or rank 0 for one row; n is how many it names. */
static tn_status row_index(tn_infer *in, const tn_view *index, int64_t *n) {
    char text[TNK_LIST_BYTES];

    if (!index) return missing(in);
    *n = index->rank == 0 ? 1 : index->sizes[0];
    if (index->rank <= 1) return TN_OK;
    return tnk_fail_shape(in, TN_ERR_SHAPE, "index%s must have rank 1, or 0 for a single row",
                          tnk_sizes_text(index->sizes, index->rank, text));
}

/* As x, with index's length along dim. A 0-dim x has one row, itself. */
tn_status math_shape_index_select(tn_infer *in) {
    const tn_view *x = view_of(in, 0), *index = view_of(in, 2);
    int64_t n = 0;

    if (!x) return missing(in);
    const tn_status status = row_index(in, index, &n);
    if (status) return status;
    if (x->rank == 0 && n != 1)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "x is 0-dim: index must have 1 entry, not %lld",
                              (long long)n);
    math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
    if (x->rank) in->outs[0].sizes[in->args[1].i] = n;
    return math_set_sizes(in, &in->outs[0], in->outs[0].sizes, x->rank, "result");
}

tn_status math_shape_index_fill(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    int64_t n = 0;

    if (!x) return missing(in);
    const tn_status status = row_index(in, view_of(in, 2), &n);
    return status ? status : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

/* (x, dim, index, source): source is what index_select would give */
static tn_status index_source(tn_infer *in, bool ranks_alike) {
    const tn_view *x = view_of(in, 0), *source = view_of(in, 3);
    int64_t n = 0;

    if (!x || !source) return missing(in);
    const tn_status status = row_index(in, view_of(in, 2), &n);
    if (status) return status;
    const int64_t dim = in->args[1].i;
    bool fits = ranks_alike ? source->rank == x->rank : rank_of(source) == rank_of(x);
    for (int32_t i = 0; fits && i < rank_of(x); i++)
        fits = size_of(source, i) == (i == dim ? n : size_of(x, i));
    if (!fits)
        return mismatch(in, "source", source, "x", x,
                        "sizes must be equal, save along dim, where source has index's length");
    const tn_status scaled = math_check_factor(in, 4, "alpha");
    return scaled ? scaled : math_set_sizes(in, &in->outs[0], x->sizes, x->rank, "x");
}

tn_status math_shape_index_add(tn_infer *in) { return index_source(in, true); }
tn_status math_shape_index_copy(tn_infer *in) { return index_source(in, false); }

/* ---- Tables ------------------------------------------------------------------------------- */

/* index's sizes and a row */
tn_status math_shape_embedding(tn_infer *in) {
    const tn_view *weight = view_of(in, 0), *index = view_of(in, 1);
    int64_t sizes[TN_MAX_RANK + 1];

    if (!weight || !index) return missing(in);
    const tn_value *pad = &in->args[2];
    if (pad->tag == TN_TAG_INT && (pad->i < -weight->sizes[0] || pad->i >= weight->sizes[0]))
        return tnk_fail_shape(in, TN_ERR_INDEX, "padding_idx is %lld, but weight has %lld rows",
                              (long long)pad->i, (long long)weight->sizes[0]);
    for (int32_t i = 0; i < index->rank; i++) sizes[i] = index->sizes[i];
    sizes[index->rank] = weight->sizes[1];
    return math_set_sizes(in, &in->outs[0], sizes, (int64_t)index->rank + 1, "result");
}

/* (grad, index, num) -> [num, row] */
tn_status math_shape_embedding_bwd(tn_infer *in) {
    const tn_view *grad = view_of(in, 0), *index = view_of(in, 1);

    if (!grad || !index) return missing(in);
    bool fits = grad->rank == index->rank + 1;
    for (int32_t i = 0; fits && i < index->rank; i++) fits = grad->sizes[i] == index->sizes[i];
    if (!fits)
        return mismatch(in, "grad", grad, "index", index, "grad must have index's sizes and a row");
    return math_set_sizes(in, &in->outs[0], (int64_t[]){in->args[2].i, grad->sizes[grad->rank - 1]},
                          2, "result");
}

/* ---- Windows ------------------------------------------------------------------------------ */

/* (x, sizes, dim, size, step): x is what unfold gives for a tensor of these sizes */
tn_status math_shape_fold(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    const tn_value *sizes = &in->args[1];
    const int64_t dim = in->args[2].i, size = in->args[3].i, step = in->args[4].i;
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    if (!x) return missing(in);
    bool fits = (int64_t)sizes->aux + 1 == x->rank && dim < (int64_t)sizes->aux &&
                size <= sizes->ints[dim] && x->sizes[sizes->aux] == size;
    for (uint32_t i = 0; fits && i < sizes->aux; i++)
        fits = x->sizes[i] == (i == dim ? (sizes->ints[i] - size) / step + 1 : sizes->ints[i]);
    if (fits) return math_set_sizes(in, &in->outs[0], sizes->ints, sizes->aux, "sizes");
    const int32_t rank = sizes->aux < TN_MAX_RANK ? (int32_t)sizes->aux : TN_MAX_RANK;
    return tnk_fail_shape(
        in, TN_ERR_SHAPE,
        "x%s is not what unfold(dim %lld, size %lld, step %lld) gives for sizes %s",
        tnk_sizes_text(x->sizes, x->rank, have), (long long)dim, (long long)size, (long long)step,
        tnk_sizes_text(sizes->ints, rank, want));
}
