/* stream.c - streams and events: a thread each, with a queue in a ring of bytes.
 *
 *     ring   [ size | work | its data ] [ size | work | ... ] ...      head and tail count bytes for ever
 *
 * A record does not wrap: what is left at the end is skipped by one of its own. Invariants: head, tail
 * and `done` are under the lock; a record's bytes belong to the submitter until it is submitted, to
 * the thread until it is done.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/mock/mock.h"

#include <time.h>

enum { RING = 1 << 20, LINE = 64 };

typedef struct record {
    uint64_t bytes; /* with this head */
    mock_work *work;
    char pad[LINE - 16];
} record;

struct mock_stream {
    int32_t index;
    bool stop;
    pthread_t thread;
    pthread_mutex_t lock, submit; /* submit: whoever has room */
    pthread_cond_t more, less;
    uint64_t head, tail, next; /* bytes submitted, done, and submitted with what has room */
    mock_stream *other;        /* streams of the device */
    char *ring;
};

static mock_stream *streams[MOCK_DEVICES]; /* the default one last */
static pthread_mutex_t all = PTHREAD_MUTEX_INITIALIZER;
static const char *lost[MOCK_DEVICES];

const char *mock_lost(int32_t index) { return __atomic_load_n(&lost[index], __ATOMIC_ACQUIRE); }

void mock_lose(int32_t index, const char *why) {
    const char *none = NULL;
    __atomic_compare_exchange_n(&lost[index], &none, why, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
}

/* ---- The thread ------------------------------------------------------------------------------ */

static record *record_at(mock_stream *s, uint64_t at) {
    return (record *)(void *)(s->ring + at % RING);
}

static void pause_a_little(void) {
    const struct timespec t = {(time_t)(mock.latency_ns / 1000000000),
                               (long)(mock.latency_ns % 1000000000)};
    if (mock.latency_ns) nanosleep(&t, NULL);
}

static void run_record(mock_stream *s, record *r) {
    if (!r->work) return;
    pause_a_little();
    r->work(r + 1, s);
}

static void finish(mock_stream *s, const record *r) {
    s->tail += r->bytes;
    pthread_cond_broadcast(&s->less);
}

static void *serve(void *arg) {
    mock_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->tail == s->head && !s->stop) pthread_cond_wait(&s->more, &s->lock);
        if (s->tail == s->head) break;
        record *r = record_at(s, s->tail);
        pthread_mutex_unlock(&s->lock);
        run_record(s, r);
        pthread_mutex_lock(&s->lock);
        finish(s, r);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- Made and freed -------------------------------------------------------------------------- */

mock_stream *mock_stream_new(int32_t index) {
    mock_stream *s = tn_plugin_host->alloc(tn_plugin_self, sizeof *s + RING + LINE);
    if (!s) return NULL;
    memset(s, 0, sizeof *s);
    s->index = index;
    s->ring = (char *)(((uintptr_t)(s + 1) + LINE - 1) / LINE * LINE);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->submit, NULL);
    pthread_cond_init(&s->more, NULL);
    pthread_cond_init(&s->less, NULL);
    if (!mock.on_caller && pthread_create(&s->thread, NULL, serve, s) != 0) {
        tn_plugin_host->free(tn_plugin_self, s);
        return NULL;
    }
    pthread_mutex_lock(&all);
    s->other = streams[index];
    streams[index] = s;
    pthread_mutex_unlock(&all);
    return s;
}

mock_stream *mock_stream_default(int32_t index) {
    static mock_stream *first[MOCK_DEVICES];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!first[index]) first[index] = mock_stream_new(index);
    mock_stream *s = first[index];
    pthread_mutex_unlock(&lock);
    return s;
}

void mock_stream_free(mock_stream *s) {
    pthread_mutex_lock(&all);
    mock_stream **at = &streams[s->index];
    while (*at && *at != s) at = &(*at)->other;
    if (*at) *at = s->other;
    pthread_mutex_unlock(&all);
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    if (!mock.on_caller) pthread_join(s->thread, NULL);
    tn_plugin_host->free(tn_plugin_self, s);
}

int32_t mock_stream_index(const mock_stream *s) { return s->index; }

/* ---- The queue ------------------------------------------------------------------------------- */

