/* tensor.c - life of storages and tensors: made, viewed, counted, released; and the stale check.
 *
 * Invariants: see tensor.h. A header's state word is written last when it dies and stays readable.
 * Releasing never recurses: what a dying tensor lets go is queued through next_free.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/tensor/tensor.h"

#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>
#include <tenon/device.h>
#include <tenon/inspect.h>

#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/memory/block.h"
#include "core/memory/buffer.h"
#include "core/memory/device.h"
#include "core/memory/fault.h"
#include "core/memory/memory_cache.h"
#include "core/memory/slab.h"
#include "core/tensor/format.h"
#include "core/tensor/grad.h"

static tni_slab tensor_slab = {(uint32_t)sizeof(tn_tensor) | TNI_SLAB_PERMANENT, "tensor", NULL};
_Static_assert(sizeof(tn_tensor) + sizeof(void *) == 384, "a slot is six cache lines");

/* Every slot in use is a tensor, but for orphans, and has a storage, but for views. */
void tni_tensor_counts(uint64_t *tensors, uint64_t *storages) {
    const int64_t slots = (int64_t)tni_slab_live(&tensor_slab);
    const int64_t live = slots - tni_counted(TNI_COUNT_ORPHANS);
    const int64_t own = slots - tni_counted(TNI_COUNT_VIEWS);
    *tensors = live > 0 ? (uint64_t)live : 0;
    *storages = own > 0 ? (uint64_t)own : 0;
}

/* ---- Storage --------------------------------------------------------------------------------- */

/* "1.5 GiB". */
static const char *bytes_text(uint64_t bytes, char out[static 32]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double n = (double)bytes;
    int unit = 0;
    for (; n >= 1024 && unit < 6; unit++) n /= 1024;
    tn_text(out, 32, unit && n < 10 ? "%.1f %s" : "%.0f %s", n, units[unit]);
    return out;
}

/* "; largest in use: 1.0 GiB, 512 MiB", or nothing. */
static void largest_text(tni_place *place, char *out, size_t capacity) {
    uint64_t largest[3];
    char one[32];
    const uint32_t n = tni_block_largest(place, largest, 3);
    int used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < n; i++)
        used += snprintf(out + used, capacity - (size_t)used, "%s%s",
                         i ? ", " : "; largest in use: ", bytes_text(largest[i], one));
}

/* Of the device, if it says so, else of this process. */
static uint64_t limit_of(const tni_place *place, uint64_t process) {
    tn_device_props props = {.size = sizeof props};
    const tn_driver *d = place->driver;
    if (place == &tni_host || d->props(d->user, place->index, &props)) return process;
    return props.memory_bytes ? props.memory_bytes : process;
}

static void raise_no_memory(tni_place *place, uint64_t bytes) {
    tn_memory_info m = {.size = sizeof m};
    if (tni_fault_lost(place, "no memory for a tensor")) return;
    char where[64], asked[32], used[32], peak[32], cached[32], limit[32], largest[160];
    tni_device_text(place->device, where, sizeof where);
    tn_memory_stats(&m);
    const uint64_t most = limit_of(place, m.limit_bytes);
    largest_text(place, largest, sizeof largest);
    tn_raise(
        TN_ERR_NOMEM,
        "no memory for a tensor of %llu bytes (%s) on %s\n  tensors have %s, at most %s so far; "
        "cached, after giving back: %s; limit: %s%s\n  %s",
        (unsigned long long)bytes, bytes_text(bytes, asked), where,
        bytes_text(m.allocated_bytes, used), bytes_text(m.peak_bytes, peak),
        bytes_text(m.cached_bytes, cached), bytes_text(most, limit), largest,
        bytes > most
            ? "it can never fit: use smaller sizes"
            : "drop tensors, pop scopes earlier, record less (tn_set_grad_enabled), or use smaller "
              "sizes");
}

/* Bytes of a new tensor, in its own storage. False + NOMEM. */
static inline bool own_storage(tn_tensor *t, tni_place *place, uint64_t bytes) {
    tni_storage *s = &t->own;
    void *data = bytes ? tni_buffer_alloc(place, bytes) : NULL;
    if (__builtin_expect(bytes && !data, 0)) return raise_no_memory(place, bytes), false;
    atomic_init(&s->refs, 1);
    atomic_init(&s->version, 0);
    s->place = place;
    s->data = data;
    s->bytes = bytes;
    t->storage = s;
    return true;
}

/* The bytes go; so does the slot, if its header is dead. */
static inline void storage_free(tni_storage *s, bool orphan) {
    tni_buffer_free(s->place, s->data, s->bytes);
    tni_slab_put(&tensor_slab, (char *)s - offsetof(tn_tensor, own));
    if (orphan) tni_count_change(TNI_COUNT_ORPHANS, -1);
}

