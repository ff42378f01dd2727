/* device.c - the table of device kinds, and the driver of the core's own kind, `cpu`.
 *
 * Invariants: the table is a list that only grows, and its entries never change, so it is read
 * without locks; drivers are copied, so that slots their plugin does not have are NULL.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <tenon/device.h>

#include "core/base/heap.h"
#include "core/base/state.h"
#include "core/base/system.h"
#include "core/memory/stream.h"

enum { FIRST_PRIVATE = 0x10000, HUGE_BYTES = 2 << 20, LINE = 64, MOST_DEVICES = 1024 };

typedef struct name { /* what a device called itself; interned, so that callers may hold it */
    struct name *next;
    char text[64];
} name;

typedef struct kind {
    tn_driver driver;
    const char *plugin;
    int32_t count;     /* devices there were when it was registered */
    tni_place *places; /* the default one of each */
    name *names;       /* under the mutex */
    _Atomic(struct kind *) next;
} kind;

/* ---- The cpu --------------------------------------------------------------------------------- */

static int32_t cpu_count(void *user) {
    (void)user;
    return 1;
}

static tn_status cpu_props(void *user, int32_t index, tn_device_props *out) {
    (void)user;
    if (index != 0) return TN_ERR_DEVICE;
    out->flags = TN_DEVICE_HOST_MEMORY;
    snprintf(out->name, sizeof out->name, "%s", tni_system_cpu_name());
    out->memory_bytes = tni_system_memory();
    return TN_OK;
}

/* Large blocks start on a huge page, and have as many as fit whole: their first touch is three to
 * five times as fast (docs/errors-and-memory.md), a third of a big element-wise op. */
static void *cpu_alloc(void *user, int32_t index, int32_t memory_kind, uint64_t bytes,
                       void *stream) {
    (void)user, (void)index, (void)memory_kind, (void)stream;
    const bool huge = bytes >= HUGE_BYTES;
    void *data = NULL;
    /* The system may promise more than there is, and kill the process when it is used. */
    if (bytes > tni_system_memory()) return NULL;
    if (posix_memalign(&data, huge ? HUGE_BYTES : LINE, bytes ? bytes : LINE)) return NULL;
    if (huge) madvise(data, bytes / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE);
    return data;
}

static void cpu_free(void *user, int32_t index, int32_t memory_kind, void *data, uint64_t bytes,
                     void *stream) {
    (void)user, (void)index, (void)memory_kind, (void)bytes, (void)stream;
    free(data);
}

static bool cpu_can_copy(void *user, tn_device src, tn_device dst) {
    (void)user;
    return src.kind == TN_CPU && dst.kind == TN_CPU;
}

static tn_status cpu_copy(void *user, tn_device dst_device, void *dst, tn_device src_device,
                          const void *src, uint64_t bytes, void *stream) {
    (void)user, (void)dst_device, (void)src_device, (void)stream;
    if (bytes) memmove(dst, src, bytes);
    return TN_OK;
}

static tn_status cpu_sync(void *user, int32_t index, void *stream) {
    (void)user, (void)index, (void)stream;
    return TN_OK;
}

static kind cpu = {.driver = {.size = sizeof(tn_driver),
                              .kind_code = TN_CPU,
                              .kind = "cpu",
                              .count = cpu_count,
                              .props = cpu_props,
                              .alloc = cpu_alloc,
                              .free = cpu_free,
                              .can_copy = cpu_can_copy,
                              .copy = cpu_copy,
                              .stream_sync = cpu_sync},
                   .plugin = "tenon",
                   .count = 1,
                   .places = &tni_host};

tni_place tni_host = {.state = TNI_STREAM_LIVE,
                      .host_memory = true,
                      .device = {TN_CPU, 0},
                      .driver = &cpu.driver,
                      .first = &tni_host};

/* ---- Looking up ------------------------------------------------------------------------------ */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* names */

static kind *next_of(kind *k) { return atomic_load_explicit(&k->next, memory_order_acquire); }

static kind *kind_of(int32_t code) {
    kind *k = &cpu;
    while (k && k->driver.kind_code != code) k = next_of(k);
    return k;
}

static kind *kind_named(const char *text) {
    kind *k = &cpu;
    while (k && strcmp(k->driver.kind, text) != 0) k = next_of(k);
    return k;
}

