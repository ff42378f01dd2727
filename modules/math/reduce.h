/* reduce.h - what reductions share: the elements that go into one result.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_REDUCE_H
#define TENON_MATH_REDUCE_H

#include "modules/math/grads.h"
#include "modules/math/shapes.h"

/* ---- Shape rules ----------------------------------------------------------------------------- */

static inline const tn_view *x_of(tn_infer *in) {
    if (in->n_args > 0 && in->args[0].tag == TN_TAG_VIEW) return in->args[0].view;
    tnk_fail_shape(in, TN_ERR_INVALID, "x is missing");
    return NULL;
}

static inline bool is_float(tn_dtype d) {
    const int index = tn_dtype_index(d);
    return index >= 0 && (TN_MASK_FLOAT >> index & 1);
}

/* Of booleans and integers in i64, so that counting does not wrap around. */
static inline void widen(tn_infer *in, const tn_view *x) {
    if (!is_float(x->dtype)) in->outs[0].dtype = TN_I64;
}

/* Bit i: dim i is reduced. No dim given means all. */
uint32_t math_reduced_dims(const tn_infer *, int32_t rank);
/* x's sizes without those dims, or with 1 there as keepdim says, for every result. */
tn_status math_reduced_shape(tn_infer *, const tn_view *x, uint32_t dims);
/* The same; picking from no elements at all is an error (sort.c). */
tn_status math_pick(tn_infer *, const tn_view *x, uint32_t dims);

/* ---- Decompositions -------------------------------------------------------------------------- */

/* A reduction called with (x, .., dim, .., keepdim). */
typedef struct math_reduce_call {
    tn_tensor *x;
    tn_meta m; /* of x */
    tn_value dim, keepdim;
    double n; /* elements that go into one result */
} math_reduce_call;

bool math_reduce_call_of(const tn_value *args, uint32_t n_args, uint32_t dim, uint32_t keepdim,
                         math_reduce_call *);
/* op, or the sum, over the call's dims of t, which is shaped like x. */
tn_tensor *math_over(const math_reduce_call *, tn_op_ref *op, tn_tensor *t);
tn_tensor *math_sum_over(const math_reduce_call *, tn_tensor *t);

/* ---- Derivatives ----------------------------------------------------------------------------- */

typedef struct math_span { /* the call whose derivative is wanted */
    tn_meta x, kept;       /* kept: x's sizes, 1 in reduced dims */
    int64_t dims[TN_MAX_RANK], n_dims;
    double n; /* elements that went into one result */
} math_span;

bool math_span_of(tn_grad_ctx *, tn_value dim, math_span *);
/* A result or its gradient with reduced dims of size 1, so that it broadcasts with x. */
tn_tensor *math_as_kept(const math_span *, tn_tensor *t);
/* g shared evenly among the elements of x where `chosen` holds, times sign if that is given. The
 * others get 0, whatever g is. */
void math_share(tn_grad_ctx *, const math_span *, tn_tensor *chosen, tn_tensor *sign);
/* t, with `other` where it is 0: what is divided by, or raised to a power. */
tn_tensor *math_nonzero_or(tn_tensor *t, double other);

#endif