/* A header holds its own storage until it dies, so whoever else is last finds it dead. */
void tni_storage_release(tni_storage *s) {
    if (s && tni_ref_drop(&s->refs)) storage_free(s, true);
}

/* ---- Geometry -------------------------------------------------------------------------------- */

/* Raises SHAPE, OVERFLOW or DTYPE with the shape in the text, or returns numel. */
static int64_t checked_numel(tn_dtype dtype, int32_t rank, const int64_t *sizes) {
    const int64_t bytes = tni_dtype_bytes(dtype);
    if (bytes == 0) {
        tn_raise(TN_ERR_DTYPE, "unknown dtype (code %d, %d bits, %d lanes); use one of TN_*",
                 dtype.code, dtype.bits, dtype.lanes);
        return -1;
    }
    if (rank < 0 || rank > TN_MAX_RANK) {
        tn_raise(TN_ERR_SHAPE, "a tensor of rank %d was asked for; ranks go from 0 to %d", rank,
                 TN_MAX_RANK);
        return -1;
    }
    const int64_t numel = tni_numel(sizes, rank, bytes);
    if (numel >= 0) return numel;
    char text[256];
    tn_meta meta = {.dtype = dtype, .rank = rank};
    if (rank) memcpy(meta.sizes, sizes, (size_t)rank * sizeof *sizes);
    tni_shape_text(&meta, text, sizeof text);
    for (int32_t i = 0; i < rank; i++) {
        if (sizes[i] >= 0) continue;
        tn_raise(TN_ERR_SHAPE, "size %lld in dim %d of %s is negative; sizes start at 0",
                 (long long)sizes[i], i, text);
        return -1;
    }
    tn_raise(TN_ERR_OVERFLOW, "%s has more bytes than fit in 63 bits; use smaller sizes", text);
    return -1;
}

/* ---- Tensors --------------------------------------------------------------------------------- */

static tn_tensor *new_header(void) {
    tn_tensor *t = tni_slab_get(&tensor_slab);
    if (!t) {
        tn_raise(TN_ERR_NOMEM,
                 "no memory for the header of a tensor (%zu bytes); drop tensors "
                 "or pop scopes earlier",
                 sizeof *t);
        return NULL;
    }
    /* The slab zeroed the first 64 bytes: flags, kept, node among them. */
    atomic_init(&t->refs, 1);
    t->node = NULL;
    t->node_out = 0;
    t->node_version = 0;
    t->grad = t->base = t->next_free = NULL;
    return t;
}

static tn_tensor *go_live(tn_tensor *t) {
    __atomic_store_n(&t->state, (uint32_t)TNI_TENSOR_LIVE, __ATOMIC_RELAXED);
    return t;
}

tn_tensor *tni_tensor_like(const tn_meta *m, int64_t numel, uint64_t bytes, tni_place *place) {
    tn_tensor *t = new_header();
    if (!t) return NULL;
    if (!own_storage(t, place, bytes)) {
        tni_slab_put(&tensor_slab, t);
        return NULL;
    }
    t->flags = TNI_CONTIGUOUS;
    t->numel = numel;
    t->dtype = m->dtype;
    t->rank = m->rank;
    for (int32_t i = 0; i < m->rank; i++) {
        t->sizes[i] = m->sizes[i];
        t->strides[i] = m->strides[i];
    }
    return go_live(t);
}

tn_tensor *tni_tensor_new(tn_dtype dtype, int32_t rank, const int64_t *sizes, tni_place *place) {
    const int64_t numel = checked_numel(dtype, rank, sizes);
    if (numel < 0) return NULL;
    const uint64_t bytes = (uint64_t)(numel * tni_dtype_bytes(dtype));
    tn_meta m;
    m.dtype = dtype;
    m.rank = rank;
    if (rank) memcpy(m.sizes, sizes, (size_t)rank * sizeof *sizes);
    tni_row_major(sizes, rank, m.strides);
    return tni_tensor_like(&m, numel, bytes, place);
}

tn_tensor *tni_tensor_over(tni_storage *s) {
    tn_tensor *t = new_header();
    if (!t) return NULL;
    atomic_init(&t->own.refs, 0);
    tni_storage_retain(s);
    t->storage = s;
    tni_count_change(TNI_COUNT_VIEWS, 1);
    return go_live(t);
}

/* Does the geometry stay inside the storage? first: where it starts in it. */
static bool inside(const tn_tensor *base, const tn_meta *m, int64_t numel, int64_t *first) {
    int64_t low, high;
    const int64_t elements = (int64_t)base->storage->bytes / tni_dtype_bytes(m->dtype);
    if (__builtin_add_overflow(base->offset, m->offset, first) ||
        !tni_reach(m->sizes, m->strides, m->rank, &low, &high))
        return false;
    if (numel == 0) { /* reads nothing, so where it starts does not matter */
        *first = base->offset;
        return true;
    }
    if (__builtin_add_overflow(low, *first, &low) || __builtin_add_overflow(high, *first, &high)) {
        return false;
    }
    return low >= 0 && high < elements;
}

