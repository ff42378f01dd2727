/* buffer.c - the bytes of tensors: size classes, cached when freed.
 *
 * Classes have four steps per doubling from 64 bytes on. Small ones of the cpu (up to 64 KiB) go
 * through the thread's own lists, last in first out, linked through their first bytes, with a
 * shared list behind; the rest, and every other device, are blocks (block.c). Invariant: a
 * buffer belongs to one list or to one caller; drivers are called without the lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/buffer.h"

#include <tenon/inspect.h>

#include "core/base/heap.h"
#include "core/memory/block.h"
#include "core/memory/memory_cache.h"

enum {
    BATCH = 32,
    SMALL_LIST_BYTES = 256 << 10, /* a thread keeps so much per class, */
    SMALL_SHARED_BYTES = 1 << 20  /* and all threads together this much more */
};

static tni_free_list spare[TNI_SMALL_CLASSES]; /* locked */
static _Atomic uint64_t small_misses;

/* ---- Size classes ---------------------------------------------------------------------------- */

static inline uint32_t class_of(uint64_t bytes) { /* bytes >= 1 */
    if (bytes <= 256) return (uint32_t)((bytes - 1) / 64);
    const uint32_t top = 63 - (uint32_t)__builtin_clzll(bytes - 1);
    return 4 + (top - 8) * 4 + (uint32_t)((bytes - 1) >> (top - 2) & 3);
}

uint32_t tni_class_of(uint64_t bytes) { return class_of(bytes); }

uint64_t tni_class_bytes(uint32_t index) {
    if (index < 4) return (index + 1) * UINT64_C(64);
    return (uint64_t)(index % 4 + 5) << ((index - 4) / 4 + 6);
}

static bool is_small(const tni_place *place, uint64_t bytes) {
    return place == &tni_host && bytes <= TNI_SMALL_BYTES;
}

/* ---- Drivers --------------------------------------------------------------------------------- */

static struct {
    _Atomic uint64_t allocs, frees, rescues;
    _Atomic int64_t reserved, peak;
} taken; /* from the system */

static void count_alloc(uint64_t bytes) {
    atomic_fetch_add(&taken.allocs, 1);
    const int64_t now = atomic_fetch_add(&taken.reserved, (int64_t)bytes) + (int64_t)bytes;
    int64_t peak = atomic_load(&taken.peak);
    while (now > peak && !atomic_compare_exchange_weak(&taken.peak, &peak, now)) {
    }
}

static void *ask_driver(const tni_place *p, uint64_t bytes) {
    const tn_driver *d = p->driver;
    tni_heap_called();
    void *data = d->alloc(d->user, p->index, p->memory_kind, bytes, NULL);
    if (((uintptr_t)data & 63) == 0) return data;
    tn_raise(TN_ERR_DEVICE,
             "the driver of %s:%d gave %llu bytes at %p, which is not a multiple of 64; mend the "
             "driver",
             d->kind, p->index, (unsigned long long)bytes, data);
    d->free(d->user, p->index, p->memory_kind, data, bytes, NULL);
    return NULL;
}

void *tni_system_alloc(const tni_place *place, uint64_t bytes) {
    if (bytes == 0) return NULL;
    void *data = ask_driver(place, bytes);
    if (!data) {
        tn_memory_trim(); /* what the caches hold may be just what is missing */
        data = ask_driver(place, bytes);
        if (data) atomic_fetch_add(&taken.rescues, 1);
    }
    if (data) count_alloc(bytes);
    return data;
}

void tni_system_free(const tni_place *place, void *data, uint64_t bytes) {
    const tn_driver *d = place->driver;
    d->free(d->user, place->index, place->memory_kind, data, bytes, NULL);
    atomic_fetch_add(&taken.frees, 1);
    atomic_fetch_sub(&taken.reserved, (int64_t)bytes);
}

/* ---- Small blocks ---------------------------------------------------------------------------- */

static void push(tni_free_list *l, void *data) {
    *(void **)data = l->head;
    l->head = data;
    tni_list_set_n(l, tni_list_n(l) + 1);
}

static void *pop(tni_free_list *l) {
    void *data = l->head;
    l->head = *(void **)data;
    tni_list_set_n(l, tni_list_n(l) - 1);
    return data;
}

static void move(tni_free_list *from, tni_free_list *to, uint32_t most) {
    while (most-- && from->head) push(to, pop(from));
}

static void free_all(tni_free_list *l, uint64_t bytes) {
    while (l->head) tni_system_free(&tni_host, pop(l), bytes);
}

static void *small_slowly(tni_memory_cache *c, uint32_t class) {
    tni_free_list *l = &c->small[class];
    tni_memory_lock();
    move(&spare[class], l, BATCH);
    tni_memory_unlock();
    if (l->head) return pop(l);
    atomic_fetch_add_explicit(&small_misses, 1, memory_order_relaxed);
    return tni_system_alloc(&tni_host, tni_class_bytes(class));
}

