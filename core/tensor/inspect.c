/* inspect.c - what a program may ask: of a tensor, and of the memory they all use.
 *
 * Invariant: every question checks its tensor first and has an answer that means "error". Questions
 * work while an error is pending; only those that touch elements (transfer.c) do not.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <tenon/inspect.h>

#include "core/memory/device.h"
#include "core/memory/memory_cache.h"
#include "core/memory/statistics.h"
#include "core/tensor/format.h"
#include "core/tensor/tensor.h"
#include "core/tensor/watch.h"

int64_t tn_rank(tn_tensor *t) { return tni_tensor_check(t, "tn_rank", "tensor") ? t->rank : -1; }

int64_t tn_size(tn_tensor *t, int64_t dim) {
    if (!tni_tensor_check(t, "tn_size", "tensor")) return -1;
    if (dim < -t->rank || dim >= t->rank) {
        char text[256];
        tn_meta meta;
        tni_tensor_meta(t, &meta);
        tni_shape_text(&meta, text, sizeof text);
        tn_raise(TN_ERR_INDEX, "tn_size: there is no dim %lld in %s; dims go from %d to %d",
                 (long long)dim, text, -t->rank, t->rank - 1);
        return -1;
    }
    return t->sizes[dim < 0 ? dim + t->rank : dim];
}

const int64_t *tn_sizes(tn_tensor *t) {
    return tni_tensor_check(t, "tn_sizes", "tensor") ? t->sizes : NULL;
}

const int64_t *tn_strides(tn_tensor *t) {
    return tni_tensor_check(t, "tn_strides", "tensor") ? t->strides : NULL;
}

int64_t tn_numel(tn_tensor *t) { return tni_tensor_check(t, "tn_numel", "tensor") ? t->numel : -1; }

tn_dtype tn_dtype_of(tn_tensor *t) {
    return tni_tensor_check(t, "tn_dtype_of", "tensor") ? t->dtype : (tn_dtype){0, 0, 0};
}

tn_device tn_device_of(tn_tensor *t) {
    return tni_tensor_check(t, "tn_device_of", "tensor") ? t->storage->place->device
                                                         : (tn_device){0, 0};
}

bool tn_is_contiguous(tn_tensor *t) {
    return tni_tensor_check(t, "tn_is_contiguous", "tensor") && (t->flags & TNI_CONTIGUOUS) != 0;
}

void *tn_data(tn_tensor *t) {
    if (!tni_tensor_check(t, "tn_data", "tensor") || !tni_may_touch(t, "tn_data")) return NULL;
    if (!t->storage->place->host_memory) {
        char where[64];
        tni_device_text(t->storage->place->device, where, sizeof where);
        tn_raise(TN_ERR_DEVICE, "tn_data: the cpu cannot reach the memory of %s; copy with tn_read",
                 where);
        return NULL;
    }
    return tni_tensor_data(t);
}

tn_status tn_memory_stats(tn_memory_info *out) {
    if (!out || out->size < offsetof(tn_memory_info, tensors)) {
        return tn_raise(
            TN_ERR_INVALID,
            "tn_memory_stats: %s; pass a tn_memory_info with size = sizeof(tn_memory_info)",
            out ? "out->size is too small" : "out is NULL");
    }
    tn_memory_info info = {.size = out->size};
    const int64_t nodes = tni_counted(TNI_COUNT_NODES);
    info.nodes = nodes > 0 ? (uint64_t)nodes : 0;
    tni_tensor_counts(&info.tensors, &info.storages);
    tni_memory_statistics(&info);
    memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
    return TN_OK;
}
