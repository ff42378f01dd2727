/* buffer.h - the bytes of tensors: 64-byte aligned, by size class, cached when freed.
 *
 * Drivers never pool; the pools are here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_BUFFER_H
#define TENON_MEMORY_BUFFER_H

#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include "core/memory/place.h"

struct tni_memory_cache;

/* Contents undefined; NULL without an error raised. */
void *tni_buffer_alloc(tni_place *, uint64_t bytes);
/* bytes as they were asked for. The work that was queued at the place may still use them. */
void tni_buffer_free(tni_place *, void *, uint64_t bytes);

/* Memory from the device's driver, counted. alloc empties the caches and tries again if there is
 * none; NULL without an error raised. */
void *tni_system_alloc(const tni_place *, uint64_t bytes);
void tni_system_free(const tni_place *, void *, uint64_t bytes);

/* The size class of 1 byte or more, and the bytes of a class. */
uint32_t tni_class_of(uint64_t bytes);
uint64_t tni_class_bytes(uint32_t index);

/* Small buffers, and calls of the system; locked. */
void tni_buffer_stats(tn_memory_info *);
void tni_buffer_reset_peak(void);
/* A thread ends: its lists come back. Locked. */
void tni_buffer_thread_end(struct tni_memory_cache *);

#endif
