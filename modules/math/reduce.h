/* reduce.h - what reductions share: the elements that go into one result.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_REDUCE_H
#define TENON_MATH_REDUCE_H

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* ---- Shape rules ----------------------------------------------------------------------------- */

static inline const tn_view *x_of(tn_infer *in) {
    if (in->n_args > 0 && in->args[0].tag == TN_TAG_VIEW) return in->args[0].view;
    tnk_fail_shape(in, TN_ERR_INVALID, "x is missing");
    return NULL;
}

/* Of booleans and integers in i64, so that counting does not wrap around. */
static inline void widen(tn_infer *in, const tn_view *x) {
    if (!tn_dtype_in(x->dtype, TN_MASK_FLOAT)) in->outs[0].dtype = TN_I64;
}

/* Bit i: dim i is reduced. No dim given means all. */
uint32_t math_reduced_dims(const tn_infer *, int32_t rank);
/* x's sizes without those dims, or with 1 there as keepdim says, for every result. */
tn_status math_reduced_shape(tn_infer *, const tn_view *x, uint32_t dims);
/* The same; picking from no elements at all is an error (sort.c). */
tn_status math_pick(tn_infer *, const tn_view *x, uint32_t dims);

/* ---- Decompositions and derivatives ---------------------------------------------------------- */

typedef struct math_span { /* the elements of x that go into one result */
    tn_meta x, kept;       /* kept: x's sizes, 1 in reduced dims */
    int64_t dims[TN_MAX_RANK], n_dims;
    double n; /* how many */
} math_span;

/* Of r->x, which is known; dim may count from the end, and none means all. */
void math_span_over(math_span *r, tn_ints dim);
/* A result or its gradient with reduced dims of size 1, so that it broadcasts with x. */
tn_tensor *math_as_kept(const math_span *, tn_tensor *t);
/* g shared evenly among the elements of x where `chosen` holds, times sign if that is given. The
 * others get 0, whatever g is. */
tn_tensor *math_share(const math_span *, tn_tensor *g, tn_tensor *chosen, tn_tensor *sign);
/* t, with `other` where it is 0: what is divided by, or raised to a power. */
tn_tensor *math_nonzero_or(tn_tensor *t, double other);

#endif
