/* slab.c - fixed-size objects: a queue of free slots per thread, filled from slabs.
 *
 * A slot is the object and, behind it, the link of the free queue, so a put changes no byte of the
 * object: what was freed can still be asked for its state word.
 *
 *     slab  [object | link][object | link]...      queue  head -> slot -> slot -> tail
 *
 * Invariant: first in, first out, and never shorter than TNI_SLAB_DELAY while memory lasts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/slab.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/heap.h"
#include "core/memory/memory_cache.h"

enum { LINE = 64, SLAB_SLOTS = 128, BATCH = 128, QUEUE_CAP = 2048 };

struct tni_slab_impl {
    uint32_t index;
    uint32_t stride;     /* bytes of a slot; the link is its last 8 */
    bool caching;        /* false: every object is an allocation of its own */
    tni_free_list spare; /* slots no thread holds; locked */
    int64_t live;        /* counted by threads that have ended, or had no cache; locked */
};

static struct tni_slab_impl impls[TNI_SLABS_MAX];
static uint32_t n_impls; /* locked */

static void **link_of(const struct tni_slab_impl *s, void *slot) {
    return (void **)(void *)((char *)slot + s->stride - sizeof(void *));
}

static void append(const struct tni_slab_impl *s, tni_free_list *l, void *slot) {
    uint32_t n = tni_list_n(l);
    *link_of(s, slot) = NULL;
    if (n) {
        *link_of(s, l->tail) = slot;
    } else {
        l->head = slot;
    }
    l->tail = slot;
    tni_list_set_n(l, n + 1);
}

static void *take(const struct tni_slab_impl *s, tni_free_list *l) {
    void *slot = l->head;
    l->head = *link_of(s, slot);
    tni_list_set_n(l, tni_list_n(l) - 1);
    return slot;
}

static void move(const struct tni_slab_impl *s, tni_free_list *from, tni_free_list *to,
                 uint32_t most) {
    while (most-- && tni_list_n(from)) append(s, to, take(s, from));
}

static struct tni_slab_impl *impl_of(tni_slab *slab) {
    struct tni_slab_impl *s = __atomic_load_n(&slab->impl, __ATOMIC_ACQUIRE);
    if (s) return s;
    const uint32_t bytes = slab->object_bytes & ~TNI_SLAB_PERMANENT;
    const bool caching = !tni_heap_system() || (slab->object_bytes & TNI_SLAB_PERMANENT);
    tni_memory_lock();
    s = slab->impl;
    if (!s && n_impls < TNI_SLABS_MAX) {
        s = &impls[n_impls];
        s->index = n_impls++;
        s->stride = (bytes + (uint32_t)sizeof(void *) + LINE - 1) / LINE * LINE;
        s->caching = caching;
        __atomic_store_n(&slab->impl, s, __ATOMIC_RELEASE);
    }
    tni_memory_unlock();
    return s;
}

/* A slab's slots go to the queue's front: fresh ones first, so that used ones rest longer. */
static bool grow(const struct tni_slab_impl *s, tni_free_list *l) {
    char *slab = aligned_alloc(LINE, (size_t)s->stride * SLAB_SLOTS);
    tni_heap_called();
    if (!slab) return false;
    memset(slab, 0, (size_t)s->stride * SLAB_SLOTS);
    tni_free_list fresh = {NULL, NULL, 0, 0};
    for (uint32_t i = 0; i < SLAB_SLOTS; i++) append(s, &fresh, slab + (size_t)i * s->stride);
    move(s, l, &fresh, UINT32_MAX);
    l->head = fresh.head;
    l->tail = fresh.tail;
    tni_list_set_n(l, tni_list_n(&fresh));
    return true;
}

static void *own_allocation(const struct tni_slab_impl *s, tni_memory_cache *c) {
    tni_heap_called();
    void *object = calloc(1, s->stride);
    if (object) tni_count(&c->slab_live[s->index], 1);
    return object;
}

static void *take_slowly(tni_slab *slab) {
    struct tni_slab_impl *s = impl_of(slab);
    tni_memory_cache *c = tni_memory_cache_get();
    if (!s || !c) return NULL;
    if (!s->caching) return own_allocation(s, c);
    tni_free_list *l = &c->slabs[s->index];
    if (tni_list_n(l) <= TNI_SLAB_DELAY) {
        tni_memory_lock();
        move(s, &s->spare, l, BATCH);
        tni_memory_unlock();
    }
    if (tni_list_n(l) <= TNI_SLAB_DELAY && !grow(s, l) && tni_list_n(l) == 0) return NULL;
    l->cap = QUEUE_CAP;
    tni_count(&c->slab_live[s->index], 1);
    return memset(take(s, l), 0, LINE);
}

void *tni_slab_take(tni_slab *slab) {
    const struct tni_slab_impl *s = __atomic_load_n(&slab->impl, __ATOMIC_ACQUIRE);
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(s && c, 1)) {
        tni_free_list *l = &c->slabs[s->index];
        if (__builtin_expect(tni_list_n(l) > TNI_SLAB_DELAY, 1)) {
            tni_count(&c->slab_live[s->index], 1);
            return memset(take(s, l), 0, LINE);
        }
    }
    return take_slowly(slab);
}

void *tni_slab_get(tni_slab *slab) { return tni_heap_fails() ? NULL : tni_slab_take(slab); }

static void put_shared(struct tni_slab_impl *s, void *slot) {
    tni_memory_lock();
    s->live--;
    if (s->caching) append(s, &s->spare, slot);
    tni_memory_unlock();
    if (!s->caching) free(slot);
}

static void put_slowly(struct tni_slab_impl *s, tni_memory_cache *c, void *slot) {
    if (!c) c = tni_memory_cache_get();
    if (!c) {
        put_shared(s, slot);
        return;
    }
    tni_count(&c->slab_live[s->index], -1);
    if (!s->caching) {
        free(slot);
        return;
    }
    tni_free_list *l = &c->slabs[s->index];
    l->cap = QUEUE_CAP;
    append(s, l, slot);
    if (tni_list_n(l) < QUEUE_CAP) return;
    tni_memory_lock();
    move(s, l, &s->spare, QUEUE_CAP / 2);
    tni_memory_unlock();
}

void tni_slab_put(tni_slab *slab, void *slot) {
    if (!slot) return;
    struct tni_slab_impl *s = __atomic_load_n(&slab->impl, __ATOMIC_ACQUIRE);
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(c && tni_list_n(&c->slabs[s->index]) + 1 < c->slabs[s->index].cap, 1)) {
        tni_count(&c->slab_live[s->index], -1);
        append(s, &c->slabs[s->index], slot);
        return;
    }
    put_slowly(s, c, slot);
}

uint64_t tni_slab_live(const tni_slab *slab) {
    const struct tni_slab_impl *s = __atomic_load_n(&slab->impl, __ATOMIC_ACQUIRE);
    if (!s) return 0;
    tni_memory_lock();
    int64_t live = s->live + tni_memory_slab_sum(s->index);
    tni_memory_unlock();
    return live > 0 ? (uint64_t)live : 0;
}

void tni_slab_thread_end(tni_memory_cache *c) {
    for (uint32_t i = 0; i < n_impls; i++) {
        move(&impls[i], &c->slabs[i], &impls[i].spare, UINT32_MAX);
        impls[i].live += atomic_load_explicit(&c->slab_live[i], memory_order_relaxed);
    }
}
