/* shapes.h - sizes and strides, and what shape rules ask and say.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_SHAPES_H
#define TENON_MATH_SHAPES_H

#include <string.h>

#include "modules/math/math_rows.h"

/* ---- Sizes and strides ----------------------------------------------------------------------- */

/* Is the number, truncated for an integer dtype, between the dtype's smallest and largest one? inf
 * and NaN are floating. */
bool math_holds(tn_dtype, tn_value number);
/* True if the sizes are >= 0 and their product (with 0 counted as 1, so that no order of dims
 * overflows) fits. */
bool math_sizes_fit(const int64_t *sizes, int32_t rank);
/* Fills out's rank and sizes; INVALID or OVERFLOW if they cannot be. `what` is the argument they
 * came from. */
tn_status math_set_sizes(tn_infer *, tn_meta *out, const int64_t *sizes, int64_t rank,
                         const char *what);
/* Rank, sizes and strides of a view; offset 0. */
void math_view_meta(const tn_view *, tn_meta *out);
int64_t math_meta_numel(const tn_meta *); /* of a tensor that exists: cannot overflow */
/* OVERFLOW if result 0 is one of integers and argument i, truncated, is not among them. */
tn_status math_check_factor(tn_infer *, uint32_t i, const char *name);
bool math_broadcast(tn_meta *into, const int64_t *sizes, int32_t rank); /* false: they do not fit */

/* ---- What rules ask -------------------------------------------------------------------------- */

/* Argument i, if it is a number. */
bool math_number_of(const tn_infer *, uint32_t i, double *out);
/* The result has the dtype that argument i names, if it names one. */
void math_set_dtype(tn_infer *, uint32_t i);
/* The result has the sizes that argument i, an int[], gives. */
tn_status math_from_sizes(tn_infer *, uint32_t i, const char *name);
/* All tensors broadcast to the result; one alone gives it its shape. */
tn_status math_broadcast_all(tn_infer *);
/* Bounds, arguments 1 and 2, that the dtype of the result can hold (ewise.c). */
tn_status math_check_bounds(tn_infer *);
/* A view begins as its argument, and becomes result 0. False: failed. */
bool math_start_view(tn_infer *, tn_meta *y);
tn_status math_finish_view(tn_infer *, const tn_meta *y);

static inline bool is_whole(const tn_value *v) {
    return v->tag == TN_TAG_INT || v->tag == TN_TAG_BOOL;
}

static inline bool is_integer(tn_dtype d) { return d.code <= 1; }

static inline double as_float(const tn_value *v) {
    return v->tag == TN_TAG_FLOAT ? v->f : (double)v->i;
}

static inline int64_t clip(int64_t i, int64_t low, int64_t high) {
    return i < low ? low : i > high ? high : i;
}

static inline const tn_view *view_of(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag == TN_TAG_VIEW ? in->args[i].view : NULL;
}

static inline tn_status missing(tn_infer *in) {
    return tn_fail(in, TN_ERR_INVALID, "a required tensor is missing");
}

/* Fails with "a[..] and b[..]: rule". */
static inline tn_status mismatch(tn_infer *in, const char *a_name, const tn_view *a,
                                 const char *b_name, const tn_view *b, const char *rule) {
    char a_text[TNK_LIST_BYTES], b_text[TNK_LIST_BYTES];
    return tnk_fail_shape(in, TN_ERR_SHAPE, "%s%s and %s%s: %s", a_name,
                          tnk_sizes_text(a->sizes, a->rank, a_text), b_name,
                          tnk_sizes_text(b->sizes, b->rank, b_text), rule);
}

static inline bool same_sizes(const tn_view *a, const tn_view *b) {
    return a->rank == b->rank &&
           (!a->rank || !memcmp(a->sizes, b->sizes, (size_t)a->rank * sizeof *a->sizes));
}

#endif
