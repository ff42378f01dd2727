/* chain.h - asks the op's providers, best first, who runs the call.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_CHAIN_H
#define TENON_DISPATCH_CHAIN_H

#include "core/dispatch/resolve.h"

/* Asks the op's providers; true: one has planned the call and is the signature's. False, perhaps
 * with an error, if nobody takes it. */
bool tni_chain_ask(tni_resolution *);
/* Raises UNSUPPORTED with all who were asked and why they declined; returns false. */
bool tni_chain_unsupported(const tni_resolution *);

#endif
