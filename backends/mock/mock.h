/* mock.h - a device made of threads: what its files share.
 *
 * Its memory is mapped twice. The addresses that tensors hold are of a mapping that nobody may touch,
 * so a copy that the core forgot is a crash at once; the device's own threads use the other one. A
 * stream is a thread with a queue: calls return when their work is queued. Invariant: what is queued
 * holds copies of all it needs, but for device memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MOCK_H
#define TENON_MOCK_H

#include <tenon/abi_driver.h>
#include <tenon/kit.h>

#include <pthread.h>

enum { MOCK_DEVICES = 2 };

typedef struct mock_options { /* of the plugin; docs/driver-guide.md */
    uint64_t capacity;        /* bytes of a device */
    uint64_t latency_ns;      /* before each piece of work */
    int64_t fail_alloc;       /* the allocation, counted from 1, that finds no memory; 0: none */
    int64_t lose_at;          /* the kernel, likewise, at which its device is lost */
    bool on_caller;           /* no threads: work is done when it is queued */
    bool peers;               /* copies from device to device */
    bool crooked;             /* memory that is not aligned */
} mock_options;
extern mock_options mock;

/* ---- Memory ---------------------------------------------------------------------------------- */

bool mock_memory_open(void);
void *mock_alloc(int32_t index, uint64_t bytes);
void mock_free(int32_t index, void *p, uint64_t bytes);
/* Where the device's threads find what `p` means to the core; p itself if it is the host's. */
void *mock_reach(const void *p);

/* ---- Streams --------------------------------------------------------------------------------- */

typedef struct mock_stream mock_stream;
typedef struct mock_event mock_event;
typedef void mock_work(void *arg, mock_stream *);

/* A device's default stream, or a new one; NULL without memory or threads. */
mock_stream *mock_stream_default(int32_t index);
mock_stream *mock_stream_new(int32_t index);
void mock_stream_free(mock_stream *);
int32_t mock_stream_index(const mock_stream *); /* of its device */
/* Room for `bytes` in the queue, to be filled in and then submitted; waits while the queue is full.
 * NULL: more than any queue holds. One thread at a time may have room in a stream. */
void *mock_stream_room(mock_stream *, uint64_t bytes, mock_work *);
void mock_stream_submit(mock_stream *);
void mock_stream_sync(mock_stream *);
void mock_device_sync(int32_t index);

mock_event *mock_event_new(void);
void mock_event_free(mock_event *);
tn_status mock_event_record(mock_event *, mock_stream *);
tn_status mock_event_wait(mock_event *, mock_stream *);
bool mock_event_done(mock_event *);
void mock_event_sync(mock_event *);
uint64_t mock_event_ns(mock_event *);

/* ---- Losing a device ------------------------------------------------------------------------- */

void mock_lose(int32_t index, const char *why);
/* Why a device was lost, or NULL. */
const char *mock_lost(int32_t index);

/* ---- Kernels --------------------------------------------------------------------------------- */

tn_status mock_launch(tn_status (*run)(const void *plan, tn_call *), tn_call *);
extern const tnk_family mock_kernels;
extern const tn_driver mock_driver;

#endif
