/* tenon/device.h - the devices there are, and where a thread's work goes.
 *
 * `cpu` is the library's own; others come with plugins that drive them. A tensor lives on one
 * device; ops run where their tensors are, and numbers (tn_scalar, or one element on the cpu) go
 * along.
 * tn_to_device (<math_ops.h>) moves tensors between devices, and their gradients back.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DEVICE_H
#define TENON_DEVICE_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_device_info {
    uint32_t size;      /* set by the caller: sizeof(tn_device_info) */
    uint32_t index;     /* of its kind */
    const char *kind;   /* "cpu" */
    const char *name;   /* "AMD EPYC" */
    const char *plugin; /* who drives it */
    uint64_t memory_bytes;
} tn_device_info;

/* -1 on error; INDEX past the last. */
TN_API int64_t tn_device_count(void);
TN_API tn_status tn_device_at(int64_t i, tn_device_info *out);

/* "mock:1"; "mock" is its first. Loads the plugin of that name if the kind has no driver yet.
 * kind 0 on error: INVALID for what is no name, DEVICE, which lists those there are. */
TN_API tn_device tn_device_find(const char *name);
/* Where this thread makes tensors from now on; starts as the cpu. Returns what it was; an unknown
 * device is an error (DEVICE) and changes nothing. */
TN_API tn_device tn_use_device(tn_device);
TN_API tn_device tn_current_device(void);

/* On the cpu, in memory from which `device` copies by itself: tn_to_device of it returns when the
 * copy is queued, and holds the memory until it is done. Bytes undefined. */
TN_API tn_tensor *tn_empty_pinned(tn_ints sizes, tn_dtype, tn_device device);

/* ---- Streams and events -------------------------------------------------------------------------
 *
 * Work on a device is queued on a stream and done in order; streams do not wait for each other
 * unless they are told to. Each device has a default one; the cpu's is always done. What was freed
 * answers STALE, NULL is INVALID, and two devices where one is meant are DEVICE. */

typedef struct tn_stream tn_stream;
typedef struct tn_event tn_event;

/* NULL on error. A stream that is freed finishes its work first; NULL is fine. */
TN_API tn_stream *tn_stream_new(tn_device);
TN_API tn_status tn_stream_free(tn_stream *);
/* This thread's tensors and calls on the stream's device go there from now on, and its current
 * device is that one. Returns what it was. */
TN_API tn_stream *tn_use_stream(tn_stream *);
TN_API tn_stream *tn_current_stream(void);
TN_API tn_stream *tn_default_stream(tn_device); /* NULL on error */
TN_API tn_device tn_stream_device(tn_stream *); /* kind 0 on error */
TN_API tn_status tn_stream_sync(tn_stream *);   /* waits until all is done [may-sync] */
TN_API tn_status tn_device_sync(tn_device);     /* the same for all its streams [may-sync] */

/* An event marks a point of a stream; before it is recorded, it is done. NULL on error. */
TN_API tn_event *tn_event_new(tn_device);
TN_API tn_status tn_event_free(tn_event *); /* NULL is fine */
TN_API tn_status tn_event_record(tn_event *, tn_stream *);
/* What is queued on the stream from now on waits for the event; the host does not. */
TN_API tn_status tn_stream_wait(tn_stream *, tn_event *);
TN_API tn_status tn_event_sync(tn_event *); /* the host waits [may-sync] */
TN_API bool tn_event_done(tn_event *);      /* false on error */
/* Nanoseconds from one to the other; both recorded and done. */
TN_API tn_status tn_event_elapsed(tn_event *start, tn_event *end, uint64_t *ns);

#ifdef __cplusplus
}
#endif
#endif
