/* launch.c - a kernel's call as a piece of a stream's queue: copied with all it leads to, and run by
 * the stream's thread on the addresses it can reach.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/mock/mock.h"

typedef struct launch {
    tn_status (*run)(const void *plan, tn_call *);
    tn_call call;
} launch;

typedef struct arena { /* at NULL: only counts */
    char *at;
    uint64_t used;
} arena;

static void *take(arena *a, uint64_t bytes) {
    void *p = a->at ? a->at + a->used : NULL;
    a->used += (bytes + 7) / 8 * 8;
    return p;
}

static const void *copy(arena *a, const void *from, uint64_t bytes) {
    void *to = take(a, bytes);
    if (to && bytes) memcpy(to, from, bytes);
    return to;
}

/* A number is read where the call is made: it is gone when run returns. */
static void *data_of(arena *a, const tn_view *v) {
    if (v->device.kind != TN_CPU || !v->data) return mock_reach(v->data);
    return (void *)(uintptr_t)copy(a, v->data, v->dtype.bits / 8);
}

static const tn_view *pack_view(arena *a, const tn_view *v) {
    tn_view *to = take(a, sizeof *to);
    const uint64_t bytes = (uint64_t)v->rank * sizeof *v->sizes;
    const int64_t *sizes = copy(a, v->sizes, bytes), *strides = copy(a, v->strides, bytes);
    void *data = data_of(a, v);
    if (!to) return v;
    *to = *v;
    to->sizes = sizes, to->strides = strides, to->data = data;
    return to;
}

static tn_value pack_views(arena *a, tn_value v) {
    const tn_view **list = take(a, v.aux * sizeof *list);
    for (uint32_t i = 0; i < v.aux; i++) {
        const tn_view *one = v.views[i] ? pack_view(a, v.views[i]) : NULL;
        if (list) list[i] = one;
    }
    v.views = list;
    return v;
}

static tn_value pack_value(arena *a, tn_value v) {
    switch (v.tag) {
    case TN_TAG_VIEW:
        v.view = pack_view(a, v.view);
        return v;
    case TN_TAG_VIEWS:
        return pack_views(a, v);
    case TN_TAG_INTS:
    case TN_TAG_FLOATS:
        v.ints = copy(a, v.ints, v.aux * sizeof(int64_t));
        return v;
    case TN_TAG_BOOLS:
        v.bools = copy(a, v.bools, v.aux * sizeof(bool));
        return v;
    case TN_TAG_STR:
        v.str = copy(a, v.str, v.aux);
        return v;
    case TN_TAG_RNG:
        v.rng = copy(a, v.rng, sizeof *v.rng);
        return v;
    default:
        return v;
    }
}

static const tn_value *pack_values(arena *a, const tn_value *from, uint32_t n) {
    tn_value *to = take(a, n * sizeof *to);
    for (uint32_t i = 0; i < n; i++) {
        const tn_value v = pack_value(a, from[i]);
        if (to) to[i] = v;
    }
    return to;
}

static void fail_later(tn_call *c, tn_status code, const char *text, uint64_t len) {
    (void)text, (void)len;
    tnk_fail_later(c, code, 0, 0);
}

/* Without threads the caller is still there to be told. */
static void fail_now(tn_call *c, tn_status code, const char *text, uint64_t len) {
    tn_call *caller = c->host_data;
    caller->fail(caller, code, text, len);
}

static void pack_call(arena *a, tn_call *c) {
    launch *l = take(a, sizeof *l);
    const tn_value *args = pack_values(a, c->args, c->n_args);
    const tn_value *outs = pack_values(a, c->outs, c->n_outs);
    if (!l) return;
    l->call = *c;
    l->call.args = args;
    l->call.outs = outs;
    l->call.workspace = mock_reach(c->workspace);
    l->call.fail = mock.on_caller ? fail_now : fail_later;
    l->call.host_data = c;
    if (mock.on_caller) l->call.device_error = NULL;
}

static void run_kernel(void *arg, mock_stream *s) {
    static int64_t kernels;
    launch *l = arg;
    const int32_t index = mock_stream_index(s);
    if (__atomic_add_fetch(&kernels, 1, __ATOMIC_RELAXED) == mock.lose_at)
        mock_lose(index, "told so by the option lose_at");
    if (!mock_lost(index)) l->run(NULL, &l->call);
}

tn_status mock_launch(tn_status (*run)(const void *plan, tn_call *), tn_call *c) {
    const int32_t index = c->device.index;
    mock_stream *s = c->stream ? c->stream : mock_stream_default(index);
    arena a = {NULL, 0};
    if (mock_lost(index))
        return tnk_fail(c, TN_ERR_DEVICE, "the device was lost: %s", mock_lost(index));
    pack_call(&a, c);
    char *room = s ? mock_stream_room(s, a.used, run_kernel) : NULL;
    if (!room)
        return tnk_fail(c, TN_ERR_NOMEM, "a call of %llu bytes does not fit into a queue",
                        (unsigned long long)a.used);
    a = (arena){room, 0};
    pack_call(&a, c);
    ((launch *)(void *)room)->run = run;
    mock_stream_submit(s);
    return TN_OK;
}
