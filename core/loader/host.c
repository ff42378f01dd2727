/* host.c - the table of services every plugin gets, and the collection of what it registers.
 *
 * Invariants: a service survives a NULL handle; rows are copied while start runs and at no other
 * time; the first thing that goes wrong in a service decides, even if start ignores it and returns
 * TN_OK.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/host.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tenon/abi_text.h>
#include <tenon/hooks.h>

#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/base/threads.h"
#include "core/dispatch/layers.h"

enum { MOST_ROWS = 65536, ALIGN = 64 };

static const char *name_of(const tn_plugin *p) { return p && p->note.id ? p->note.id : "plugin"; }

static void host_log(tn_plugin *p, int32_t level, const char *text, uint64_t len) {
    if (text) tni_log(level, name_of(p), "%.*s", len < 1024 ? (int)len : 1024, text);
}

/* ---- Memory: each block remembers where it really begins ------------------------------------- */

static void *host_alloc(tn_plugin *p, uint64_t bytes) {
    if (bytes > UINT64_MAX - 2 * ALIGN) return NULL;
    char *block = tni_alloc(bytes + 2 * ALIGN);
    if (!block) return NULL;
    uintptr_t at = ((uintptr_t)block + sizeof(void *) + ALIGN - 1) / ALIGN * ALIGN;
    memcpy((void *)(at - sizeof(void *)), &block, sizeof block);
    if (p) atomic_fetch_add(&p->live_blocks, 1);
    return (void *)at;
}

static void host_free(tn_plugin *p, void *at) {
    if (!at) return;
    void *block;
    memcpy(&block, (char *)at - sizeof(void *), sizeof block);
    tni_free(block);
    if (p) atomic_fetch_sub(&p->live_blocks, 1);
}

/* ---- Work, time, settings -------------------------------------------------------------------- */

static void host_parallel_for(tn_plugin *p, int64_t n, int64_t grain, int32_t max_threads,
                              tn_range_fn body, void *arg) {
    (void)p;
    if (body) tni_parallel_for(n, grain, max_threads, body, arg);
}

static tn_status host_parallel_reduce(tn_plugin *p, int64_t n, int64_t grain, int32_t max_threads,
                                      tn_reduce_fn body, tn_combine_fn combine, void *arg,
                                      void *out, uint32_t partial_bytes) {
    (void)p;
    if (!body || !combine || !out) return TN_ERR_INVALID;
    return tni_parallel_reduce(n, grain, max_threads, body, combine, arg, out, partial_bytes);
}

static uint64_t host_clock(tn_plugin *p) {
    (void)p;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* TENON_<ID>_<KEY>, upper case. */
static bool option_name(char *out, uint64_t capacity, const char *id, const char *key) {
    int n = snprintf(out, capacity, "TENON_%s_%s", id, key);
    for (char *c = out; *c; c++) {
        bool word = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || *c == '_';
        if (!word) return false;
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    }
    return n > 0 && (uint64_t)n < capacity && key[0] != 0;
}

const char *tni_host_option(const char *plugin_id, const char *key) {
    char name[128];
    if (tni_safe_mode() || !option_name(name, sizeof name, plugin_id, key)) return NULL;
    return secure_getenv(name);
}

static void (*watch)(const char *key);

void tni_host_watch_options(void (*asked)(const char *key)) { watch = asked; }

static const char *option_add(tn_plugin *p, const char *key) {
    const char *value = tni_host_option(name_of(p), key);
    tni_option *o = value ? tni_alloc(sizeof *o) : NULL;
    if (!o) return NULL;
    o->key = tni_strdup(key);
    o->value = tni_strdup(value);
    if (!o->key || !o->value) {
        tni_free(o->key), tni_free(o->value), tni_free(o);
        return NULL;
    }
    o->next = p->options;
    p->options = o;
    return o->value;
}

/* The first answer stays: the plugin may keep the pointer. */
static const char *host_option(tn_plugin *p, const char *key) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!p || !key || tni_safe_mode()) return NULL;
    if (watch) watch(key);
    pthread_mutex_lock(&lock);
    const char *value = NULL;
    for (tni_option *o = p->options; o && !value; o = o->next)
        if (strcmp(o->key, key) == 0) value = o->value;
    if (!value) value = option_add(p, key);
    pthread_mutex_unlock(&lock);
    return value;
}

static const void *host_interface(tn_plugin *p, const char *id) {
    (void)p;
    if (!id) return NULL;
    if (strcmp(id, "tn.layers/0") == 0) return tni_layers_table();
    return strcmp(id, "tn.ops/0") == 0 ? tn_ops_table() : NULL;
}

