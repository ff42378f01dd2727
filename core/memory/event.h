/* event.h - what has been queued at a place so far, and waiting for it.
 *
 * A driver without events has its stream waited for instead, by the host; that is counted.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_EVENT_H
#define TENON_MEMORY_EVENT_H

#include "core/memory/place.h"

typedef struct tni_fence { /* behind what was queued at a place when it was set */
    tni_place *place;
    void *event; /* the driver's; NULL: passed */
} tni_fence;

void tni_fence_set(tni_fence *, tni_place *);
/* Whether the work is done; once it is, the fence holds nothing any more. Never waits. */
bool tni_fence_passed(tni_fence *);
/* The host waits. */
void tni_fence_wait(tni_fence *);

/* What is queued at `later` from now on waits for what was queued at `first` until now. */
tn_status tni_place_order(tni_place *later, tni_place *first);
/* The host waits for what is queued at the place; raises nothing. */
tn_status tni_place_sync(tni_place *);
/* The same for a program: raises what went wrong there, or while waiting. */
tn_status tni_place_finish(tni_place *, const char *where);
/* The same for all places of the device. */
tn_status tni_place_drain(const tni_place *);

/* How often the host has waited. */
uint64_t tni_host_waits(void);

#endif
