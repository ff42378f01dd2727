/* memory_cache.h - one thread's free lists and counts; for the pools of this room.
 *
 * Invariants: a cache is written by its own thread only; the lists under `tni_memory_lock` take
 * what is too much for one thread and feed those that run dry, so a block may be freed on any
 * thread. Counts are atomic because tn_memory_stats reads those of other threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_MEMORY_CACHE_H
#define TENON_MEMORY_MEMORY_CACHE_H

#include <stdatomic.h>

#include <tenon/inspect.h>

#include "core/base/heap.h"
#include "core/base/state.h"

enum {
    TNI_SLABS_MAX = 32,
    TNI_SMALL_CLASSES = 36,    /* 64 bytes to 64 KiB */
    TNI_SMALL_BYTES = 1 << 16, /* the largest small buffer */
    TNI_SLAB_DELAY = 64        /* so many other puts before a slot is used again */
};

enum {                    /* what is counted beside objects of slabs */
       TNI_COUNT_VIEWS,   /* tensors over another one's storage */
       TNI_COUNT_ORPHANS, /* storages that outlived their tensor */
       TNI_COUNT_NODES,   /* of the tape */
       TNI_COUNT_SMALL,   /* small buffers asked for */
       TNI_COUNTS
};

typedef struct tni_free_list {
    void *head, *tail;
    _Atomic uint32_t n;
    uint32_t cap; /* 0: not set up, or nothing may be cached */
} tni_free_list;

typedef struct tni_memory_cache {
    struct tni_memory_cache *next, *previous;
    tni_free_list slabs[TNI_SLABS_MAX];
    tni_free_list small[TNI_SMALL_CLASSES];
    _Atomic int64_t slab_live[TNI_SLABS_MAX];
    _Atomic int64_t counts[TNI_COUNTS]; /* changes made here */
    _Atomic int64_t bytes;      /* allocated minus freed here, not yet in the process's count */
    _Atomic int64_t bytes_high; /* most of that */
} tni_memory_cache;

/* This thread's; made at first use. NULL if there is no memory even for that. */
tni_memory_cache *tni_memory_cache_get(void);
void tni_memory_lock(void);
void tni_memory_unlock(void);

/* Counting. */
void tni_account_flush(tni_memory_cache *);
void tni_account_shared(int64_t bytes); /* for a thread without a cache */
/* Live objects of slab `index`, as threads that are still there counted; locked. */
int64_t tni_memory_slab_sum(uint32_t index);

/* Bytes allocated and at most so far, and what is in threads' lists, added to `small`; locked. */
void tni_memory_cache_stats(tn_memory_info *);
void tni_memory_cache_reset_peak(void); /* locked */

static inline void tni_count(_Atomic int64_t *counter, int64_t change) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + change,
                          memory_order_relaxed);
}

void tni_count_change_slowly(uint32_t which, int64_t change);
static inline void tni_count_change(uint32_t which, int64_t change) {
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(c != NULL, 1))
        tni_count(&c->counts[which], change);
    else
        tni_count_change_slowly(which, change);
}
int64_t tni_counted(uint32_t which); /* over all threads */

/* Small changes stay with the thread: an atomic addition per tensor costs more than the tensor. */
static inline void tni_account(tni_memory_cache *c, int64_t change) {
    int64_t bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed) + change;
    atomic_store_explicit(&c->bytes, bytes, memory_order_relaxed);
    if (bytes > atomic_load_explicit(&c->bytes_high, memory_order_relaxed)) {
        atomic_store_explicit(&c->bytes_high, bytes, memory_order_relaxed);
    }
    if (__builtin_expect(bytes > TNI_SMALL_BYTES || bytes < -TNI_SMALL_BYTES, 0)) {
        tni_account_flush(c);
    }
}

static inline uint32_t tni_list_n(const tni_free_list *l) {
    return atomic_load_explicit(&l->n, memory_order_relaxed);
}
static inline void tni_list_set_n(tni_free_list *l, uint32_t n) {
    atomic_store_explicit(&l->n, n, memory_order_relaxed);
}

#endif
