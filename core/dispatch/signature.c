/* signature.c - see signature.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/signature.h"

#include "core/base/heap.h"

void tni_signature_retain(tni_signature *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void tni_signature_release(tni_signature *s) {
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    if (s->plan.data && s->provider && s->provider->row.drop) s->provider->row.drop(s->plan.data);
    tni_free(s->ints);
    tni_free(s->outputs);
    tni_free(s);
}