static tn_tensor *refuse_view(const tn_tensor *base, const tn_meta *m) {
    char of[256], to[256];
    tn_meta whole;
    tni_tensor_meta(base, &whole);
    tni_shape_text(&whole, of, sizeof of);
    tni_shape_text(m, to, sizeof to);
    tn_raise(
        TN_ERR_INDEX,
        "a view %s at offset %lld, with the strides asked for, reaches beyond the memory of %s", to,
        (long long)m->offset, of);
    return NULL;
}

tn_tensor *tni_tensor_view(tn_tensor *base, const tn_meta *m) {
    int64_t first, numel = checked_numel(m->dtype, m->rank, m->sizes);
    if (numel < 0) return NULL;
    if (tni_dtype_bytes(m->dtype) != tni_dtype_bytes(base->dtype)) {
        tn_raise(TN_ERR_DTYPE, "a view of a %s tensor cannot be %s: elements differ in size",
                 tn_dtype_name(base->dtype), tn_dtype_name(m->dtype));
        return NULL;
    }
    if (!inside(base, m, numel, &first)) return refuse_view(base, m);
    tn_tensor *t = tni_tensor_over(base->storage);
    if (!t) return NULL;
    t->base = base->base ? base->base : base;
    tni_tensor_retain(t->base);
    t->offset = first;
    t->numel = numel;
    t->dtype = m->dtype;
    t->rank = m->rank;
    memcpy(t->sizes, m->sizes, (size_t)m->rank * sizeof *m->sizes);
    memcpy(t->strides, m->strides, (size_t)m->rank * sizeof *m->strides);
    t->flags = tni_contiguous(t->sizes, t->strides, t->rank) ? TNI_CONTIGUOUS : 0;
    return t;
}

void tni_tensor_retain(tn_tensor *t) {
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

/* True if it was the last reference. */
static inline bool drop(tn_tensor *t) {
    if (atomic_load_explicit(&t->refs, memory_order_acquire) == 1) return true;
    if (__atomic_load_n(&t->as_leaf, __ATOMIC_RELAXED)) return tni_leaf_drop(t);
    return atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1;
}

/* Queues what t owned if nobody else holds it. */
static void let_go(tn_tensor *t, tn_tensor **queue) {
    if (!t || !drop(t)) return;
    if (t->as_leaf) tni_leaf_free(t->as_leaf);
    t->next_free = *queue;
    *queue = t;
}

/* After the header has let go of all else. */
static inline void header_free(tn_tensor *t) {
    tni_storage *s = t->storage;
    __atomic_store_n(&t->state, (uint32_t)TNI_TENSOR_FREE, __ATOMIC_RELEASE);
    if (s != &t->own) {
        tni_slab_put(&tensor_slab, t);
        tni_count_change(TNI_COUNT_VIEWS, -1);
        tni_storage_release(s);
    } else if (atomic_load_explicit(&s->refs, memory_order_acquire) == 1) {
        storage_free(s, false);
    } else {
        tni_count_change(TNI_COUNT_ORPHANS, 1);
        tni_storage_release(s);
    }
}

/* What dies with t queues up: nothing recurses. */
static void owner_free(tn_tensor *t) {
    tn_tensor *queue = NULL;
    if (t->as_leaf) tni_leaf_free(t->as_leaf);
    for (; t; t = queue, queue = t ? t->next_free : NULL) {
        tni_node_release(t->node);
        let_go(t->grad, &queue);
        let_go(t->base, &queue);
        header_free(t);
    }
}

void tni_tensor_release(tn_tensor *t) {
    if (!t || !drop(t)) return;
    if (t->node || t->grad || t->base || t->as_leaf)
        owner_free(t);
    else
        header_free(t);
}

/* Entries of sizes and strides beyond the rank are left as they are. */
void tni_tensor_meta(const tn_tensor *t, tn_meta *out) {
    out->dtype = t->dtype;
    out->rank = t->rank;
    out->offset = 0;
    memcpy(out->sizes, t->sizes, (size_t)t->rank * sizeof *t->sizes);
    memcpy(out->strides, t->strides, (size_t)t->rank * sizeof *t->strides);
}

void tni_tensor_refuse(const tn_tensor *t, const char *where, const char *what) {
    if (!t) {
        tn_raise(TN_ERR_INVALID, "%s: %s is NULL; pass a tensor", where, what);
    } else {
        tn_raise(TN_ERR_STALE,
                 "%s: %s was dropped, or its scope was popped; tn_keep or tn_scope_pop_with "
                 "make a tensor live longer",
                 where, what);
    }
}