tni_place *tni_device_place(tn_device device) {
    const kind *k = kind_of(device.kind);
    return k && device.index >= 0 && device.index < k->count ? &k->places[device.index] : NULL;
}

const char *tni_device_kind_name(int32_t code) {
    const kind *k = kind_of(code);
    return k ? k->driver.kind : "?";
}

int32_t tni_device_kind_find(const char *text) {
    const kind *k = text ? kind_named(text) : NULL;
    return k ? k->driver.kind_code : 0;
}

uint64_t tni_device_text(tn_device device, char *out, uint64_t capacity) {
    int n = snprintf(out, capacity, "%s:%d", tni_device_kind_name(device.kind), device.index);
    if (n < 0 || capacity == 0) return 0;
    return (uint64_t)n < capacity ? (uint64_t)n : capacity - 1;
}

/* ---- Registering ----------------------------------------------------------------------------- */

static tn_driver whole_driver(const tn_driver *given) {
    tn_driver d = {0};
    memcpy(&d, given, given->size < sizeof d ? given->size : sizeof d);
    d.size = sizeof d;
    return d;
}

bool tni_device_name_valid(const char *text) {
    size_t n = text ? strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;
    return n > 0 && n < 32 && text[n] == '\0';
}

/* The first thing a driver lacks, or NULL. */
static const char *missing_slot(const tn_driver *d) {
    if (!d->count) return "count";
    if (!d->props) return "props";
    if (!d->alloc) return "alloc";
    if (!d->free) return "free";
    if (!d->can_copy) return "can_copy";
    if (!d->copy) return "copy";
    if (!d->stream_sync) return "stream_sync";
    if (!d->stream_new != !d->stream_free) return "the other of stream_new and stream_free";
    const int events = !!d->event_new + !!d->event_free + !!d->event_record + !!d->event_wait +
                       !!d->event_query + !!d->event_elapsed_ns + !!d->event_sync;
    return events == 0 || events == 7 ? NULL : "some of the seven event slots (all or none)";
}

static tn_status check(const tn_driver *d, char *why, uint64_t capacity) {
    if (!tni_device_name_valid(d->kind)) {
        snprintf(why, capacity, "driver: the kind must be 1 to 31 characters of a-z, 0-9 and _");
        return TN_ERR_INVALID;
    }
    const char *missing = missing_slot(d);
    if (missing) {
        snprintf(why, capacity, "driver for '%s' lacks %s; fill the slot", d->kind, missing);
        return TN_ERR_INVALID;
    }
    if (d->kind_code < 0 || d->kind_code >= FIRST_PRIVATE) {
        snprintf(why, capacity,
                 "driver for '%s': kind code %d is not a DLPack code; give 0 and the core "
                 "chooses a private one",
                 d->kind, d->kind_code);
        return TN_ERR_INVALID;
    }
    const kind *owner = kind_named(d->kind);
    if (!owner && d->kind_code) owner = kind_of(d->kind_code);
    if (!owner) return TN_OK;
    snprintf(why, capacity,
             "device kind '%s' (code %d) is driven by plugin '%s' already; load only one of "
             "the two",
             owner->driver.kind, owner->driver.kind_code, owner->plugin);
    return TN_ERR_CONFLICT;
}

tn_status tni_device_kind_check(const tn_driver *given, char *why, uint64_t capacity) {
    char unwanted[1];
    if (!why || capacity == 0) why = unwanted, capacity = sizeof unwanted;
    if (!given || given->size < offsetof(tn_driver, user)) {
        snprintf(why, capacity, "driver: %s; set size to sizeof(tn_driver)",
                 given ? "the size field is too small" : "NULL was given");
        return TN_ERR_INVALID;
    }
    tn_driver d = whole_driver(given);
    return check(&d, why, capacity);
}

/* A driver is asked once how many devices there are: a count that changed would move them. */
static int32_t devices_of(const tn_driver *d) {
    const int32_t n = d->count(d->user);
    return n < 0 ? 0 : n > MOST_DEVICES ? MOST_DEVICES : n;
}

static bool reachable(const tn_driver *d, int32_t index) {
    tn_device_props props = {.size = sizeof props};
    return d->props(d->user, index, &props) == TN_OK && (props.flags & TN_DEVICE_HOST_MEMORY) != 0;
}

