/* create.c - tensors from sizes, numbers and host data, on the current device, in the current
 * scope.
 *
 * Numbers are on the cpu, whatever the current device is. Invariant: like ops, these do nothing while an error is pending, in a forked child, or inside a
 * parallel body. Nothing here is recorded: what is made is a leaf.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/base/state.h"
#include "core/base/threads.h"
#include "core/memory/buffer.h"
#include "core/memory/device.h"
#include "core/tensor/scope.h"
#include "core/tensor/tensor.h"
#include "core/tensor/transfer.h"
#include "core/tensor/watch.h"

/* Filling is as fast as one thread's page faults below, and as fast as memory above. */
enum { PARALLEL_BYTES = 4 << 20, GRAIN_BYTES = 1 << 20 };

static bool may_create(const tni_state *st, const char *where) {
    if (__builtin_expect(st->error != TN_OK, 0) || tni_forked()) return false;
    if (__builtin_expect(!(st->head & TNI_HEAD_WORKER), 1)) return true;
    tn_raise(TN_ERR_INVALID,
             "%s: called inside a parallel body; make tensors before the parallel loop", where);
    return false;
}

/* New, in no scope yet. */
static tn_tensor *make(const char *where, tn_ints sizes, tn_dtype dtype, tni_place *place) {
    if (!may_create(tni_state_get(), where)) return NULL;
    if (__builtin_expect(sizes.n < 0 || sizes.n > TN_MAX_RANK, 0)) {
        tn_raise(TN_ERR_SHAPE, "%s: %lld sizes were given; a tensor has 0 to %d dims", where,
                 (long long)sizes.n, TN_MAX_RANK);
        return NULL;
    }
    if (__builtin_expect(sizes.n > 0 && !sizes.ptr, 0)) {
        tn_raise(TN_ERR_INVALID, "%s: the list of %lld sizes is NULL", where, (long long)sizes.n);
        return NULL;
    }
    tn_tensor *t = tni_tensor_new(dtype, (int32_t)sizes.n, sizes.ptr, place);
    if (__builtin_expect(!t, 0)) tni_error_within(where);
    return t;
}

/* ---- Filling --------------------------------------------------------------------------------- */

typedef struct fill {
    char *data;
    int64_t bytes;    /* of an element */
    uint64_t element; /* its bytes come first */
    bool uniform;     /* all bytes of the element are the same */
} fill;

typedef uint16_t __attribute__((may_alias)) any16;
typedef uint32_t __attribute__((may_alias)) any32;
typedef uint64_t __attribute__((may_alias)) any64;

#define FILL_RUN(type)                                                                             \
    do {                                                                                           \
        const type element = *(const type *)(const void *)&f->element;                             \
        for (int64_t i = begin; i < end; i++) ((type *)(void *)f->data)[i] = element;              \
    } while (0)

static void fill_range(void *arg, int64_t begin, int64_t end) {
    const fill *f = arg;
    if (f->uniform) {
        const int byte = *(const unsigned char *)&f->element;
        memset(f->data + begin * f->bytes, byte, (size_t)((end - begin) * f->bytes));
        return;
    }
    switch (f->bytes) {
    case 2:
        FILL_RUN(any16);
        break;
    case 4:
        FILL_RUN(any32);
        break;
    default:
        FILL_RUN(any64);
        break;
    }
}

static bool all_bytes_same(uint64_t element, int64_t bytes) {
    const unsigned char *byte = (const unsigned char *)&element;
    return bytes == 1 || memcmp(byte, byte + 1, (size_t)bytes - 1) == 0;
}

static void fill_host(void *data, int64_t numel, int64_t bytes, uint64_t element) {
    fill f = {data, bytes, element, all_bytes_same(element, bytes)};
    if (numel * bytes < PARALLEL_BYTES) {
        fill_range(&f, 0, numel);
    } else {
        tni_parallel_for(numel, GRAIN_BYTES / bytes, tni_thread_limit(), fill_range, &f);
    }
}

static tn_status fill_tensor(tn_tensor *t, uint64_t element, const char *where) {
    const int64_t bytes = tni_dtype_bytes(t->dtype);
    if (t->numel == 0) return TN_OK;
    if (t->storage->place->host_memory) {
        fill_host(tni_tensor_data(t), t->numel, bytes, element);
        return TN_OK;
    }
    tni_place *p = t->storage->place;
    const tn_driver *d = p->driver;
    if (d->fill && d->fill(d->user, p->index, tni_tensor_data(t), (uint64_t)t->numel, &element,
                           (uint32_t)bytes, p->stream) == TN_OK)
        return TN_OK;
    void *host = tni_buffer_alloc(&tni_host, t->storage->bytes);
    if (!host) {
        return tn_raise(TN_ERR_NOMEM, "%s: no memory for %llu bytes on the host", where,
                        (unsigned long long)t->storage->bytes);
    }
    fill_host(host, t->numel, bytes, element);
    tn_status status = tni_tensor_upload(t, host, where);
    tni_buffer_free(&tni_host, host, t->storage->bytes);
    return status;
}

