/* memory.h - host memory: the core's small objects, and pooled buffers for tensors.
 *
 * Invariant: every allocation of the core goes through this file, so one switch
 * (TENON_ALLOC=system, or tni_memory_fail_after for tests) reaches all of them. Drivers never pool;
 * the pools are here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_MEMORY_H
#define TENON_MEMORY_MEMORY_H

#include <tenon/abi.h>

/* Zeroed, for objects of the core; NULL without an error raised. bytes 0 gives a valid pointer. */
void *tni_alloc(uint64_t bytes);
void *tni_realloc(void *, uint64_t old_bytes,
                  uint64_t new_bytes); /* new part zeroed; on failure the old one stays */
void tni_free(void *);
char *tni_strdup(const char *);

/* Tensor-sized buffers, 64-byte aligned, contents undefined; size classes, cached on free. */
void *tni_buffer_alloc(tn_device, uint64_t bytes);
void tni_buffer_free(tn_device, void *, uint64_t bytes);

/* What TENON_CACHE_LIMIT says: "512m", "2g", "0"; a quarter of what this process may use if the text
 * is NULL or makes no sense. */
uint64_t tni_cache_limit_of(const char *text);

/* Fixed-size objects from slabs, per size; zero heap calls when warm. */
typedef struct tni_slab {
    uint32_t object_bytes;
    const char *name;
    struct tni_slab_impl *impl;
} tni_slab;
/* In object_bytes: slots stay readable after put, also with TENON_ALLOC=system. */
#define TNI_SLAB_PERMANENT (UINT32_C(1) << 31)
void *tni_slab_get(tni_slab *); /* zeroed first 64 bytes only; NULL without an error raised */
void tni_slab_put(tni_slab *, void *);
uint64_t tni_slab_live(const tni_slab *); /* gets minus puts, over all threads */

/* Exported for tests (tni_ symbols are visible only in the test build): the n-th allocation from
 * now fails (0 = never again), once or from then on. Returns how many were made since the last
 * call. */
uint64_t tni_memory_fail_after(uint64_t n, bool forever);
uint64_t tni_memory_heap_calls(void); /* for tests: calls to the system's allocator so far */

/* Checked arithmetic: false on overflow or a negative operand. */
static inline bool tni_mul(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}
static inline bool tni_add(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

#endif