static void open_places(kind *k) {
    for (int32_t i = 0; i < k->count; i++)
        k->places[i] = (tni_place){.state = TNI_STREAM_LIVE,
                                   .host_memory = reachable(&k->driver, i),
                                   .device = {k->driver.kind_code, i},
                                   .driver = &k->driver,
                                   .index = i,
                                   .first = &k->places[i]};
}

static void kind_free(kind *k) {
    tni_free(k->places);
    tni_free((char *)(uintptr_t)k->plugin);
    tni_free((char *)(uintptr_t)k->driver.kind);
    tni_free(k);
}

static kind *kind_new(const tn_driver *given, const char *plugin_id) {
    kind *k = tni_alloc(sizeof *k);
    if (!k) return NULL;
    k->driver = whole_driver(given);
    k->driver.kind = tni_strdup(given->kind);
    k->plugin = tni_strdup(plugin_id ? plugin_id : "");
    k->count = devices_of(&k->driver);
    k->places = tni_alloc(((size_t)k->count + 1) * sizeof *k->places);
    if (k->driver.kind && k->plugin && k->places) return k;
    kind_free(k);
    return NULL;
}

/* Registrations come one after the other. */
tn_status tni_device_kind_add(const tn_driver *given, const char *plugin_id) {
    kind *k = kind_new(given, plugin_id), *last = &cpu;
    if (!k) return TN_ERR_NOMEM;
    int32_t code = FIRST_PRIVATE;
    for (;; last = next_of(last)) {
        if (last->driver.kind_code >= code) code = last->driver.kind_code + 1;
        if (!next_of(last)) break;
    }
    if (k->driver.kind_code == 0) k->driver.kind_code = code;
    open_places(k);
    atomic_store_explicit(&last->next, k, memory_order_release);
    return TN_OK;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

int64_t tn_device_count(void) {
    int64_t n = 0;
    for (kind *k = &cpu; k; k = next_of(k)) n += k->count;
    return n;
}

/* The text in memory that stays; NULL without memory. */
static const char *intern(kind *k, const char *text) {
    pthread_mutex_lock(&mutex);
    name *n = k->names;
    while (n && strcmp(n->text, text) != 0) n = n->next;
    if (!n && (n = tni_alloc(sizeof *n))) {
        snprintf(n->text, sizeof n->text, "%s", text);
        n->next = k->names;
        k->names = n;
    }
    pthread_mutex_unlock(&mutex);
    return n ? n->text : NULL;
}

static tn_status describe(kind *k, int32_t index, tn_device_info *out) {
    tn_device_props props = {.size = sizeof props};
    tn_status status = k->driver.props(k->driver.user, index, &props);
    if (status) {
        return tn_raise(status,
                        "tn_device_at: the driver of %s:%d (plugin '%s') cannot describe it",
                        k->driver.kind, index, k->plugin);
    }
    props.name[sizeof props.name - 1] = '\0';
    tn_device_info info = {.size = out->size, .index = (uint32_t)index, .kind = k->driver.kind};
    info.name = intern(k, props.name);
    if (!info.name) return tn_raise(TN_ERR_NOMEM, "tn_device_at: no memory for the device's name");
    info.plugin = k->plugin;
    info.memory_bytes = props.memory_bytes;
    memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
    return TN_OK;
}

tn_status tn_device_at(int64_t i, tn_device_info *out) {
    if (!out || out->size < offsetof(tn_device_info, kind)) {
        return tn_raise(
            TN_ERR_INVALID,
            "tn_device_at: %s; pass a tn_device_info with size = sizeof(tn_device_info)",
            out ? "out->size is too small" : "out is NULL");
    }
    if (tni_forked()) return tn_error(); /* another thread may have held the lock */
    int64_t left = i;
    for (kind *k = &cpu; k && left >= 0; k = next_of(k)) {
        const int32_t n = k->count;
        if (left < n) return describe(k, (int32_t)left, out);
        left -= n;
    }
    return tn_raise(TN_ERR_INDEX,
                    "tn_device_at: there is no device %lld; tn_device_count() is %lld",
                    (long long)i, (long long)tn_device_count());
}
