/* memory_cache.c - see memory_cache.h.
 *
 * Invariant: allocated bytes are the process's count plus what each thread has not yet added to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/memory_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include <tenon/inspect.h>

#include "core/memory/buffer.h"
#include "core/memory/slab.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static tni_memory_cache *caches;     /* of all threads; under the mutex */
static _Atomic int64_t shared_bytes; /* allocated, as far as threads have told */
static _Atomic int64_t peak_bytes;
static _Atomic int64_t ended_counts[TNI_COUNTS]; /* of threads that have ended, or had no cache */

void tni_memory_lock(void) { pthread_mutex_lock(&mutex); }
void tni_memory_unlock(void) { pthread_mutex_unlock(&mutex); }

/* ---- Threads' caches ------------------------------------------------------------------------- */

static void thread_end(tni_state *st) {
    tni_memory_cache *c = st->memory;
    if (!c) return;
    st->memory = NULL;
    tni_account_flush(c);
    tni_memory_lock();
    if (c->next) c->next->previous = c->previous;
    if (c->previous) {
        c->previous->next = c->next;
    } else {
        caches = c->next;
    }
    tni_slab_thread_end(c);
    tni_buffer_thread_end(c);
    for (uint32_t i = 0; i < TNI_COUNTS; i++) tni_count_change_slowly(i, c->counts[i]);
    tni_memory_unlock();
    free(c);
}

/* A child of a fork must not inherit a lock that another thread held. */
static void start(void) {
    tni_state_at_end(TNI_END_MEMORY, thread_end);
    pthread_atfork(tni_memory_lock, tni_memory_unlock, tni_memory_unlock);
}

tni_memory_cache *tni_memory_cache_get(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    tni_state *st = tni_state_get();
    if (st->memory) return st->memory;
    pthread_once(&once, start);
    tni_memory_cache *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    tni_heap_called();
    tni_memory_lock();
    c->next = caches;
    if (caches) caches->previous = c;
    caches = c;
    tni_memory_unlock();
    st->memory = c;
    return c;
}

/* ---- Counts ---------------------------------------------------------------------------------- */

static void raise_peak(int64_t bytes) {
    int64_t peak = atomic_load_explicit(&peak_bytes, memory_order_relaxed);
    while (bytes > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, bytes)) {
    }
}

void tni_account_shared(int64_t change) {
    raise_peak(atomic_fetch_add(&shared_bytes, change) + change);
}

void tni_account_flush(tni_memory_cache *c) {
    int64_t bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed);
    int64_t high = atomic_load_explicit(&c->bytes_high, memory_order_relaxed);
    raise_peak(atomic_fetch_add(&shared_bytes, bytes) + high);
    atomic_store_explicit(&c->bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&c->bytes_high, 0, memory_order_relaxed);
}

void tni_count_change_slowly(uint32_t which, int64_t change) {
    atomic_fetch_add(&ended_counts[which], change);
}

int64_t tni_counted(uint32_t which) {
    tni_memory_lock();
    int64_t sum = atomic_load(&ended_counts[which]);
    for (tni_memory_cache *c = caches; c; c = c->next)
        sum += atomic_load_explicit(&c->counts[which], memory_order_relaxed);
    tni_memory_unlock();
    return sum;
}

int64_t tni_memory_slab_sum(uint32_t index) {
    int64_t sum = 0;
    for (tni_memory_cache *c = caches; c; c = c->next) {
        sum += atomic_load_explicit(&c->slab_live[index], memory_order_relaxed);
    }
    return sum;
}

/* Of all threads together. peak: as if each had its most at the same time. */
static int64_t allocated(int64_t *peak) {
    int64_t bytes = atomic_load(&shared_bytes);
    *peak = bytes;
    for (tni_memory_cache *c = caches; c; c = c->next) {
        bytes += atomic_load_explicit(&c->bytes, memory_order_relaxed);
        *peak += atomic_load_explicit(&c->bytes_high, memory_order_relaxed);
    }
    return bytes;
}

static uint64_t clamp(int64_t n) { return n > 0 ? (uint64_t)n : 0; }

static void add_small(const tni_memory_cache *c, tn_pool_info *out) {
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) {
        const uint64_t n = tni_list_n(&c->small[i]), bytes = tni_class_bytes(i);
        out->cached_blocks += n;
        out->cached_bytes += n * bytes;
        if (n && bytes > out->largest_bytes) out->largest_bytes = bytes;
    }
}

void tni_memory_cache_stats(tn_memory_info *out) {
    int64_t high;
    const int64_t bytes = allocated(&high);
    raise_peak(high);
    out->allocated_bytes = clamp(bytes);
    out->peak_bytes = clamp(atomic_load(&peak_bytes));
    for (const tni_memory_cache *c = caches; c; c = c->next) add_small(c, &out->small);
}

/* Other threads may be at it: what they count meanwhile may be counted or not. */
void tni_memory_cache_reset_peak(void) {
    int64_t high;
    for (tni_memory_cache *c = caches; c; c = c->next)
        atomic_store_explicit(&c->bytes_high, atomic_load_explicit(&c->bytes, memory_order_relaxed),
                              memory_order_relaxed);
    atomic_store(&peak_bytes, allocated(&high));
}
