/* heap.h - the core's small objects, from the system's allocator.
 *
 * Invariant: every allocation of the core, pooled ones included (core/memory), asks here whether it
 * is to fail, so that one switch for tests reaches all of them; TENON_ALLOC=system turns all pools
 * off.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_HEAP_H
#define TENON_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed; NULL without an error raised. bytes 0 gives a valid pointer. */
void *tni_alloc(uint64_t bytes);
/* The new part is zeroed; on failure the old block stays as it is. */
void *tni_realloc(void *, uint64_t old_bytes, uint64_t new_bytes);
void tni_free(void *);
char *tni_strdup(const char *);

/* TENON_ALLOC=system: nothing is cached. */
bool tni_heap_system(void);

/* For tests: the n-th allocation from now fails (0 = never again), once or from then on. Returns
 * how many were made since the last call. */
uint64_t tni_heap_fail_after(uint64_t n, bool forever);
/* For tests: calls to the system's allocator so far. Whoever calls it says so. */
uint64_t tni_heap_calls(void);
void tni_heap_called(void);

/* Is this allocation to fail? One relaxed load when no test asked for it. */
extern bool tni_heap_may_fail; /* atomic */
bool tni_heap_tick(void);
static inline bool tni_heap_fails(void) {
    return __builtin_expect(__atomic_load_n(&tni_heap_may_fail, __ATOMIC_RELAXED), 0) &&
           tni_heap_tick();
}

#endif
