/* shapes.c - shape rules of creation, reduction and loss ops, and the size arithmetic that all
 * rules share.
 *
 * Invariant: a rule either fills every result or fails with a text that names the argument and both
 * sizes; no size is computed without an overflow check.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/rows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>

/* ---- Shared ------------------------------------------------------------------------------- */

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

static const tn_view *view_of(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag == TN_TAG_VIEW ? in->args[i].view : NULL;
}

static tn_status like(tn_infer *in, uint32_t argument, const char *name) {
    const tn_view *v = view_of(in, argument);
    return v ? math_set_sizes(in, &in->outs[0], v->sizes, v->rank, name)
             : tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", name);
}

/* ---- Create and copy ---------------------------------------------------------------------- */

/* The result is dst; src must broadcast to it. */
tn_status math_shape_copy(tn_infer *in) {
    const tn_view *dst = view_of(in, 0), *src = view_of(in, 1);
    char to[TNK_LIST_BYTES], from[TNK_LIST_BYTES];
    tn_meta both;

    if (!dst || !src)
        return tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", dst ? "src" : "dst");
    math_view_meta(dst, &both);
    if (src->rank > dst->rank || !math_broadcast(&both, src->sizes, src->rank) ||
        memcmp(both.sizes, dst->sizes, (size_t)dst->rank * sizeof *dst->sizes) != 0)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "src%s cannot be broadcast to dst%s",
                              tnk_sizes_text(src->sizes, src->rank, from),
                              tnk_sizes_text(dst->sizes, dst->rank, to));
    return like(in, 0, "dst");
}

static bool number_of(const tn_infer *in, uint32_t i, double *out) {
    if (i >= in->n_args) return false;
    const tn_value *v = &in->args[i];
    *out = v->tag == TN_TAG_FLOAT ? v->f : (double)v->i;
    return v->tag == TN_TAG_FLOAT || v->tag == TN_TAG_INT || v->tag == TN_TAG_BOOL;
}

static bool is_whole(const tn_value *v) { return v->tag == TN_TAG_INT || v->tag == TN_TAG_BOOL; }

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

/* ceil((end - start) / step) of three integers: the span may need 65 bits, so it is taken apart in
 * unsigned numbers. */
static bool whole_count(int64_t start, int64_t end, int64_t step, double *count) {
    if (step == 0 || (step > 0 ? end < start : end > start)) return false;
    const uint64_t a = (uint64_t)start, b = (uint64_t)end, s = (uint64_t)step;
    const uint64_t span = step > 0 ? b - a : a - b, stride = step > 0 ? s : 0 - s;
    *count = (double)(span / stride + (span % stride != 0));
    return true;
}

/* How many elements there are. False: step is 0 or points away. */
static bool arange_count(const tn_infer *in, double *count) {
    double start, end, step;

    if (!number_of(in, 0, &start) || !number_of(in, 1, &end) || !number_of(in, 2, &step))
        return false;
    if (is_whole(&in->args[0]) && is_whole(&in->args[1]) && is_whole(&in->args[2]))
        return whole_count(in->args[0].i, in->args[1].i, in->args[2].i, count);
    if (step == 0 || !isfinite(start) || !isfinite(end) || !isfinite(step)) return false;
    *count = ceil((end - start) / step);
    return *count >= 0;
}

static void set_dtype(tn_infer *in, uint32_t argument) {
    if (argument < in->n_args && in->args[argument].tag == TN_TAG_DTYPE)
        in->outs[0].dtype = in->args[argument].dtype;
}

tn_status math_shape_arange(tn_infer *in) {
    double count;

    if (!arange_count(in, &count))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "start, end and step must be finite numbers, and step must lead from "
                              "start towards end");
    if (count > 1e15)
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%g elements are more than memory can hold",
                              count);
    set_dtype(in, 3); /* a shape rule may overrule the dtype that the schema presets */
    if (in->outs[0].dtype.bits == 64 && !math_holds(in->outs[0].dtype, in->args[0]))
        return tnk_fail_shape(in, TN_ERR_INVALID, "start is no number of the dtype");
    const int64_t n = (int64_t)count;
    return math_set_sizes(in, &in->outs[0], &n, 1, "result");
}

tn_status math_shape_to(tn_infer *in) {
    set_dtype(in, 1);
    return like(in, 0, "x");
}

static tn_status from_sizes(tn_infer *in, uint32_t argument, const char *name) {
    const tn_value *v = &in->args[argument];
    if (argument >= in->n_args || v->tag != TN_TAG_INTS)
        return tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", name);
    return math_set_sizes(in, &in->outs[0], v->ints, v->aux, name);
}

/* normal, uniform: sizes and dtype as asked */
tn_status math_shape_random(tn_infer *in) {
    set_dtype(in, 3);
    const int index = tn_dtype_index(in->outs[0].dtype);
    if (index < 0 || !(UINT64_C(1) << index & TN_MASK_FLOAT))
        return tnk_fail_shape(in, TN_ERR_DTYPE,
                              "dtype must be a floating one: f16, bf16, f32 or f64");
    return from_sizes(in, 0, "sizes");
}