/* The thread's list is full, or was never used: part of it goes to the shared list, the rest
 * back. */
static void small_overflow(tni_memory_cache *c, uint32_t class, void *data) {
    tni_free_list *l = &c->small[class];
    const uint32_t bytes = (uint32_t)tni_class_bytes(class);
    if (tni_heap_system()) {
        tni_system_free(&tni_host, data, bytes);
        return;
    }
    push(l, data);
    l->cap = SMALL_LIST_BYTES / bytes;
    if (tni_list_n(l) < l->cap) return;
    tni_free_list excess = {NULL, NULL, 0, 0};
    move(l, &excess, l->cap / 2);
    tni_memory_lock();
    const uint32_t room = SMALL_SHARED_BYTES / bytes, used = tni_list_n(&spare[class]);
    move(&excess, &spare[class], used < room ? room - used : 0);
    tni_memory_unlock();
    free_all(&excess, bytes);
}

/* ---- The calls ------------------------------------------------------------------------------- */

static void account(tni_memory_cache *c, int64_t change) {
    if (c) {
        tni_account(c, change);
    } else {
        tni_account_shared(change);
    }
}

static void *alloc_slowly(tni_place *place, uint64_t bytes) {
    tni_memory_cache *c = tni_memory_cache_get();
    void *data = NULL;
    if (c && is_small(place, bytes)) {
        tni_count(&c->counts[TNI_COUNT_SMALL], 1);
        data = small_slowly(c, class_of(bytes ? bytes : 1));
    } else if (is_small(place, bytes)) {
        data = tni_system_alloc(place, tni_class_bytes(class_of(bytes ? bytes : 1)));
    } else {
        data = tni_block_alloc(place, bytes);
    }
    if (data) account(c, (int64_t)bytes);
    return data;
}

void *tni_buffer_alloc(tni_place *place, uint64_t bytes) {
    if (tni_heap_fails()) return NULL;
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(c && place == &tni_host && bytes - 1 < TNI_SMALL_BYTES, 1)) {
        tni_free_list *l = &c->small[class_of(bytes)];
        if (__builtin_expect(l->head != NULL, 1)) {
            tni_account(c, (int64_t)bytes);
            tni_count(&c->counts[TNI_COUNT_SMALL], 1);
            return pop(l);
        }
    }
    return alloc_slowly(place, bytes);
}

static void free_slowly(tni_place *place, void *data, uint64_t bytes) {
    tni_memory_cache *c = tni_memory_cache_get();
    account(c, -(int64_t)bytes);
    if (!is_small(place, bytes)) {
        tni_block_free(place, data, bytes);
    } else if (c) {
        small_overflow(c, class_of(bytes ? bytes : 1), data);
    } else {
        tni_system_free(place, data, tni_class_bytes(class_of(bytes ? bytes : 1)));
    }
}

void tni_buffer_free(tni_place *place, void *data, uint64_t bytes) {
    if (!data) return;
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(c && place == &tni_host && bytes - 1 < TNI_SMALL_BYTES, 1)) {
        tni_free_list *l = &c->small[class_of(bytes)];
        if (__builtin_expect(tni_list_n(l) + 1 < l->cap, 1)) {
            tni_account(c, -(int64_t)bytes);
            push(l, data);
            return;
        }
    }
    free_slowly(place, data, bytes);
}

void tni_buffer_stats(tn_memory_info *out) {
    tn_pool_info *pool = &out->small;
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) {
        pool->cached_blocks += tni_list_n(&spare[i]);
        pool->cached_bytes += tni_list_n(&spare[i]) * tni_class_bytes(i);
        if (tni_list_n(&spare[i])) pool->largest_bytes = tni_class_bytes(i);
    }
    pool->misses = atomic_load(&small_misses);
    const int64_t reserved = atomic_load(&taken.reserved), peak = atomic_load(&taken.peak);
    out->reserved_bytes = reserved > 0 ? (uint64_t)reserved : 0;
    out->peak_reserved_bytes = peak > 0 ? (uint64_t)peak : 0;
    out->system_allocs = atomic_load(&taken.allocs);
    out->system_frees = atomic_load(&taken.frees);
    out->rescues = atomic_load(&taken.rescues);
}

void tni_buffer_reset_peak(void) { atomic_store(&taken.peak, atomic_load(&taken.reserved)); }

void tni_buffer_thread_end(tni_memory_cache *c) {
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) move(&c->small[i], &spare[i], UINT32_MAX);
}

/* Small buffers in other threads' lists stay: only their threads may touch them. */
void tn_memory_trim(void) {
    tni_free_list small[TNI_SMALL_CLASSES] = {{NULL, NULL, 0, 0}};
    tni_memory_cache *c = tni_tls.memory;
    tni_memory_lock();
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) {
        if (c) move(&c->small[i], &small[i], UINT32_MAX);
        move(&spare[i], &small[i], UINT32_MAX);
    }
    tni_memory_unlock();
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) free_all(&small[i], tni_class_bytes(i));
    tni_block_trim();
}
