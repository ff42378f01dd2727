/* statistics.c - see statistics.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/statistics.h"

#include <stdatomic.h>

#include <tenon/inspect.h>

#include "core/memory/block.h"
#include "core/memory/buffer.h"
#include "core/memory/memory_cache.h"

static _Atomic uint64_t signatures, signature_bytes;

void tni_statistics_signatures(uint64_t count, uint64_t bytes) {
    signatures = count;
    signature_bytes = bytes;
}

static double part_of(uint64_t part, uint64_t whole) {
    return whole ? (double)part / (double)whole : 0;
}

void tni_memory_statistics(tn_memory_info *info) {
    const int64_t asked = tni_counted(TNI_COUNT_SMALL);
    tni_memory_lock();
    tni_buffer_stats(info);
    tni_memory_cache_stats(info);
    tni_block_stats(info);
    tni_memory_unlock();
    const int64_t hits = asked - (int64_t)info->small.misses;
    info->small.hits = hits > 0 ? (uint64_t)hits : 0;
    info->cached_bytes = info->small.cached_bytes + info->large.cached_bytes;
    info->largest_cached_bytes = info->large.largest_bytes > info->small.largest_bytes
                                     ? info->large.largest_bytes
                                     : info->small.largest_bytes;
    info->signatures = signatures;
    info->signature_bytes = signature_bytes;
    info->fragmentation =
        info->cached_bytes ? 1 - part_of(info->largest_cached_bytes, info->cached_bytes) : 0;
}

void tn_memory_reset_peak(void) {
    tni_memory_lock();
    tni_memory_cache_reset_peak();
    tni_buffer_reset_peak();
    tni_memory_unlock();
}