/* uniform: (low, high) are numbers of the dtype, and so is their distance in f64 */
tn_status math_shape_uniform(tn_infer *in) {
    const tn_status status = math_shape_random(in);
    const tn_dtype d = in->outs[0].dtype;
    double low, high;

    if (status) return status;
    if (!number_of(in, 1, &low) || !number_of(in, 2, &high))
        return tnk_fail_shape(in, TN_ERR_INVALID, "low or high is missing");
    if (!isfinite(low) || !isfinite(high) || !math_holds(d, tn_float(low)) ||
        !math_holds(d, tn_float(high)))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "low is %g and high %g: both must be numbers of the dtype", low,
                              high);
    if (low > high || !isfinite(high - low))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "low is %g and high %g: high must not be below low, nor further away "
                              "than a number can be",
                              low, high);
    return TN_OK;
}

/* random_bits: sizes; i32 or i64 */
tn_status math_shape_random_bits(tn_infer *in) {
    set_dtype(in, 1);
    if (!tn_dtype_is(in->outs[0].dtype, TN_I32) && !tn_dtype_is(in->outs[0].dtype, TN_I64))
        return tnk_fail_shape(in, TN_ERR_DTYPE, "dtype must be i32 or i64");
    return from_sizes(in, 0, "sizes");
}

/* Every whole number from low to high - 1 must be one of the dtype. */
static bool holds(tn_dtype d, int64_t low, int64_t high) {
    const int index = tn_dtype_index(d);
    if (index == TN_IX_BOOL) return low >= 0 && high <= 2;
    if (index < 0 || !(UINT64_C(1) << index & (TN_MASK_INT | TN_MASK_FLOAT))) return false;
    const bool is_float = (UINT64_C(1) << index & TN_MASK_FLOAT) != 0;
    const int bits = index == TN_IX_F64    ? 53
                     : index == TN_IX_F32  ? 24
                     : index == TN_IX_F16  ? 11
                     : index == TN_IX_BF16 ? 8
                                           : d.bits - (d.code == 0);
    if (bits >= 63) return true;
    const int64_t limit = INT64_C(1) << bits;
    return high <= limit + is_float && low >= (d.code == 1 ? 0 : -limit);
}

/* randint: (low, high, sizes, dtype) */
tn_status math_shape_randint(tn_infer *in) {
    const int64_t low = in->args[0].i, high = in->args[1].i;

    set_dtype(in, 3);
    if (low >= high)
        return tnk_fail_shape(in, TN_ERR_INVALID, "low is %lld and high %lld: high must be larger",
                              (long long)low, (long long)high);
    if (!holds(in->outs[0].dtype, low, high))
        return tnk_fail_shape(in, TN_ERR_DTYPE,
                              "dtype does not hold every number from %lld to %lld", (long long)low,
                              (long long)high - 1);
    return from_sizes(in, 2, "sizes");
}

/* randperm: (n, dtype) */
tn_status math_shape_randperm(tn_infer *in) {
    const int64_t n = in->args[0].i;

    set_dtype(in, 1);
    if (tn_dtype_is(in->outs[0].dtype, TN_BOOL))
        return tnk_fail_shape(in, TN_ERR_DTYPE, "dtype must be one of numbers, not bool");
    if (!holds(in->outs[0].dtype, 0, n))
        return tnk_fail_shape(in, TN_ERR_DTYPE, "dtype does not hold every number below n, %lld",
                              (long long)n);
    return math_set_sizes(in, &in->outs[0], &n, 1, "n");
}

/* multinomial: (probs, num_samples, replacement) */
tn_status math_shape_multinomial(tn_infer *in) {
    const tn_view *probs = view_of(in, 0);
    const int64_t n = in->args[1].i;

    if (!probs || probs->rank < 1 || probs->rank > 2)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "probs must have rank 1 or 2");
    const int64_t kinds = probs->sizes[probs->rank - 1];
    if (kinds == 0) return tnk_fail_shape(in, TN_ERR_SHAPE, "probs has nothing to choose from");
    if (!in->args[2].i && n > kinds)
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "num_samples is %lld, but without replacement there are only %lld",
                              (long long)n, (long long)kinds);
    if (probs->rank == 1) return math_set_sizes(in, &in->outs[0], &n, 1, "result");
    return math_set_sizes(in, &in->outs[0], (int64_t[]){probs->sizes[0], n}, 2, "result");
}

/* slice_bwd, select_bwd */
tn_status math_shape_sizes(tn_infer *in) { return from_sizes(in, 1, "sizes"); }

/* ---- Losses and counts -------------------------------------------------------------------- */

tn_status math_shape_scalar(tn_infer *in) {
    in->outs[0].rank = 0;
    return TN_OK;
}

tn_status math_shape_one_hot(tn_infer *in) {
    const tn_view *x = view_of(in, 0);
    int64_t sizes[TN_MAX_RANK + 1];

    if (!x || in->n_args < 2) return tnk_fail_shape(in, TN_ERR_INVALID, "x or classes is missing");
    for (int32_t i = 0; i < x->rank; i++) sizes[i] = x->sizes[i];
    sizes[x->rank] = in->args[1].i;
    return math_set_sizes(in, &in->outs[0], sizes, (int64_t)x->rank + 1, "result");
}

tn_status math_shape_nonzero_fill(tn_infer *in) {
    const tn_view *x = view_of(in, 0);

    if (!x || in->n_args < 2) return tnk_fail_shape(in, TN_ERR_INVALID, "x or n is missing");
    return math_set_sizes(in, &in->outs[0], (int64_t[]){in->args[1].i, x->rank}, 2, "result");
}
