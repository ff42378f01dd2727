/* memory.c - the core's small objects, counts and statistics, and the switches for tests.
 *
 * The pools are in slab.c (objects) and buffer.c (tensors' bytes). Invariant: allocated bytes are
 * the process's count plus what each thread has not yet added to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/autograd/tape.h"
#include "core/memory/memory_cache.h"
#include "core/tensor/tensor.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static tni_memory_cache *caches;     /* of all threads; under the mutex */
static _Atomic int64_t shared_bytes; /* allocated, as far as threads have told */
static _Atomic int64_t peak_bytes;
static _Atomic uint64_t heap_calls;
static _Atomic int64_t ended_counts[TNI_COUNTS]; /* of threads that have ended, or had no cache */

void tni_memory_lock(void) { (void)pthread_mutex_lock(&mutex); }
void tni_memory_unlock(void) { (void)pthread_mutex_unlock(&mutex); }

/* ---- Switches -------------------------------------------------------------------------------- */

_Atomic bool tni_fault_on;
static _Atomic uint64_t fault_made, fault_at;
static _Atomic bool fault_forever;

bool tni_fault_tick(void) {
    uint64_t number = atomic_fetch_add(&fault_made, 1) + 1;
    uint64_t at = atomic_load(&fault_at);
    if (at == 0) return false;
    return atomic_load(&fault_forever) ? number >= at : number == at;
}

uint64_t tni_memory_fail_after(uint64_t n, bool forever) {
    atomic_store(&fault_at, 0);
    uint64_t made = atomic_exchange(&fault_made, 0);
    atomic_store(&fault_forever, forever);
    atomic_store(&fault_at, n);
    atomic_store(&tni_fault_on, true);
    return made;
}

static bool system_mode;
static void read_mode(void) {
    const char *mode = secure_getenv("TENON_ALLOC");
    system_mode = mode && strcmp(mode, "system") == 0;
}

bool tni_memory_system(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, read_mode);
    return system_mode;
}

void tni_heap_called(void) { atomic_fetch_add_explicit(&heap_calls, 1, memory_order_relaxed); }
uint64_t tni_memory_heap_calls(void) { return atomic_load(&heap_calls); }

/* ---- Small objects --------------------------------------------------------------------------- */

void *tni_alloc(uint64_t bytes) {
    if (tni_fault()) return NULL;
    tni_heap_called();
    return calloc(1, bytes ? bytes : 1);
}

void *tni_realloc(void *old, uint64_t old_bytes, uint64_t new_bytes) {
    if (tni_fault()) return NULL;
    tni_heap_called();
    char *block = realloc(old, new_bytes ? new_bytes : 1);
    if (block && new_bytes > old_bytes) memset(block + old_bytes, 0, new_bytes - old_bytes);
    return block;
}

void tni_free(void *block) { free(block); }

char *tni_strdup(const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = tni_alloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}

/* ---- Threads' caches ------------------------------------------------------------------------- */

tni_memory_cache *tni_memory_cache_get(void) {
    tni_state *st = tni_state_get();
    if (st->memory) return st->memory;
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

void tni_memory_thread_end(tni_state *st) {
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

/* ---- Statistics ------------------------------------------------------------------------------ */

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
    (void)atomic_fetch_add(&ended_counts[which], change);
}

int64_t tni_counted(uint32_t which) {
    tni_memory_lock();
    int64_t sum = atomic_load(&ended_counts[which]);
    for (tni_memory_cache *c = caches; c; c = c->next)
        sum += atomic_load_explicit(&c->counts[which], memory_order_relaxed);
    tni_memory_unlock();
    return sum;
}

void tni_memory_cached_small(tn_pool_info *out) {
    for (const tni_memory_cache *c = caches; c; c = c->next) {
        for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) {
            const uint64_t n = tni_list_n(&c->small[i]), bytes = tni_class_bytes(i);
            out->cached_blocks += n;
            out->cached_bytes += n * bytes;
            if (n && bytes > out->largest_bytes) out->largest_bytes = bytes;
        }
    }
}

int64_t tni_memory_slab_sum(uint32_t index) {
    int64_t sum = 0;
    for (tni_memory_cache *c = caches; c; c = c->next) {
        sum += atomic_load_explicit(&c->slab_live[index], memory_order_relaxed);
    }
    return sum;
}

static uint64_t clamp(int64_t n) { return n > 0 ? (uint64_t)n : 0; }

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

static double part_of(uint64_t part, uint64_t whole) {
    return whole ? (double)part / (double)whole : 0;
}

static void read_bytes(tn_memory_info *info) {
    const int64_t asked = tni_counted(TNI_COUNT_SMALL);
    int64_t high;
    tni_memory_lock();
    const int64_t bytes = allocated(&high);
    raise_peak(high);
    tni_buffer_stats(info);
    tni_memory_cached_small(&info->small);
    tni_block_stats(info);
    tni_memory_unlock();
    info->allocated_bytes = clamp(bytes);
    info->peak_bytes = clamp(atomic_load(&peak_bytes));
    info->small.hits = clamp(asked - (int64_t)info->small.misses);
    info->cached_bytes = info->small.cached_bytes + info->large.cached_bytes;
    info->largest_cached_bytes = info->large.largest_bytes > info->small.largest_bytes
                                     ? info->large.largest_bytes
                                     : info->small.largest_bytes;
    info->fragmentation =
        info->cached_bytes ? 1 - part_of(info->largest_cached_bytes, info->cached_bytes) : 0;
}

tn_status tn_memory_stats(tn_memory_info *out) {
    if (!out || out->size < offsetof(tn_memory_info, tensors)) {
        return tn_raise(
            TN_ERR_INVALID,
            "tn_memory_stats: %s; pass a tn_memory_info with size = sizeof(tn_memory_info)",
            out ? "out->size is too small" : "out is NULL");
    }
    tn_memory_info info = {.size = out->size};
    tni_tensor_counts(&info.tensors, &info.storages);
    info.nodes = tni_node_live();
    read_bytes(&info);
    memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
    return TN_OK;
}

/* Other threads may be at it: what they count meanwhile may be counted or not. */
void tn_memory_reset_peak(void) {
    int64_t high;
    tni_memory_lock();
    for (tni_memory_cache *c = caches; c; c = c->next)
        atomic_store_explicit(&c->bytes_high, atomic_load_explicit(&c->bytes, memory_order_relaxed),
                              memory_order_relaxed);
    atomic_store(&peak_bytes, allocated(&high));
    tni_buffer_reset_peak();
    tni_memory_unlock();
}
