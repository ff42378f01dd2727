/* place.c - the place a thread works at: its current device and stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/place.h"

#include "core/base/heap.h"
#include "core/base/state.h"
#include "core/memory/device.h"

tni_place *tni_place_here(void) {
    tni_place *p = tni_state_get()->place;
    return p ? p : &tni_host;
}

tni_place *tni_place_current_slowly(tni_place *p) {
    tni_place *here = tni_place_here();
    return tni_same_device(here, p) ? here : p->first;
}

tni_place *tni_place_pinned(tni_place *p) {
    tni_place *first = p->first, *seen = NULL;
    tni_place *there = __atomic_load_n(&first->pinned, __ATOMIC_ACQUIRE);
    if (there || first == &tni_host) return there ? there : first;
    tni_place *made = tni_alloc(sizeof *made);
    if (!made) return NULL;
    *made = (tni_place){.state = first->state,
                        .host_memory = true,
                        .device = tni_host.device,
                        .driver = first->driver,
                        .index = first->index,
                        .memory_kind = TN_MEMORY_PINNED,
                        .first = &tni_host};
    if (__atomic_compare_exchange_n(&first->pinned, &seen, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return made;
    tni_free(made);
    return seen;
}

tni_place *tni_place_known(tn_device device, const char *where) {
    tni_place *p = tni_device_place(device);
    char name[64];
    if (p) return p;
    tni_device_text(device, name, sizeof name);
    tn_raise(TN_ERR_DEVICE, "%s: there is no device %s; tn_device_at lists those there are", where,
             name);
    return NULL;
}

tn_device tn_use_device(tn_device device) {
    tni_place *before = tni_place_here(), *p = NULL;
    if (tn_error() == TN_OK) p = tni_place_known(device, "tn_use_device");
    if (p && !tni_same_device(before, p)) tni_state_get()->place = p;
    return before->device;
}

tn_device tn_current_device(void) { return tni_place_here()->device; }
