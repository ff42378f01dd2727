/* shape_rules.h - the shape rules that the core has.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_SHAPE_RULES_H
#define TENON_DISPATCH_SHAPE_RULES_H

#include <tenon/abi.h>

/* same, broadcast, reduce; NULL if there is no rule of this name. */
tn_shape_fn tni_shape_rule(const char *name);

#endif
