/* streams.c - see streams.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/streams.h"

#include "core/memory/event.h"

void tni_streams_begin(tni_streams *s) {
    tni_state *st = tni_state_get();
    s->caller = st->place;
    s->ordered = st->orders;
    s->n = 0;
    st->orders = true;
}

/* More streams than there is room for are waited for by the host, in the end. */
static void note(tni_streams *s, tni_place *p) {
    for (uint32_t i = 0; i < s->n && i < TNI_PASS_STREAMS; i++)
        if (s->used[i] == p) return;
    if (s->n < TNI_PASS_STREAMS) s->used[s->n] = p;
    s->n++;
}

void tni_streams_enter_slowly(tni_streams *s, const tni_node *n) {
    for (uint32_t i = 0; i < n->n_results; i++) {
        const tni_slot *slot = &n->results[i];
        if (slot->flags & TNI_SLOT_ABSENT) continue;
        if (slot->place == &tni_host && s->n == 0) return;
        if (slot->place != &tni_host) note(s, slot->place);
        tni_tls.place = slot->place == &tni_host ? s->caller : slot->place;
        return;
    }
}

tni_place *tni_streams_go_slowly(tni_streams *s, const tn_tensor *t) {
    tni_place *before = tni_tls.place;
    tni_tls.place = t->storage->place;
    note(s, tni_tls.place);
    return before;
}

void tni_streams_end(tni_streams *s) {
    tni_state *st = tni_state_get();
    st->place = s->caller;
    st->orders = s->ordered;
    for (uint32_t i = 0; i < s->n && i < TNI_PASS_STREAMS; i++) {
        tni_place *here = tni_place_current(s->used[i]);
        if (s->n <= TNI_PASS_STREAMS)
            tni_place_order(here, s->used[i]);
        else
            tni_place_drain(s->used[i]);
    }
}
