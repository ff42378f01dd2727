/* driver.c - the driver table over memory.c and stream.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/mock/mock.h"

#include <stdlib.h>

static int32_t count(void *user) {
    (void)user;
    return MOCK_DEVICES;
}

static tn_status props(void *user, int32_t index, tn_device_props *out) {
    (void)user;
    if (index < 0 || index >= MOCK_DEVICES) return TN_ERR_DEVICE;
    out->flags = 0;
    tn_text(out->name, sizeof out->name, "threads with memory of their own");
    out->memory_bytes = mock.capacity;
    return TN_OK;
}

static void *alloc(void *user, int32_t index, int32_t memory_kind, uint64_t bytes, void *stream) {
    (void)user, (void)stream;
    if (mock_lost(index)) return NULL;
    return memory_kind == TN_MEMORY_PINNED ? tn_plugin_host->alloc(tn_plugin_self, bytes)
                                           : (char *)mock_alloc(index, bytes) + 8 * mock.crooked;
}

static void release(void *user, int32_t index, int32_t memory_kind, void *p, uint64_t bytes,
                    void *stream) {
    (void)user, (void)stream;
    if (memory_kind == TN_MEMORY_PINNED)
        tn_plugin_host->free(tn_plugin_self, p);
    else
        mock_free(index, p, bytes);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

static bool is_mock(tn_device d) { return d.kind != TN_CPU; }

static bool can_copy(void *user, tn_device src, tn_device dst) {
    (void)user;
    return !is_mock(src) || !is_mock(dst) || src.index == dst.index || mock.peers;
}

typedef struct bytes_to_copy {
    void *to;
    const void *from;
    uint64_t bytes;
} bytes_to_copy;

static void run_copy(void *arg, mock_stream *s) {
    const bytes_to_copy *c = arg;
    if (!mock_lost(mock_stream_index(s))) memmove(c->to, c->from, c->bytes);
}

static mock_stream *stream_of(int32_t index, void *stream) {
    return stream ? stream : mock_stream_default(index);
}

static tn_status copy(void *user, tn_device dst_device, void *dst, tn_device src_device,
                      const void *src, uint64_t bytes, void *stream) {
    const int32_t index = is_mock(dst_device) ? dst_device.index : src_device.index;
    mock_stream *s = stream_of(index, stream);
    if (!can_copy(user, src_device, dst_device)) return TN_ERR_UNSUPPORTED;
    if (mock_lost(index)) return TN_ERR_DEVICE;
    bytes_to_copy *c = s ? mock_stream_room(s, sizeof *c, run_copy) : NULL;
    if (!c) return TN_ERR_NOMEM;
    *c = (bytes_to_copy){mock_reach(dst), mock_reach(src), bytes};
    mock_stream_submit(s);
    return TN_OK;
}

typedef struct elements {
    char *to;
    uint64_t count;
    uint32_t bytes;
    char element[8];
} elements;

static void run_fill(void *arg, mock_stream *s) {
    const elements *e = arg;
    if (mock_lost(mock_stream_index(s))) return;
    for (uint64_t i = 0; i < e->count; i++) memcpy(e->to + i * e->bytes, e->element, e->bytes);
}

static tn_status fill(void *user, int32_t index, void *dst, uint64_t n, const void *element,
                      uint32_t bytes, void *stream) {
    mock_stream *s = stream_of(index, stream);
    (void)user;
    if (mock_lost(index)) return TN_ERR_DEVICE;
    elements *e = s && bytes <= 8 ? mock_stream_room(s, sizeof *e, run_fill) : NULL;
    if (!e) return TN_ERR_NOMEM;
    *e = (elements){.to = mock_reach(dst), .count = n, .bytes = bytes};
    memcpy(e->element, element, bytes);
    mock_stream_submit(s);
    return TN_OK;
}

/* ---- Streams and events ---------------------------------------------------------------------- */

static tn_status alive(int32_t index) { return mock_lost(index) ? TN_ERR_DEVICE : TN_OK; }

static void *stream_new(void *user, int32_t index) {
    (void)user;
    return mock_stream_new(index);
}

static void stream_free(void *user, int32_t index, void *stream) {
    (void)user, (void)index;
    mock_stream_free(stream);
}

static tn_status stream_sync(void *user, int32_t index, void *stream) {
    (void)user;
    if (stream)
        mock_stream_sync(stream);
    else
        mock_device_sync(index);
    return alive(index);
}

static void *event_new(void *user, int32_t index) {
    (void)user, (void)index;
    return mock_event_new();
}

static void event_free(void *user, int32_t index, void *event) {
    (void)user, (void)index;
    mock_event_free(event);
}

static tn_status event_record(void *user, int32_t index, void *event, void *stream) {
    (void)user;
    return mock_event_record(event, stream_of(index, stream));
}

static tn_status event_wait(void *user, int32_t index, void *event, void *stream) {
    (void)user;
    return mock_event_wait(event, stream_of(index, stream));
}

static tn_status event_query(void *user, int32_t index, void *event, bool *done) {
    (void)user, (void)index;
    *done = mock_event_done(event);
    return TN_OK;
}

static tn_status event_elapsed(void *user, int32_t index, void *start, void *end, uint64_t *ns) {
    (void)user, (void)index;
    *ns = mock_event_ns(end) - mock_event_ns(start);
    return TN_OK;
}

static tn_status event_sync(void *user, int32_t index, void *event) {
    (void)user;
    mock_event_sync(event);
    return alive(index);
}

static tn_status error_state(void *user, int32_t index, char *text, uint64_t capacity) {
    (void)user;
    if (!mock_lost(index)) return TN_OK;
    tn_text(text, (size_t)capacity, "%s", mock_lost(index));
    return TN_ERR_DEVICE;
}

const tn_driver mock_driver = {.size = sizeof(tn_driver),
                               .kind = "mock",
                               .count = count,
                               .props = props,
                               .alloc = alloc,
                               .free = release,
                               .can_copy = can_copy,
                               .copy = copy,
                               .stream_new = stream_new,
                               .stream_free = stream_free,
                               .stream_sync = stream_sync,
                               .event_new = event_new,
                               .event_free = event_free,
                               .event_record = event_record,
                               .event_wait = event_wait,
                               .event_query = event_query,
                               .event_elapsed_ns = event_elapsed,
                               .event_sync = event_sync,
                               .error_state = error_state,
                               .fill = fill};
