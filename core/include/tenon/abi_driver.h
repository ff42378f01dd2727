/* tenon/abi_driver.h - how a device joins: enumerate, memory, copies, streams, events. Draft v0.
 *
 * A driver owns one device kind. It never pools memory and never runs ops: pooling, limits and
 * accounting are the core's; kernels are rows of their own (abi.h), perhaps from another plugin.
 * The core's own `cpu` goes through this table too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_ABI_DRIVER_H
#define TENON_ABI_DRIVER_H

#include <tenon/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TN_MEMORY_DEVICE = 0, TN_MEMORY_PINNED = 1 }; /* kinds of memory */

typedef struct tn_device_props {
    uint32_t size;
    uint32_t flags;        /* TN_DEVICE_* */
    char name[64];         /* "AMD EPYC" */
    uint64_t memory_bytes; /* 0 = unknown */
} tn_device_props;

enum { TN_DEVICE_HOST_MEMORY = 1u << 0 }; /* its memory can be read and written by the cpu */

struct tn_driver {
    uint32_t size;
    int32_t kind_code; /* DLPack's code, or 0: the core gives a private one (>= 0x10000) */
    const char *kind;  /* "cuda" */
    void *user;        /* first argument of every slot */
    int32_t (*count)(void *user); /* devices present; 0 is fine [any-thread] */
    tn_status (*props)(void *user, int32_t index, tn_device_props *out); /* [any-thread] */
    /* Raw memory, 64-byte aligned at least; NULL if there is none. stream NULL = not ordered.
     * [may-sync] */
    void *(*alloc)(void *user, int32_t index, int32_t memory_kind, uint64_t bytes, void *stream);
    void (*free)(void *user, int32_t index, int32_t memory_kind, void *ptr, uint64_t bytes,
                 void *stream);
    bool (*can_copy)(void *user, tn_device src, tn_device dst);
    tn_status (*copy)(void *user, tn_device dst_device, void *dst, tn_device src_device,
                      const void *src, uint64_t bytes, void *stream); /* ordered on stream */
    void *(*stream_new)(void *user, int32_t index); /* (optional: one implicit stream) */
    void (*stream_free)(void *user, int32_t index, void *stream);
    tn_status (*stream_sync)(void *user, int32_t index,
                             void *stream);        /* NULL = the whole device [may-sync] */
    void *(*event_new)(void *user, int32_t index); /* (optional, with the next six) */
    void (*event_free)(void *user, int32_t index, void *event);
    tn_status (*event_record)(void *user, int32_t index, void *event, void *stream);
    tn_status (*event_wait)(void *user, int32_t index, void *event,
                            void *stream); /* stream waits; the host does not */
    tn_status (*event_query)(void *user, int32_t index, void *event, bool *done);
    tn_status (*event_elapsed_ns)(void *user, int32_t index, void *start, void *end, uint64_t *ns);
    tn_status (*event_sync)(void *user, int32_t index, void *event); /* the host waits [may-sync] */
    tn_status (*error_state)(void *user, int32_t index, char *text,
                             uint64_t capacity); /* (optional: never fails) sticky device error */
    /* (optional: written from the host) count elements of `bytes` (1, 2, 4 or 8) at dst, all alike;
     * ordered on stream. */
    tn_status (*fill)(void *user, int32_t index, void *dst, uint64_t count, const void *element,
                      uint32_t bytes, void *stream);
};

#ifdef __cplusplus
}
#endif
#endif
