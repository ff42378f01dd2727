/* stream.c - streams of programs: made, chosen, waited for, freed.
 *
 * Invariant: a stream that was freed is kept, with the driver's, for the next that is made: storages
 * may still lie there, and work may still be under way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/stream.h"

#include <pthread.h>

#include "core/base/heap.h"
#include "core/base/state.h"
#include "core/memory/device.h"
#include "core/memory/event.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

bool tni_stream_usable(const tn_stream *s, const char *where) {
    if (tn_error() || tni_forked()) return false;
    if (s && __atomic_load_n(&s->state, __ATOMIC_RELAXED) == TNI_STREAM_LIVE) return true;
    tn_raise(s ? TN_ERR_STALE : TN_ERR_INVALID,
             s ? "%s: the stream was freed, or is none; make one with tn_stream_new"
               : "%s: the stream is NULL; tn_default_stream gives the one a device has",
             where);
    return false;
}

tn_status tni_stream_apart(const char *where, const char *what, const tni_place *one,
                           const tni_place *other) {
    char a[64], b[64];
    tni_device_text(one->device, a, sizeof a);
    tni_device_text(other->device, b, sizeof b);
    return tn_raise(TN_ERR_DEVICE, "%s: %s is on %s, the other on %s; both must be on one device",
                    where, what, a, b);
}

/* One that was freed, live again; NULL if there is none. */
static tni_place *take_freed(tni_place *first) {
    tni_place *p = first->next;
    while (p && p->state != TNI_STREAM_FREED) p = p->next;
    if (p) __atomic_store_n(&p->state, (uint32_t)TNI_STREAM_LIVE, __ATOMIC_RELEASE);
    return p;
}

static tni_place *open_stream(tni_place *first) {
    const tn_driver *d = first->driver;
    tni_place *p = tni_alloc(sizeof *p);
    if (!p) return tn_raise(TN_ERR_NOMEM, "tn_stream_new: no memory for a stream"), NULL;
    *p = *first;
    p->stream = d->stream_new ? d->stream_new(d->user, first->index) : NULL;
    if (p->stream || !d->stream_new) return p;
    tni_free(p);
    tn_raise(TN_ERR_DEVICE, "tn_stream_new: the driver of %s:%d made none", d->kind, first->index);
    return NULL;
}

tn_stream *tn_stream_new(tn_device device) {
    if (tn_error() || tni_forked()) return NULL;
    tni_place *first = tni_place_known(device, "tn_stream_new");
    if (!first) return NULL;
    pthread_mutex_lock(&mutex);
    tni_place *p = take_freed(first);
    pthread_mutex_unlock(&mutex);
    if (p || !(p = open_stream(first))) return p;
    pthread_mutex_lock(&mutex);
    p->next = first->next;
    first->next = p;
    pthread_mutex_unlock(&mutex);
    return p;
}

tn_status tn_stream_free(tn_stream *s) {
    if (!s) return TN_OK;
    if (s == s->first)
        return tn_raise(TN_ERR_INVALID, "tn_stream_free: a device's default stream stays");
    uint32_t live = TNI_STREAM_LIVE;
    if (!__atomic_compare_exchange_n(&s->state, &live, (uint32_t)TNI_STREAM_FREED, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return tn_raise(TN_ERR_STALE, "tn_stream_free: the stream was freed before, or is none");
    tni_state *st = tni_state_get();
    if (st->place == s) st->place = s->first;
    return TN_OK;
}

tn_stream *tn_use_stream(tn_stream *s) {
    tni_place *before = tni_place_here();
    if (tni_stream_usable(s, "tn_use_stream")) tni_state_get()->place = s;
    return before;
}

tn_stream *tn_current_stream(void) { return tni_place_here(); }

tn_stream *tn_default_stream(tn_device device) {
    return tn_error() ? NULL : tni_place_known(device, "tn_default_stream");
}

tn_device tn_stream_device(tn_stream *s) {
    return tni_stream_usable(s, "tn_stream_device") ? s->device : (tn_device){0, 0};
}

tn_status tn_stream_sync(tn_stream *s) {
    if (!tni_stream_usable(s, "tn_stream_sync")) return tn_error();
    return tni_place_finish(s, "tn_stream_sync");
}

tn_status tn_device_sync(tn_device device) {
    if (tn_error() || tni_forked()) return tn_error();
    tni_place *p = tni_place_known(device, "tn_device_sync");
    for (tni_place *one = p; one; one = one->next)
        if (tni_place_finish(one, "tn_device_sync")) break;
    return tn_error();
}
