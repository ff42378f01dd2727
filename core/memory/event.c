/* event.c - fences for the pools, and the events of programs.
 *
 * Drivers' events are kept for reuse, some per device. Invariants: drivers are called without the
 * lock; an event of a program that was freed answers STALE, as generators do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/event.h"

#include <pthread.h>

#include "core/base/state.h"
#include "core/memory/device.h"
#include "core/memory/fault.h"
#include "core/memory/slab.h"
#include "core/memory/stream.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t host_waits;

uint64_t tni_host_waits(void) { return host_waits; }

/* ---- The driver's ---------------------------------------------------------------------------- */

static bool has_events(const tni_place *p) { return p->driver->event_new != NULL; }

static void *event_get(tni_place *p) {
    tni_place *device = p->first;
    void *event = NULL;
    if (!has_events(p)) return NULL;
    pthread_mutex_lock(&mutex);
    if (device->n_idle > 0) event = device->idle[--device->n_idle];
    pthread_mutex_unlock(&mutex);
    return event ? event : p->driver->event_new(p->driver->user, p->index);
}

static void event_put(tni_place *p, void *event) {
    tni_place *device = p->first;
    pthread_mutex_lock(&mutex);
    const bool kept = device->n_idle < sizeof device->idle / sizeof *device->idle;
    if (kept) device->idle[device->n_idle++] = event;
    pthread_mutex_unlock(&mutex);
    if (!kept) p->driver->event_free(p->driver->user, p->index, event);
}

static tn_status event_record(tni_place *p, void *event) {
    return p->driver->event_record(p->driver->user, p->index, event, p->stream);
}

