/* decompose.h - a call in terms of other ops.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_DECOMPOSE_H
#define TENON_DISPATCH_DECOMPOSE_H

#include "core/dispatch/call.h"

/* Runs the op's decomposition in a scope of its own; its results are the call's. */
tn_status tni_decompose(tni_frame *);

#endif