/* number as one element of dtype. Unknown dtypes are left for tni_tensor_new to name. */
static bool element_of(const char *where, tn_value number, tn_dtype dtype, uint64_t *element) {
    *element = 0;
    if (tn_dtype_index(dtype) < 0) return true;
    tn_status status = tni_element_from(number, dtype, element);
    const bool wraps = dtype.code == 1 && number.tag == TN_TAG_INT && number.i < 0;
    if (wraps) status = TN_ERR_OVERFLOW;
    if (status == TN_ERR_OVERFLOW && number.tag == TN_TAG_FLOAT) {
        tn_raise(status, "%s: %g is no number that %s can hold", where, number.f,
                 tn_dtype_name(dtype));
    } else if (status == TN_ERR_OVERFLOW) {
        tn_raise(status, "%s: %s cannot hold %lld", where, tn_dtype_name(dtype),
                 (long long)number.i);
    } else if (status) {
        tn_raise(status, "%s: the number has tag %d; pass tn_bool, tn_int or tn_float", where,
                 number.tag);
    }
    return status == TN_OK;
}

/* What all public calls end with: t belongs to the scope, and layers are told. */
static tn_tensor *give(tn_tensor *t, const char *where) {
    return t ? tni_made(tni_scope_own(t), where) : NULL;
}

/* In no scope yet. */
static tn_tensor *make_full(const char *where, tn_ints sizes, tn_value number, tn_dtype dtype,
                            tni_place *place) {
    uint64_t element;
    if (!may_create(tni_state_get(), where)) return NULL;
    if (!element_of(where, number, dtype, &element)) return NULL;
    tn_tensor *t = make(where, sizes, dtype, place);
    if (!t) return NULL;
    if (fill_tensor(t, element, where)) {
        tni_tensor_release(t);
        return NULL;
    }
    return t;
}

/* ---- The public calls ------------------------------------------------------------------------ */

tn_tensor *tn_empty(tn_ints sizes, tn_dtype dtype) {
    return give(make("tn_empty", sizes, dtype, tni_place_here()), "tn_empty");
}

tn_tensor *tn_empty_pinned(tn_ints sizes, tn_dtype dtype, tn_device device) {
    const char *where = "tn_empty_pinned";
    if (!may_create(tni_state_get(), where)) return NULL;
    tni_place *of = tni_place_known(device, where), *p = of ? tni_place_pinned(of) : NULL;
    if (!p) return of ? (tn_raise(TN_ERR_NOMEM, "%s: no memory for it", where), NULL) : NULL;
    return give(make(where, sizes, dtype, p), where);
}

tn_tensor *tn_zeros(tn_ints sizes, tn_dtype dtype) {
    return give(make_full("tn_zeros", sizes, tn_int(0), dtype, tni_place_here()), "tn_zeros");
}

tn_tensor *tn_ones(tn_ints sizes, tn_dtype dtype) {
    return give(make_full("tn_ones", sizes, tn_int(1), dtype, tni_place_here()), "tn_ones");
}

tn_tensor *tn_full(tn_ints sizes, tn_value number, tn_dtype dtype) {
    return give(make_full("tn_full", sizes, number, dtype, tni_place_here()), "tn_full");
}

tn_tensor *tn_from(const void *data, tn_ints sizes, tn_dtype dtype) {
    tn_tensor *t = make("tn_from", sizes, dtype, tni_place_here());
    if (!t) return NULL;
    if (!data && t->numel > 0) {
        tn_raise(TN_ERR_INVALID, "tn_from: data is NULL; use tn_empty for undefined contents");
    } else if (tni_tensor_upload(t, data, "tn_from") == TN_OK) {
        return give(t, "tn_from");
    }
    tni_tensor_release(t);
    return NULL;
}

tn_tensor *tn_scalar_of(tn_value number) {
    const tn_dtype dtype = number.tag == TN_TAG_BOOL  ? TN_BOOL
                           : number.tag == TN_TAG_INT ? TN_I64
                                                      : TN_F64;
    tn_tensor *t = make_full("tn_scalar_of", (tn_ints){NULL, 0}, number, dtype, &tni_host);
    if (t) t->flags |= TNI_WRAPPED;
    return give(t, "tn_scalar_of");
}

tn_tensor *tn_scalar(double number) { return tn_scalar_of(tn_float(number)); }

tn_tensor *tn_scalar_int(int64_t number) { return tn_scalar_of(tn_int(number)); }
