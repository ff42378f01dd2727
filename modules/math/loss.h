/* loss.h - what losses share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_LOSS_H
#define TENON_MATH_LOSS_H

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

/* ---- Reductions ------------------------------------------------------------------------------ */

typedef enum math_reduction { MATH_MEAN, MATH_SUM, MATH_NONE, MATH_UNKNOWN } math_reduction;
math_reduction math_reduction_of(tnk_text); /* "mean", "sum", "none" */
#define MATH_REDUCTION_TEXT "reduction is \"%.*s\"; it must be mean, sum or none"

/* For shape rules: one number, or the sizes in outs[0] where reduction is none. */
tn_status math_reduced_sizes(tn_infer *);
/* Fails with "x[..] and NAME[..]: rule". */
tn_status math_differ(tn_infer *, const tn_view *x, const char *name, const tn_view *target,
                      const char *rule);

/* The mean or the sum of x, or x, as the argument `reduction` says; NULL with an error: it says
 * nothing known. */
tn_tensor *math_reduced(tn_tensor *x, tnk_text reduction);

#endif
