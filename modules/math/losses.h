/* losses.h - what losses share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_LOSSES_H
#define TENON_MATH_LOSSES_H

#include "modules/math/calls.h"

#define MATH_LOG_2PI 1.8378770664093454836

/* The mean or the sum of x, or x, as the argument `reduction` says; NULL with an error: it says
 * nothing known. */
tn_tensor *math_reduced(tn_tensor *x, const tn_value *reduction);

/* Binary cross entropy, element by element; weight may be NULL. */
tn_tensor *math_bce(tn_tensor *x, tn_tensor *target, tn_tensor *weight);

/* ---- Losses over classes ---- */

/* Targets of x[C] or x[N,C,*], of which some may be ignored. */
typedef struct math_classes {
    int32_t dim; /* of the classes */
    int64_t n;   /* how many */
    tn_meta x;
    tn_tensor *counts; /* bool: not ignored; of target's sizes, as all that follows */
    tn_tensor *at;     /* the target, 0 where it is ignored */
    tn_tensor *weight; /* of the target's class, 0 where it is ignored; in x's dtype */
    tn_tensor *along;  /* all weights, in sizes that broadcast to x; NULL: all are 1 */
} math_classes;

/* False: an error is pending. weight may be NULL. */
bool math_classes_of(tn_tensor *x, tn_tensor *target, tn_tensor *weight, tn_value ignore_index,
                     math_classes *out);
/* x at the target's class, of target's sizes. */
tn_tensor *math_picked(const math_classes *, tn_tensor *x);
/* Of a factor with target's sizes: a dim of size 1 for the classes. */
tn_tensor *math_spread(const math_classes *, tn_tensor *t);

#endif
