/* block.h - large buffers: what is in use is known by its address, what is free waits for reuse.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_BLOCK_H
#define TENON_MEMORY_BLOCK_H

#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include "core/memory/place.h"

/* bytes as the caller asks for them, both times. NULL without an error raised. */
void *tni_block_alloc(tni_place *, uint64_t bytes);
void tni_block_free(tni_place *, void *, uint64_t bytes);
/* Work on a place other than its own will be queued that reads or writes the buffer: once it is freed
 * it waits for that. */
void tni_block_used(tni_place *, const void *data, tni_place *user);
/* Gives all free ones back to the system. */
void tni_block_trim(void);
/* The largest in use on a device, in bytes as asked for, largest first; returns how many. */
uint32_t tni_block_largest(tni_place *, uint64_t *out, uint32_t capacity);
void tni_block_stats(tn_memory_info *); /* locked */

/* What TENON_CACHE_LIMIT says: "512m", "2g", "0"; a quarter of what this process may use if the
 * text is NULL or makes no sense. */
uint64_t tni_cache_limit_of(const char *text);

#endif