/* ---- What may be said while start runs ------------------------------------------------------- */

static bool starting(const tn_plugin *p) { return p && atomic_load(&p->starting); }

static void host_fail(tn_plugin *p, tn_status code, const char *text, uint64_t len) {
    if (!starting(p) || p->fail_code != TN_OK) return;
    p->fail_code = code == TN_OK ? TN_ERR_INTERNAL : code;
    if (!text) text = "", len = 0;
    tni_text_format(p->fail_text, sizeof p->fail_text, "%.*s",
                    len < sizeof p->fail_text ? (int)len : (int)sizeof p->fail_text - 1, text);
}

__attribute__((format(printf, 3, 4))) static tn_status service_fail(tn_plugin *p, tn_status code,
                                                                    const char *format, ...) {
    char text[TNI_DETAIL_BYTES];
    va_list list;
    va_start(list, format);
    tn_vtext(text, sizeof text, format, list);
    va_end(list);
    host_fail(p, code, text, strlen(text));
    return code;
}

static void host_describe(tn_plugin *p, const char *text) {
    if (!starting(p) || !text) return;
    uint64_t n = strlen(p->facts);
    tni_text_format(p->facts + n, sizeof p->facts - n, "%s%.200s", n ? ", " : "", text);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

typedef struct row_kind { /* both kinds of rows begin with their size */
    const char *name;
    uint32_t whole;   /* as this core knows it */
    uint32_t minimum; /* as ABI 0.0 knew it: what must be there */
} row_kind;

static const row_kind op_rows = {"add_ops", sizeof(tn_op), offsetof(tn_op, derivative)};
static const row_kind kernel_rows = {"add_kernels", sizeof(tn_kernel), offsetof(tn_kernel, drop)};
static const row_kind driver_rows = {"add_driver", sizeof(tn_driver),
                                     offsetof(tn_driver, stream_new)};

/* Copies what a row has; what it is too old to have is zero. */
static tn_status row_copy(tn_plugin *p, const row_kind *k, uint32_t i, const void *row,
                          uint32_t stride, void *out) {
    uint32_t size;
    memcpy(&size, row, sizeof size);
    if (size < k->minimum)
        return service_fail(p, TN_ERR_PLUGIN,
                            "%s: row %u, size: %u bytes, must be at least %u; set it to sizeof row",
                            k->name, i, size, k->minimum);
    if (size > stride)
        return service_fail(p, TN_ERR_PLUGIN,
                            "%s: row %u, size: %u bytes is more than the stride of %u", k->name, i,
                            size, stride);
    memset(out, 0, k->whole);
    memcpy(out, row, size < k->whole ? size : k->whole);
    memcpy(out, &k->whole, sizeof k->whole);
    return TN_OK;
}

/* Rows a list of n has room for: a power of two, so that rows may come one by one. */
static uint64_t room_for(uint64_t n) {
    uint64_t room = n ? 1 : 0;
    while (room < n) room *= 2;
    return room;
}

static tn_status rows_add(tn_plugin *p, const row_kind *k, const void *rows, uint32_t count,
                          uint32_t stride, void **list, uint32_t *n) {
    if (!starting(p)) return TN_ERR_INVALID;
    if (p->fail_code != TN_OK) return p->fail_code;
    if (count == 0) return TN_OK;
    if (!rows || (uintptr_t)rows % 8 != 0)
        return service_fail(p, TN_ERR_PLUGIN, "%s: %u rows at %p; pass an array of rows", k->name,
                            count, rows);
    if (stride < k->minimum || stride % 8 != 0)
        return service_fail(p, TN_ERR_PLUGIN,
                            "%s: stride %u is not the size of a row; pass sizeof row", k->name,
                            stride);
    if (count > MOST_ROWS || *n > MOST_ROWS - count)
        return service_fail(p, TN_ERR_PLUGIN, "%s: %u rows are too many", k->name, count);
    const uint64_t have = room_for(*n), want = room_for((uint64_t)*n + count);
    char *more = want > have ? tni_realloc(*list, have * k->whole, want * k->whole) : *list;
    if (!more) return service_fail(p, TN_ERR_NOMEM, "%s: out of memory", k->name);
    *list = more;
    for (uint32_t i = 0; i < count; i++) {
        const char *row = (const char *)rows + (uint64_t)i * stride;
        tn_status s = row_copy(p, k, i, row, stride, more + (uint64_t)*n * k->whole);
        if (s != TN_OK) return s;
        (*n)++;
    }
    return TN_OK;
}

static tn_status host_add_ops(tn_plugin *p, const tn_op *rows, uint32_t count, uint32_t stride) {
    if (!p) return TN_ERR_INVALID;
    void *list = p->ops;
    tn_status s = rows_add(p, &op_rows, rows, count, stride, &list, &p->n_ops);
    p->ops = list;
    return s;
}

static tn_status host_add_kernels(tn_plugin *p, const tn_kernel *rows, uint32_t count,
                                  uint32_t stride) {
    if (!p) return TN_ERR_INVALID;
    void *list = p->kernels;
    tn_status s = rows_add(p, &kernel_rows, rows, count, stride, &list, &p->n_kernels);
    p->kernels = list;
    return s;
}

static tn_status host_add_driver(tn_plugin *p, const tn_driver *driver) {
    if (!starting(p)) return TN_ERR_INVALID;
    if (p->fail_code != TN_OK) return p->fail_code;
    if (!driver) return service_fail(p, TN_ERR_PLUGIN, "add_driver: no driver given");
    uint64_t old = p->n_drivers * sizeof *p->drivers;
    tn_driver *copy = tni_alloc(sizeof *copy);
    const tn_driver **more = copy ? tni_realloc(p->drivers, old, old + sizeof *more) : NULL;
    if (more) p->drivers = more;
    tn_status s = more ? row_copy(p, &driver_rows, p->n_drivers, driver, UINT32_MAX, copy)
                       : service_fail(p, TN_ERR_NOMEM, "add_driver: out of memory");
    if (s == TN_OK)
        p->drivers[p->n_drivers++] = copy;
    else
        tni_free(copy);
    return s;
}

void tni_host_drop_rows(tn_plugin *p) {
    tni_free(p->ops);
    tni_free(p->kernels);
    for (uint32_t i = 0; i < p->n_drivers; i++) tni_free((void *)(uintptr_t)p->drivers[i]);
    tni_free(p->drivers);
    p->ops = NULL, p->kernels = NULL, p->drivers = NULL;
    p->n_ops = p->n_kernels = p->n_drivers = 0;
}

/* ---- Starting -------------------------------------------------------------------------------- */

static const tn_host host = {
    sizeof(tn_host),   TN_ABI_MINOR,         host_log,         host_alloc,      host_free,
    host_parallel_for, host_parallel_reduce, host_clock,       host_option,     host_interface,
    host_fail,         host_add_ops,         host_add_kernels, host_add_driver, host_describe};

const tn_host *tni_host_table(void) { return &host; }

/* Why start's rows cannot be taken although it returned TN_OK. */
static tn_status consistent(tn_plugin *p) {
    const char *kinds = p->note.kinds;
    atomic_store(&p->starting, true); /* so that service_fail is heard */
    if (p->n_ops > 0 && !tni_kind_listed(kinds, "ops"))
        service_fail(p, TN_ERR_PLUGIN, "registers ops, but its note says kinds=%s", kinds);
    if (p->n_kernels > 0 && !tni_kind_listed(kinds, "kernels"))
        service_fail(p, TN_ERR_PLUGIN, "registers kernels, but its note says kinds=%s", kinds);
    if (p->n_drivers > 0 && !tni_kind_listed(kinds, "driver"))
        service_fail(p, TN_ERR_PLUGIN, "registers a driver, but its note says kinds=%s", kinds);
    bool offers = p->n_ops + p->n_kernels + p->n_drivers > 0 ||
                  (TN_HAS(p->desc, interface) && p->desc->interface);
    if (!offers) service_fail(p, TN_ERR_PLUGIN, "started, but registered nothing");
    atomic_store(&p->starting, false);
    return p->fail_code;
}

tn_status tni_host_start(tn_plugin *p) {
    tni_error_frame outer = tni_error_frame_enter();
    p->started = true;
    atomic_store(&p->starting, true);
    tn_status s = p->desc->start(&host, p);
    atomic_store(&p->starting, false);
    if (tn_error() != TN_OK && s != TN_OK && p->fail_code == TN_OK)
        tni_text_format(p->fail_text, sizeof p->fail_text, "%s", tn_error_message());
    tn_clear_error(); /* what start left pending is told in the report, not to the next op */
    tni_error_frame_leave(outer);
    if (p->fail_code != TN_OK) return p->fail_code;
    if (s == TN_OK) return consistent(p);
    p->fail_code = s;
    if (p->fail_text[0] == 0)
        tni_text_format(p->fail_text, sizeof p->fail_text, "start returned %s and did not say why",
                        tn_status_name(s));
    return s;
}