static void wait_for_room(mock_stream *s, uint64_t end) {
    pthread_mutex_lock(&s->lock);
    while (end - s->tail > RING) pthread_cond_wait(&s->less, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static record *append(mock_stream *s, uint64_t bytes, mock_work *work) {
    wait_for_room(s, s->next + bytes);
    record *r = record_at(s, s->next);
    s->next += bytes;
    r->bytes = bytes;
    r->work = work;
    return r;
}

void *mock_stream_room(mock_stream *s, uint64_t bytes, mock_work *work) {
    const uint64_t whole = sizeof(record) + (bytes + LINE - 1) / LINE * LINE;
    if (whole > RING / 2) return NULL;
    pthread_mutex_lock(&s->submit);
    const uint64_t left = RING - s->next % RING;
    if (left < whole) append(s, left, NULL);
    return append(s, whole, work) + 1;
}

void mock_stream_submit(mock_stream *s) {
    pthread_mutex_lock(&s->lock);
    s->head = s->next;
    pthread_cond_signal(&s->more);
    while (mock.on_caller && s->tail != s->head) {
        record *r = record_at(s, s->tail);
        pthread_mutex_unlock(&s->lock);
        run_record(s, r);
        pthread_mutex_lock(&s->lock);
        finish(s, r);
    }
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->submit);
}

void mock_stream_sync(mock_stream *s) {
    pthread_mutex_lock(&s->lock);
    const uint64_t end = s->head;
    while (s->tail < end) pthread_cond_wait(&s->less, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* Streams are freed by their owner only when the device is idle, so the list stands still. */
void mock_device_sync(int32_t index) {
    pthread_mutex_lock(&all);
    mock_stream *s = streams[index];
    pthread_mutex_unlock(&all);
    for (; s; s = s->other) mock_stream_sync(s);
}

/* ---- Events ---------------------------------------------------------------------------------- */

typedef struct point { /* of a stream: reached when its tail is there */
    mock_stream *stream;
    uint64_t at;
} point;

struct mock_event {
    pthread_mutex_t lock;
    point last; /* where it was recorded last */
    uint64_t ns;
    int32_t refs; /* its owner's, and one for each recording in a queue */
};

mock_event *mock_event_new(void) {
    mock_event *e = tn_plugin_host->alloc(tn_plugin_self, sizeof *e);
    if (!e) return NULL;
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->lock, NULL);
    e->refs = 1;
    return e;
}

static void drop(mock_event *e) {
    if (__atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    pthread_mutex_destroy(&e->lock);
    tn_plugin_host->free(tn_plugin_self, e);
}

void mock_event_free(mock_event *e) { drop(e); }

static point last_of(mock_event *e) {
    pthread_mutex_lock(&e->lock);
    const point p = e->last;
    pthread_mutex_unlock(&e->lock);
    return p;
}

static bool reached(point p) {
    if (!p.stream) return true;
    pthread_mutex_lock(&p.stream->lock);
    const bool done = p.stream->tail >= p.at;
    pthread_mutex_unlock(&p.stream->lock);
    return done;
}

static void wait_for(point p) {
    if (!p.stream) return;
    pthread_mutex_lock(&p.stream->lock);
    while (p.stream->tail < p.at) pthread_cond_wait(&p.stream->less, &p.stream->lock);
    pthread_mutex_unlock(&p.stream->lock);
}

static void take_time(void *arg, mock_stream *s) {
    mock_event *e = *(mock_event **)arg;
    (void)s;
    pthread_mutex_lock(&e->lock);
    e->ns = tn_plugin_host->clock_ns(tn_plugin_self);
    pthread_mutex_unlock(&e->lock);
    drop(e);
}

tn_status mock_event_record(mock_event *e, mock_stream *s) {
    mock_event **room = mock_stream_room(s, sizeof *room, take_time);
    if (!room) return TN_ERR_NOMEM;
    *room = e;
    __atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&e->lock);
    e->last = (point){s, s->next};
    pthread_mutex_unlock(&e->lock);
    mock_stream_submit(s);
    return TN_OK;
}

static void wait_there(void *arg, mock_stream *s) {
    const point *p = arg;
    if (p->stream != s) wait_for(*p);
}

tn_status mock_event_wait(mock_event *e, mock_stream *s) {
    point *room = mock_stream_room(s, sizeof *room, wait_there);
    if (!room) return TN_ERR_NOMEM;
    *room = last_of(e);
    mock_stream_submit(s);
    return TN_OK;
}

bool mock_event_done(mock_event *e) { return reached(last_of(e)); }
void mock_event_sync(mock_event *e) { wait_for(last_of(e)); }

uint64_t mock_event_ns(mock_event *e) {
    mock_event_sync(e);
    pthread_mutex_lock(&e->lock);
    const uint64_t ns = e->ns;
    pthread_mutex_unlock(&e->lock);
    return ns;
}
