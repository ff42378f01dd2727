/* fault.h - what goes wrong in queued work, told where the host waits for it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_FAULT_H
#define TENON_MEMORY_FAULT_H

#include "core/memory/place.h"

/* A call of `op` (which lives for ever) is about to be queued: its claim on the place's error word. */
uint64_t tni_fault_claim(tni_place *, const char *op);
/* Raises what a call found wrong, if any did, and clears it: TN_OK, or the error. */
tn_status tni_fault_take(tni_place *);
/* Raises DEVICE with the cause if the device is lost; TN_OK if not. */
tn_status tni_fault_lost(const tni_place *, const char *where);

#endif
