/* slab.h - objects of one size: zero calls to the heap when warm.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_SLAB_H
#define TENON_MEMORY_SLAB_H

#include <stdint.h>

struct tni_memory_cache;

typedef struct tni_slab { /* static, and the rest zero */
    uint32_t object_bytes;
    const char *name;
    struct tni_slab_impl *impl;
} tni_slab;

/* In object_bytes: slots stay readable after put, also with TENON_ALLOC=system. */
#define TNI_SLAB_PERMANENT (UINT32_C(1) << 31)

/* Its first 64 bytes are zero, the rest is as it was left. NULL without an error raised. */
void *tni_slab_get(tni_slab *);
/* As tni_slab_get, out of reach of tests that let allocations fail. */
void *tni_slab_take(tni_slab *);
void tni_slab_put(tni_slab *, void *);
/* Gets minus puts, over all threads. */
uint64_t tni_slab_live(const tni_slab *);

/* A thread ends: its lists come back. Locked. */
void tni_slab_thread_end(struct tni_memory_cache *);

#endif
