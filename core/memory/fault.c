/* fault.c - error words of places, and devices that are lost.
 *
 * A claim is the number of a call, shifted by 8, and the status. Names of the latest calls are kept;
 * of an older one only that it failed is told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/fault.h"

#include "core/memory/device.h"

uint64_t tni_fault_claim(tni_place *p, const char *op) {
    const uint64_t nth = __atomic_add_fetch(&p->calls, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&p->called[nth % TNI_CALLED], op, __ATOMIC_RELAXED);
    return nth << 8;
}

static const char *name_of(tni_place *p, uint64_t nth) {
    const char *op = __atomic_load_n(&p->called[nth % TNI_CALLED], __ATOMIC_RELAXED);
    const bool known = __atomic_load_n(&p->calls, __ATOMIC_RELAXED) - nth < TNI_CALLED;
    return known && op ? op : "an earlier call";
}

tn_status tni_fault_take(tni_place *p) {
    const uint64_t claim = __atomic_load_n(&p->word.claim, __ATOMIC_ACQUIRE);
    char where[64];
    if (claim == 0) return TN_OK;
    const tn_status status = (tn_status)(claim & 255);
    const long long value = p->word.value, limit = p->word.limit;
    tni_device_text(p->device, where, sizeof where);
    if (limit > 0)
        tn_raise(status, "%s: %s, found while it ran on %s: %lld, where %lld are allowed",
                 name_of(p, claim >> 8), tn_status_text(status), where, value, limit);
    else
        tn_raise(status, "%s: %s, found while it ran on %s", name_of(p, claim >> 8),
                 tn_status_text(status), where);
    p->word.value = p->word.limit = 0;
    __atomic_store_n(&p->word.claim, 0, __ATOMIC_RELEASE);
    return status;
}

tn_status tni_fault_lost(const tni_place *p, const char *where) {
    const tn_driver *d = p->driver;
    char cause[256] = "", name[64];
    if (!d->error_state || d->error_state(d->user, p->index, cause, sizeof cause) == TN_OK)
        return TN_OK;
    cause[sizeof cause - 1] = '\0';
    tni_device_text(p->device, name, sizeof name);
    return tn_raise(TN_ERR_DEVICE,
                    "%s: %s was lost (%s); what is on it is gone, other devices go on", where, name,
                    cause[0] ? cause : "its driver does not say why");
}
