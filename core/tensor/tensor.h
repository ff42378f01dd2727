/* tensor.h - storage (bytes on a device, version) and tensor (a geometry over a storage).
 *
 * A tensor that was not made as a view brings its storage along, in one slot of a slab:
 *
 *     slot   [ header | its own storage | sizes, strides ]      view   [ header | - | sizes, ... ]
 *                  storage points here ^ ______________________________________/
 *
 * Invariants: slots are never given back to the system, so any pointer Tenon handed out can be
 * asked for its state word; freed ones are reused first-in first-out, so a stale pointer stays
 * recognisable for a while and never points outside a header. A slot is free when its header is
 * dead and nobody holds the storage in it. sizes, strides and numel are checked for overflow when a
 * tensor is made and never change, save for grad metadata.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_TENSOR_H
#define TENON_TENSOR_TENSOR_H

#include <stdatomic.h>

#include "core/base/state.h"
#include "core/memory/place.h"

typedef struct tni_node tni_node; /* autograd/tape.h */

typedef struct tni_storage {
    _Atomic int32_t refs;
    _Atomic uint32_t version; /* counts in-place writes; shared by all views */
    tni_place *place;
    void *data; /* 64-byte aligned; NULL when bytes == 0 */
    uint64_t bytes;
} tni_storage;

enum { TNI_TENSOR_FREE = 0x66726565, TNI_TENSOR_LIVE = 0x6c697665 };
enum {
    TNI_REQUIRES_GRAD = 1u << 0, /* a leaf asked for it, or node != NULL */
    TNI_WRAPPED = 1u << 1,       /* a number: gives way in promotion */
    TNI_CONTIGUOUS = 1u << 2,    /* row-major without holes */
    TNI_MULTI_VIEW = 1u << 3, /* one of several views made by one op: no in-place while recording */
    TNI_NO_GRAD_VIEW = 1u << 4 /* a view made while not recording, of a tensor that requires grad */
};

struct tn_tensor {
    uint32_t state; /* TNI_TENSOR_LIVE or _FREE */
    uint32_t flags;
    _Atomic int32_t refs; /* scopes, keeps, nodes, views of it */
    int32_t kept;         /* tn_keep minus tn_drop */
    tni_storage *storage;
    int64_t offset; /* elements from the start of the storage */
    int64_t numel;
    tn_dtype dtype;
    int32_t rank;
    tni_node *node;        /* what made it, while a gradient is wanted; owned reference */
    uint32_t node_out;     /* which result of node it is */
    uint32_t node_version; /* of a view: the storage's version its node is right for (autograd);
                              starts as 0 */
    tn_tensor *grad;       /* of a leaf; owned */
    tn_tensor *base;       /* what it is a view of (never itself a view); owned */
    union {
        tn_tensor *next_free;
        struct tni_leaf
            *as_leaf; /* what a live leaf has beyond (autograd/leaf.h), or NULL; owned */
    };
    tni_storage own; /* refs 0: another one's is used, or nobody needs it any more */
    int64_t sizes[TN_MAX_RANK];
    int64_t strides[TN_MAX_RANK]; /* elements; may be 0 (expand) or negative (flip) */
};

/* New contiguous tensor with fresh storage (bytes undefined), refs = 1, in no scope. NULL +
 * error. */
tn_tensor *tni_tensor_new(tn_dtype, int32_t rank, const int64_t *sizes, tni_place *);
/* The same for a geometry that was checked, row-major; numel and bytes follow from it. */
tn_tensor *tni_tensor_like(const tn_meta *, int64_t numel, uint64_t bytes, tni_place *);
/* New header over a storage that is there, which it holds; the caller fills in offset, numel,
 * dtype, rank, sizes, strides and flags. refs = 1, in no scope. NULL + error. */
tn_tensor *tni_tensor_over(tni_storage *);
/* New header over base's storage with meta's geometry; meta->offset counts from base's first
 * element. Checks that it stays inside the storage. refs = 1, in no scope. Sets base, not grad
 * metadata. */
tn_tensor *tni_tensor_view(tn_tensor *base, const tn_meta *meta);
/* Drops a reference; true if it was the last. Whoever holds the only one needs no atomic write. */
static inline bool tni_ref_drop(_Atomic int32_t *refs) {
    if (atomic_load_explicit(refs, memory_order_acquire) == 1) return true;
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}
void tni_tensor_retain(tn_tensor *);
void tni_tensor_release(tn_tensor *); /* NULL is fine; iterative through bases and grads */
void tni_tensor_meta(const tn_tensor *, tn_meta *out); /* offset 0 */

/* First element, or NULL if the storage has no bytes. Of a live tensor, whose dtype is known. */
static inline void *tni_tensor_data(const tn_tensor *t) {
    char *data = (char *)t->storage->data;
    return data ? data + t->offset * (t->dtype.bits / 8) : NULL;
}

/* One element on the cpu: it may go along with tensors of any device. */
static inline bool tni_is_number(const tn_tensor *t) {
    return (t->flags & TNI_WRAPPED) || (t->numel == 1 && t->storage->place->first == &tni_host);
}

void tni_tensor_refuse(const tn_tensor *, const char *where, const char *what);
/* Live and usable? Raises INVALID for NULL and STALE for freed ones, naming what (an argument) and
 * where (an op). */
static inline bool tni_tensor_check(const tn_tensor *t, const char *where, const char *what) {
    if (__builtin_expect(
            t && __atomic_load_n(&t->state, __ATOMIC_RELAXED) == (uint32_t)TNI_TENSOR_LIVE, 1))
        return true;
    tni_tensor_refuse(t, where, what);
    return false;
}

static inline void tni_storage_retain(tni_storage *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}
void tni_storage_release(tni_storage *);

void tni_tensor_counts(uint64_t *tensors, uint64_t *storages); /* live ones */

#endif
