/* transfer.c - tn_read, tn_write, tn_item: elements to and from plain row-major host memory.
 *
 * A strided tensor on a device the cpu cannot reach is moved with the span of memory it lies in,
 * and gathered or scattered on the host. Invariant: nothing is written unless all checks have
 * passed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/tensor/transfer.h"

#include <math.h>
#include <string.h>

#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/memory/block.h"
#include "core/memory/buffer.h"
#include "core/memory/device.h"
#include "core/memory/event.h"
#include "core/memory/fault.h"
#include "core/tensor/format.h"
#include "core/tensor/grad.h"
#include "core/tensor/watch.h"

/* ---- Walking strided memory ------------------------------------------------------------------ */

/* Elements are moved as what they are not: these may alias anything. */
typedef uint16_t __attribute__((may_alias)) any16;
typedef uint32_t __attribute__((may_alias)) any32;
typedef uint64_t __attribute__((may_alias)) any64;

#define COPY_RUN(type)                                                                             \
    for (int64_t i = 0; i < n; i++) ((type *)to)[i * step_to] = ((const type *)from)[i * step_from]

static void copy_run(void *to, int64_t step_to, const void *from, int64_t step_from, int64_t n,
                     int64_t bytes) {
    if (step_to == 1 && step_from == 1) {
        memcpy(to, from, (size_t)(n * bytes));
        return;
    }
    switch (bytes) {
    case 1:
        COPY_RUN(uint8_t);
        break;
    case 2:
        COPY_RUN(any16);
        break;
    case 4:
        COPY_RUN(any32);
        break;
    default:
        COPY_RUN(any64);
        break;
    }
}

typedef struct runs { /* the tensor as equal runs of elements along its last dims */
    int64_t length, step;
    int32_t outer; /* dims left to walk */
} runs;

static runs runs_of(const tn_tensor *t) {
    if (t->rank == 0) return (runs){1, 1, 0};
    int32_t dim = t->rank - 1;
    runs r = {t->sizes[dim], t->strides[dim], dim};
    while (r.outer > 0 && t->strides[r.outer - 1] == r.length * r.step) {
        r.length *= t->sizes[--r.outer];
    }
    return r;
}

/* Next index in row-major order; moves the element offset along. False after the last. */
static bool advance(const tn_tensor *t, int32_t dims, int64_t *index, int64_t *offset) {
    for (int32_t i = dims; i-- > 0;) {
        *offset += t->strides[i];
        if (++index[i] < t->sizes[i]) return true;
        *offset -= t->sizes[i] * t->strides[i];
        index[i] = 0;
    }
    return false;
}