static tn_status event_wait(tni_place *later, void *event) {
    return later->driver->event_wait(later->driver->user, later->index, event, later->stream);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* A forked child would wait for threads that did not come along. */
static tn_status wait_on_host(const tni_place *p, void *stream) {
    if (tni_is_forked()) return TN_ERR_FORKED;
    if (p->driver != tni_host.driver) host_waits++;
    return p->driver->stream_sync(p->driver->user, p->index, stream);
}

tn_status tni_place_sync(tni_place *p) { return wait_on_host(p, p->stream); }
tn_status tni_place_drain(const tni_place *p) { return wait_on_host(p, NULL); }

tn_status tni_place_finish(tni_place *p, const char *where) {
    char name[64];
    const tn_status status = tni_place_sync(p);
    if (status == TN_OK) return tni_fault_take(p);
    if (tni_fault_lost(p, where)) return tn_error();
    tni_device_text(p->device, name, sizeof name);
    return tn_raise(status, "%s: waiting for %s failed (%s)", where, name, tn_status_text(status));
}

tn_status tni_place_order(tni_place *later, tni_place *first) {
    if (later == first || first->first == &tni_host) return TN_OK;
    if (later->driver != first->driver) return tni_place_sync(first);
    void *event = event_get(first);
    tn_status status = event ? event_record(first, event) : TN_ERR_UNSUPPORTED;
    if (status == TN_OK) status = event_wait(later, event);
    if (event) event_put(first, event);
    return status == TN_OK ? TN_OK : tni_place_sync(first);
}

/* ---- Fences ---------------------------------------------------------------------------------- */

void tni_fence_set(tni_fence *f, tni_place *p) {
    f->place = p;
    f->event = event_get(p);
    if (f->event && event_record(p, f->event) == TN_OK) return;
    if (f->event) event_put(p, f->event);
    f->event = NULL;
    tni_place_sync(p);
}

static void fence_drop(tni_fence *f) {
    event_put(f->place, f->event);
    f->event = NULL;
}

/* A driver that cannot tell has lost the event: its stream is waited for. */
bool tni_fence_passed(tni_fence *f) {
    bool done = true;
    if (!f->event) return true;
    const tn_driver *d = f->place->driver;
    if (d->event_query(d->user, f->place->index, f->event, &done) != TN_OK)
        tni_place_sync(f->place), done = true;
    if (done) fence_drop(f);
    return done;
}

void tni_fence_wait(tni_fence *f) {
    if (!f->event) return;
    const tn_driver *d = f->place->driver;
    host_waits++;
    if (d->event_sync(d->user, f->place->index, f->event) != TN_OK) tni_place_sync(f->place);
    fence_drop(f);
}

/* ---- Of programs ----------------------------------------------------------------------------- */

enum { LIVE = 0x65766e74, FREED = 0x66726565 };

struct tn_event {
    uint32_t state; /* LIVE or FREED */
    uint32_t recorded;
    tni_place *place; /* of its device */
    void *event;      /* NULL: the driver has none; what was recorded is done */
};

static tni_slab slab = {(uint32_t)sizeof(tn_event) | TNI_SLAB_PERMANENT, "event", NULL};

static bool usable(const tn_event *e, const char *where) {
    if (tn_error() || tni_forked()) return false;
    if (e && __atomic_load_n(&e->state, __ATOMIC_RELAXED) == LIVE) return true;
    tn_raise(e ? TN_ERR_STALE : TN_ERR_INVALID,
             e ? "%s: the event was freed, or is none; make one with tn_event_new"
               : "%s: the event is NULL",
             where);
    return false;
}

static tn_status outcome(tn_status status, const char *where, const tni_place *p) {
    char name[64];
    if (status == TN_OK) return TN_OK;
    tni_device_text(p->device, name, sizeof name);
    if (tni_fault_lost(p, where)) return tn_error();
    return tn_raise(status, "%s: the driver of %s failed (%s)", where, name,
                    tn_status_text(status));
}

tn_event *tn_event_new(tn_device device) {
    if (tn_error() || tni_forked()) return NULL;
    tni_place *p = tni_place_known(device, "tn_event_new");
    tn_event *e = p ? tni_slab_get(&slab) : NULL;
    if (!e)
        return p ? (tn_raise(TN_ERR_NOMEM, "tn_event_new: no memory for an event"), NULL) : NULL;
    e->event = event_get(p);
    if (!e->event && has_events(p)) {
        tni_slab_put(&slab, e);
        outcome(TN_ERR_DEVICE, "tn_event_new", p);
        return NULL;
    }
    e->place = p;
    e->recorded = 0;
    __atomic_store_n(&e->state, (uint32_t)LIVE, __ATOMIC_RELEASE);
    return e;
}

tn_status tn_event_free(tn_event *e) {
    if (!e) return TN_OK;
    uint32_t live = LIVE;
    if (!__atomic_compare_exchange_n(&e->state, &live, (uint32_t)FREED, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return tn_raise(TN_ERR_STALE, "tn_event_free: the event was freed before, or is none");
    if (e->event) event_put(e->place, e->event);
    tni_slab_put(&slab, e);
    return TN_OK;
}

tn_status tn_event_record(tn_event *e, tn_stream *s) {
    const char *where = "tn_event_record";
    if (!usable(e, where) || !tni_stream_usable(s, where)) return tn_error();
    if (!tni_same_device(e->place, s)) return tni_stream_apart(where, "the event", e->place, s);
    e->recorded = 1;
    return outcome(e->event ? event_record(s, e->event) : tni_place_sync(s), where, s);
}

tn_status tn_stream_wait(tn_stream *s, tn_event *e) {
    const char *where = "tn_stream_wait";
    if (!usable(e, where) || !tni_stream_usable(s, where)) return tn_error();
    if (!e->event || !e->recorded) return TN_OK;
    if (s->driver == e->place->driver) return outcome(event_wait(s, e->event), where, s);
    return tn_event_sync(e);
}

tn_status tn_event_sync(tn_event *e) {
    if (!usable(e, "tn_event_sync")) return tn_error();
    if (!e->event || !e->recorded) return TN_OK;
    const tn_driver *d = e->place->driver;
    host_waits++;
    const tn_status status = d->event_sync(d->user, e->place->index, e->event);
    return status ? outcome(status, "tn_event_sync", e->place) : tni_fault_take(e->place);
}

bool tn_event_done(tn_event *e) {
    bool done = true;
    if (!usable(e, "tn_event_done")) return false;
    if (!e->event || !e->recorded) return true;
    const tn_driver *d = e->place->driver;
    const tn_status status = d->event_query(d->user, e->place->index, e->event, &done);
    return outcome(status, "tn_event_done", e->place) == TN_OK && done;
}

tn_status tn_event_elapsed(tn_event *start, tn_event *end, uint64_t *ns) {
    const char *where = "tn_event_elapsed";
    if (!usable(start, where) || !usable(end, where)) return tn_error();
    if (!tni_same_device(start->place, end->place))
        return tni_stream_apart(where, "the first event", start->place, end->place);
    if (!ns || !start->recorded || !end->recorded)
        return tn_raise(TN_ERR_INVALID, "%s: %s", where,
                        ns ? "record both events first" : "there is no room for the time");
    *ns = 0;
    if (!start->event) return TN_OK;
    const tn_driver *d = start->place->driver;
    return outcome(d->event_elapsed_ns(d->user, start->place->index, start->event, end->event, ns),
                   where, start->place);
}
