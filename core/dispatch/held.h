/* held.h - numbers that must fit the dtype of a tensor.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_HELD_H
#define TENON_DISPATCH_HELD_H

#include "core/dispatch/signature.h"

/* Do the numbers that the contract says `in(x)` of fit, those of the arguments whose bits are set?
 * Raises OVERFLOW. */
bool tni_held_check(const tni_signature *, const tni_invocation *, uint32_t args);

#endif
