/* flow.h - gradients on their way, and into leaves.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_FLOW_H
#define TENON_AUTOGRAD_FLOW_H

#include "core/autograd/engine.h"

/* Both take over the reference to grad; false + error. */
bool tni_flow_add(tni_task *, tn_tensor **sum,
                  tn_tensor *grad); /* *sum += grad; *sum may be NULL */
bool tni_flow_to_leaf(tni_task *, tn_tensor *leaf, tn_tensor *grad);
/* What the derivative set for slot, summed and cast to the argument's shape and dtype; slot's
 * reference is replaced. */
bool tni_flow_fit(tni_slot *);

/* Is grad, which the error calls `what`, of the shape, dtype and device of t? False + error. */
bool tni_flow_fits(const char *where, const char *what, const tn_tensor *grad, const char *of,
                   const tn_tensor *t);

#endif
