/* shapes.c - sizes, and what shape rules of several topics ask.
 *
 * Invariant: a rule either fills every result or fails with a text that names the argument and both
 * sizes; no size is computed without an overflow check.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/shapes.h"

#include <math.h>
#include <string.h>

bool math_sizes_fit(const int64_t *sizes, int32_t rank) {
    int64_t product = 8; /* bytes of the widest dtype */

    for (int32_t i = 0; i < rank; i++) {
        if (sizes[i] < 0) return false;
        if (sizes[i] && __builtin_mul_overflow(product, sizes[i], &product)) return false;
    }
    return true;
}

tn_status math_set_sizes(tn_infer *in, tn_meta *out, const int64_t *sizes, int64_t rank,
                         const char *what) {
    if (rank < 0 || rank > TN_MAX_RANK)
        return tnk_fail_shape(in, TN_ERR_SHAPE,
                              "%s: rank %lld is more than the %d a tensor can have", what,
                              (long long)rank, TN_MAX_RANK);
    for (int64_t i = 0; i < rank; i++)
        if (sizes[i] < 0)
            return tnk_fail_shape(in, TN_ERR_INVALID, "%s: size %lld in dim %lld is negative", what,
                                  (long long)sizes[i], (long long)i);
    if (!math_sizes_fit(sizes, (int32_t)rank)) {
        char text[TNK_LIST_BYTES];
        return tnk_fail_shape(in, TN_ERR_OVERFLOW,
                              "%s: a tensor of sizes %s has more elements than memory can hold",
                              what, tnk_sizes_text(sizes, (int32_t)rank, text));
    }
    out->rank = (int32_t)rank;
    if (rank) memmove(out->sizes, sizes, (size_t)rank * sizeof *sizes);
    return TN_OK;
}

void math_view_meta(const tn_view *v, tn_meta *out) {
    memset(out, 0, sizeof *out);
    out->dtype = v->dtype, out->rank = v->rank;
    for (int32_t i = 0; i < v->rank; i++)
        out->sizes[i] = v->sizes[i], out->strides[i] = v->strides[i];
}

int64_t math_meta_numel(const tn_meta *m) {
    int64_t n = 1;
    for (int32_t i = 0; i < m->rank; i++) n *= m->sizes[i];
    return n;
}

/* Dims are aligned at the right; a size of 1 gives way. */
bool math_broadcast(tn_meta *into, const int64_t *sizes, int32_t rank) {
    if (rank > into->rank) {
        const int32_t more = rank - into->rank;
        memmove(into->sizes + more, into->sizes, (size_t)into->rank * sizeof *sizes);
        for (int32_t i = 0; i < more; i++) into->sizes[i] = 1;
        into->rank = rank;
    }
    for (int32_t i = 0; i < rank; i++) {
        int64_t *size = &into->sizes[into->rank - rank + i];
        if (*size == 1)
            *size = sizes[i];
        else if (sizes[i] != 1 && sizes[i] != *size)
            return false;
    }
    return true;
}

bool math_number_of(const tn_infer *in, uint32_t i, double *out) {
    if (i >= in->n_args) return false;
    const tn_value *v = &in->args[i];
    *out = v->tag == TN_TAG_FLOAT ? v->f : (double)v->i;
    return v->tag == TN_TAG_FLOAT || v->tag == TN_TAG_INT || v->tag == TN_TAG_BOOL;
}

bool math_holds(tn_dtype d, tn_value number) {
    const bool is_int = tn_dtype_index(d) >= 0 && d.code <= 1;
    if (is_int && is_whole(&number) && d.bits == 64) return true;
    const double x = number.tag == TN_TAG_FLOAT ? number.f : (double)number.i;
    if (is_int) {
        const double end = ldexp(1, d.bits - (d.code == 0)), whole = trunc(x);
        return whole >= (d.code == 0 ? -end : 0) && whole < end;
    }
    if (!isfinite(x) || tn_dtype_is(d, TN_BOOL)) return true;
    return fabs(x) <= (tn_dtype_is(d, TN_F16)    ? 65504
                       : tn_dtype_is(d, TN_BF16) ? 0x1.fep127
                       : tn_dtype_is(d, TN_F32)  ? 0x1.fffffep127
                                                 : 0x1.fffffffffffffp1023);
}

void math_set_dtype(tn_infer *in, uint32_t argument) {
    if (argument < in->n_args && in->args[argument].tag == TN_TAG_DTYPE)
        in->outs[0].dtype = in->args[argument].dtype;
}

tn_status math_from_sizes(tn_infer *in, uint32_t argument, const char *name) {
    const tn_value *v = &in->args[argument];
    if (argument >= in->n_args || v->tag != TN_TAG_INTS)
        return tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", name);
    return math_set_sizes(in, &in->outs[0], v->ints, v->aux, name);
}

/* All tensors broadcast to the result; one alone gives it its shape. */
tn_status math_broadcast_all(tn_infer *in) {
    tn_meta *y = &in->outs[0];
    char have[TNK_LIST_BYTES], want[TNK_LIST_BYTES];

    y->rank = 0;
    for (uint32_t i = 0; i < in->n_args; i++) {
        const tn_view *v = view_of(in, i);
        if (!v || math_broadcast(y, v->sizes, v->rank)) continue;
        return tnk_fail_shape(in, TN_ERR_SHAPE, "%s does not broadcast to %s",
                              tnk_sizes_text(v->sizes, v->rank, have),
                              tnk_sizes_text(y->sizes, y->rank, want));
    }
    return TN_OK;
}

/* Integers are scaled by the integer that is left of the factor, as in PyTorch; a negative one
 * wraps what has no sign. */
tn_status math_check_factor(tn_infer *in, uint32_t i, const char *name) {
    const tn_dtype d = in->outs[0].dtype;

    if (i >= in->n_args || in->args[i].tag == TN_TAG_NONE || math_holds(d, in->args[i]))
        return TN_OK;
    const double x = as_float(&in->args[i]);
    if (tn_dtype_in(d, TN_MASK_FLOAT) || (d.code == 1 && math_holds(d, tn_float(-x)))) return TN_OK;
    return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%s is %.17g, which the tensors' dtype cannot hold",
                          name, x);
}

/* in's first argument as the start of outs[0], to be changed. False: failed. */
bool math_start_view(tn_infer *in, tn_meta *y) {
    if (in->n_args < 1 || in->args[0].tag != TN_TAG_VIEW) {
        tnk_fail_shape(in, TN_ERR_INVALID, "x is missing");
        return false;
    }
    math_view_meta(in->args[0].view, y);
    return true;
}

tn_status math_finish_view(tn_infer *in, const tn_meta *y) {
    const tn_dtype dtype = in->outs[0].dtype;

    in->outs[0] = *y;
    in->outs[0].dtype = dtype;
    return TN_OK;
}
