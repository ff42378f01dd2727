/* region.h - parts of tensors, differentiable.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_REGION_H
#define TENON_AUTOGRAD_REGION_H

#include "core/autograd/node.h"

void tni_region_of(const tn_tensor *whole, const tn_tensor *part, tni_region *out);
/* The part of whole; scope's. NULL + error. */
tn_tensor *tni_region_get(tn_tensor *whole, const tni_region *);
/* whole (NULL = zeros) with its part replaced by `part` (NULL = zeros); scope's. Where elements of
 * the part overlap, whole must be NULL, and they are summed. NULL + error. */
tn_tensor *tni_region_put(tn_tensor *whole, tn_tensor *part, const tni_region *, tni_place *);
/* The node of a view; refs 1, no results yet. NULL + error. */
tni_node *tni_region_node(tn_tensor *whole, const tni_region *);

#endif