/* first: where element 0 of t lies; dense: numel elements. */
static void walk(const tn_tensor *t, char *first, char *dense, bool gather) {
    if (t->numel == 0) return;
    const int64_t bytes = tni_dtype_bytes(t->dtype);
    const runs r = runs_of(t);
    int64_t index[TN_MAX_RANK] = {0}, offset = 0;
    do {
        char *there = first + offset * bytes;
        if (gather) {
            copy_run(dense, 1, there, r.step, r.length, bytes);
        } else {
            copy_run(there, r.step, dense, 1, r.length, bytes);
        }
        dense += r.length * bytes;
    } while (advance(t, r.outer, index, &offset));
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* The bytes of the storage a tensor lies in: [begin, begin + bytes). */
static void span_of(const tn_tensor *t, int64_t *begin, int64_t *bytes) {
    int64_t low, high;
    const int64_t element = tni_dtype_bytes(t->dtype);
    tni_reach(t->sizes, t->strides, t->rank, &low, &high);
    *begin = (t->offset + low) * element;
    *bytes = (high - low + 1) * element;
}

/* What was queued on the storage's own stream, or on this thread's, is done. */
static tn_status settle(const tni_storage *s, const char *where) {
    tni_place *here = tni_place_current(s->place);
    const tn_status status = tni_place_finish(here, where);
    return status == TN_OK && here != s->place ? tni_place_finish(s->place, where) : status;
}

static tn_status device_copy(const tn_tensor *t, void *host, int64_t begin, int64_t bytes,
                             bool to_host, const char *where) {
    tni_place *here = tni_place_current(t->storage->place);
    const tn_driver *d = here->driver;
    char *data = (char *)t->storage->data + begin;
    tn_status status = tni_place_order(here, t->storage->place);
    if (status == TN_OK && to_host)
        status = d->copy(d->user, tni_host.device, host, here->device, data, (uint64_t)bytes,
                         here->stream);
    else if (status == TN_OK)
        status = d->copy(d->user, here->device, data, tni_host.device, host, (uint64_t)bytes,
                         here->stream);
    if (status == TN_OK) return tni_place_finish(here, where);
    if (tni_fault_lost(here, where)) return tn_error();
    char name[64];
    tni_device_text(here->device, name, sizeof name);
    return tn_raise(status, "%s: copying %lld bytes %s %s failed (%s)", where, (long long)bytes,
                    to_host ? "from" : "to", name, tn_status_text(status));
}

/* As walk, for memory the cpu cannot reach. */
static tn_status walk_span(const tn_tensor *t, char *dense, bool gather, const char *where) {
    int64_t begin, bytes;
    const int64_t element = tni_dtype_bytes(t->dtype);
    span_of(t, &begin, &bytes);
    if (t->flags & TNI_CONTIGUOUS) return device_copy(t, dense, begin, bytes, gather, where);
    char *span = tni_buffer_alloc(&tni_host, (uint64_t)bytes);
    if (!span) {
        return tn_raise(TN_ERR_NOMEM, "%s: no memory for %lld bytes on the way; make it contiguous",
                        where, (long long)bytes);
    }
    tn_status status = device_copy(t, span, begin, bytes, true, where);
    if (status == TN_OK) walk(t, span + (t->offset * element - begin), dense, gather);
    if (status == TN_OK && !gather) status = device_copy(t, span, begin, bytes, false, where);
    tni_buffer_free(&tni_host, span, (uint64_t)bytes);
    return status;
}

/* Memory that the cpu shares with a device: may it touch it now? */
static inline bool settled(const tn_tensor *t, const char *where) {
    if (__builtin_expect(t->storage->place == &tni_host, 1)) return true;
    return settle(t->storage, where) == TN_OK;
}

tn_status tni_tensor_download(const tn_tensor *t, void *out, const char *where) {
    if (t->numel == 0) return TN_OK;
    if (!t->storage->place->host_memory) return walk_span(t, out, true, where);
    if (!settled(t, where)) return tn_error();
    walk(t, tni_tensor_data(t), out, true);
    return TN_OK;
}

tn_status tni_tensor_upload(tn_tensor *t, const void *in, const char *where) {
    if (t->numel == 0) return TN_OK;
    char *dense = (char *)(uintptr_t)in; /* only read when not gathering */
    if (!t->storage->place->host_memory) return walk_span(t, dense, false, where);
    if (!settled(t, where)) return tn_error();
    walk(t, tni_tensor_data(t), dense, false);
    return TN_OK;
}

/* ---- From device to device ------------------------------------------------------------------- */

static tn_status not_copied(tn_status status, const tni_place *from, const tni_place *to) {
    char a[64], b[64];
    if (status == TN_OK || tni_fault_lost(from, "copying") || tni_fault_lost(to, "copying"))
        return status == TN_OK ? TN_OK : tn_error();
    tni_device_text(from->device, a, sizeof a);
    tni_device_text(to->device, b, sizeof b);
    return tn_raise(status, "copying from %s to %s failed (%s)", a, b, tn_status_text(status));
}

/* By to's driver, on its stream; the source outlasts the copy. */
static tn_status send_direct(tn_tensor *y, const tn_tensor *x, tni_place *from, tni_place *to) {
    const tn_driver *d = to->driver;
    tn_status status = tni_place_order(to, from);
    if (status == TN_OK)
        status = d->copy(d->user, to->device, tni_tensor_data(y), from->device, tni_tensor_data(x),
                         (uint64_t)(x->numel * tni_dtype_bytes(x->dtype)), to->stream);
    tni_block_used(x->storage->place, x->storage->data, to);
    return not_copied(status, from, to);
}

static tn_status send_by_host(tn_tensor *y, const tn_tensor *x) {
    const uint64_t bytes = (uint64_t)(x->numel * tni_dtype_bytes(x->dtype));
    void *host = tni_buffer_alloc(&tni_host, bytes);
    if (!host)
        return tn_raise(TN_ERR_NOMEM, "no memory for %llu bytes on the way between two devices",
                        (unsigned long long)bytes);
    tn_status status = tni_tensor_download(x, host, "transfer");
    if (status == TN_OK) status = tni_tensor_upload(y, host, "transfer");
    tni_buffer_free(&tni_host, host, bytes);
    return status;
}

tn_status tni_tensor_send(tn_tensor *y, const tn_tensor *x) {
    tni_place *from = tni_place_current(x->storage->place), *to = y->storage->place;
    if (x->numel == 0) return TN_OK;
    if (x->storage->place == &tni_host) return tni_tensor_upload(y, tni_tensor_data(x), "transfer");
    if (to->first == &tni_host) return tni_tensor_download(x, tni_tensor_data(y), "transfer");
    if (x->storage->place->host_memory && from->first == &tni_host) /* pinned: as it is */
        return send_direct(y, x, x->storage->place, to);
    const bool direct = to->driver == from->driver &&
                        to->driver->can_copy(to->driver->user, from->device, to->device);
    return direct ? send_direct(y, x, from, to) : send_by_host(y, x);
}

/* ---- The public calls ------------------------------------------------------------------------ */

static bool may_touch(tn_tensor *t, const char *where) {
    return tn_error() == TN_OK && tni_tensor_check(t, where, "tensor") && tni_may_touch(t, where);
}

static tn_status check_bytes(const tn_tensor *t, const void *data, uint64_t bytes,
                             const char *where) {
    const uint64_t needed = (uint64_t)(t->numel * tni_dtype_bytes(t->dtype));
    if (bytes == needed && (data || bytes == 0)) return TN_OK;
    char shape[256];
    tn_meta meta;
    tni_tensor_meta(t, &meta);
    tni_shape_text(&meta, shape, sizeof shape);
    if (bytes == needed)
        return tn_raise(TN_ERR_INVALID, "%s: %s has %llu bytes, but the memory given is NULL",
                        where, shape, (unsigned long long)needed);
    return tn_raise(TN_ERR_INVALID, "%s: %s has %llu bytes, but %llu were given; both must match",
                    where, shape, (unsigned long long)needed, (unsigned long long)bytes);
}

tn_status tn_read(tn_tensor *t, void *out, uint64_t bytes) {
    if (!may_touch(t, "tn_read") || check_bytes(t, out, bytes, "tn_read")) return tn_error();
    return tni_tensor_download(t, out, "tn_read");
}

/* Is every element a place of its own? A stride of 0 makes many elements one. */
static bool expanded(const tn_tensor *t) {
    for (int32_t i = 0; i < t->rank; i++) {
        if (t->sizes[i] > 1 && t->strides[i] == 0) return true;
    }
    return false;
}

static tn_status check_writable(const tn_tensor *t) {
    if (expanded(t)) {
        return tn_raise(TN_ERR_INVALID,
                        "tn_write: elements of an expanded tensor share memory; write "
                        "to the tensor it was expanded from");
    }
    const bool has_history = t->node || (t->base && t->base->node);
    if (has_history && tni_state_get()->grad_enabled) {
        return tn_raise(
            TN_ERR_GRAD,
            "tn_write: this tensor was computed from one that requires grad, and a write "
            "is not recorded; use an in-place op, or tn_set_grad_enabled(false) first");
    }
    return TN_OK;
}

tn_status tn_write(tn_tensor *t, const void *in, uint64_t bytes) {
    if (!may_touch(t, "tn_write") || tni_forked() || check_bytes(t, in, bytes, "tn_write") ||
        check_writable(t)) {
        return tn_error();
    }
    tn_status status = tni_tensor_upload(t, in, "tn_write");
    if (status == TN_OK) tni_tape_mutated(t);
    return status;
}

double tn_item(tn_tensor *t) {
    uint64_t element = 0;
    if (!may_touch(t, "tn_item")) return (double)NAN;
    if (t->numel != 1) {
        tn_raise(TN_ERR_SHAPE, "tn_item: the tensor has %lld elements, not one; use tn_read",
                 (long long)t->numel);
        return (double)NAN;
    }
    if (tni_tensor_download(t, &element, "tn_item")) return (double)NAN;
    return tni_element_float(&element, t->dtype);
}
