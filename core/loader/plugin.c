/* plugin.c - the table of ready plugins, the loader's lock, and the standard set.
 *
 * Invariants: a slot of the table is filled once and stays; the lock is never held by a thread that
 * asks for it again (a plugin that tries to load from inside its start is refused, not deadlocked).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/plugin.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/inspect.h>

#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/state.h"
#include "core/base/text.h"
#include "core/loader/host.h"
#include "core/loader/load.h"
#include "core/loader/scan.h"

enum { MOST_NESTED = 8, MOST_REFUSED = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t holder; /* thread that holds it, 0 = none */

static _Atomic(tn_plugin *) ready[TNI_MOST_PLUGINS];
static _Atomic uint32_t n_ready;
static _Atomic bool standard; /* the standard set is loaded */

static tni_search where; /* under the lock */
static bool search_known;
static _Atomic bool is_safe;

static tn_plugin *refused[MOST_REFUSED]; /* one per path: its last attempt; oldest first */
static uint32_t n_refused;
static tn_plugin *old; /* attempts whose code has seen its handle: they stay reachable */

/* ---- The lock -------------------------------------------------------------------------------- */

bool tni_loader_enter(const char *what) {
    if (tni_forked()) return false;
    uint64_t me = tni_state_get()->thread;
    if (atomic_load(&holder) == me) {
        tn_raise(TN_ERR_PLUGIN,
                 "%s: not while a plugin is being loaded; a plugin's start registers and returns",
                 what);
        return false;
    }
    pthread_mutex_lock(&lock);
    atomic_store(&holder, me);
    if (!search_known) {
        const char *env = secure_getenv("TENON_PLUGINS");
        where.safe_mode = env && strcmp(env, "none") == 0;
        atomic_store(&is_safe, where.safe_mode);
        search_known = true;
    }
    return true;
}

void tni_loader_leave(void) {
    atomic_store(&holder, 0);
    pthread_mutex_unlock(&lock);
}

bool tni_safe_mode(void) { return atomic_load(&is_safe); }

const tni_search *tni_search_now(void) { return &where; }

/* ---- Handles --------------------------------------------------------------------------------- */

tn_plugin *tni_plugin_new(const char *origin, const char *path) {
    tn_plugin *p = tni_alloc(sizeof *p);
    if (!p) return NULL;
    p->index = -1;
    p->origin = origin;
    p->path = tni_strdup(path);
    if (p->path) return p;
    tni_free(p);
    return NULL;
}

void tni_plugin_delete(tn_plugin *p) {
    if (!p) return;
    tni_host_drop_rows(p);
    tni_note_free(&p->note);
    tni_free(p->path);
    tni_free(p);
}

/* ---- The table ------------------------------------------------------------------------------- */

uint32_t tni_ready_count(void) { return atomic_load(&n_ready); }

tn_plugin *tni_ready_at(uint32_t i) { return i < TNI_MOST_PLUGINS ? atomic_load(&ready[i]) : NULL; }

tn_plugin *tni_ready_find(const char *id) {
    int32_t i = tni_plugin_find(id);
    return i < 0 ? NULL : tni_ready_at((uint32_t)i);
}

/* In the table before the commit: whoever resolves an op meanwhile can already name its
 * provider. */
bool tni_ready_reserve(tn_plugin *p) {
    uint32_t i = tni_ready_count();
    if (i == TNI_MOST_PLUGINS) return false;
    p->index = (int32_t)i;
    atomic_store(&ready[i], p);
    return true;
}

void tni_ready_finish(tn_plugin *p, bool committed) {
    if (committed) {
        p->state = TN_PLUGIN_READY;
        atomic_fetch_add(&n_ready, 1);
    } else {
        atomic_store(&ready[p->index], NULL);
        p->index = -1;
    }
}

int32_t tni_plugin_find(const char *id) {
    uint32_t n = tni_ready_count();
    for (uint32_t i = 0; i < n && id; i++)
        if (strcmp(tni_ready_at(i)->note.id, id) == 0) return (int32_t)i;
    return -1;
}

const char *tni_plugin_id(int32_t index) {
    const tn_plugin *p = index < 0 ? NULL : tni_ready_at((uint32_t)index);
    return p ? p->note.id : "";
}

uint32_t tni_plugin_kernels(int32_t index) {
    const tn_plugin *p = index < 0 ? NULL : tni_ready_at((uint32_t)index);
    return p ? p->n_kernel_ops : 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *tni_plugin_list(void) {
    const char *ids[TNI_MOST_PLUGINS];
    uint32_t n = tni_ready_count();
    for (uint32_t i = 0; i < n; i++) ids[i] = tni_ready_at(i)->note.id;
    qsort(ids, n, sizeof *ids, by_text);
    char *out = tn_scope_alloc((uint64_t)n * (TNI_ID_BYTES + 2) + 1), *at = out;
    if (!out) return "";
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) at = stpcpy(at, ", ");
        at = stpcpy(at, ids[i]);
    }
    *at = 0;
    return out;
}

/* ---- Attempts -------------------------------------------------------------------------------- */

static void retire(tn_plugin *p) {
    if (!p->started) {
        tni_plugin_delete(p);
        return;
    }
    p->next_old = old;
    old = p;
}

static tn_plugin **refused_slot(const char *path) {
    for (uint32_t i = 0; i < n_refused; i++)
        if (strcmp(refused[i]->path, path) == 0) return &refused[i];
    return NULL;
}

tn_plugin *tni_refused_find(const char *path) {
    tn_plugin **slot = refused_slot(path);
    return slot ? *slot : NULL;
}

static void take_out(tn_plugin **slot) {
    const size_t after = (size_t)(&refused[n_refused--] - slot) - 1;
    retire(*slot);
    memmove(slot, slot + 1, after * sizeof *slot);
}

/* A plugin that is ready now no longer counts as refused. */
static void forget(const char *path) {
    tn_plugin **slot = refused_slot(path);
    if (slot) take_out(slot);
}

static bool is_missing(const tn_plugin *p) { return p->report.failed == TNI_STAGE_FOUND; }

/* Keeps p as the last attempt on its path: at least until the next attempt, in general for as long
 * as a listing may ask for it. No listing has a file that is missing. */
static void remember(tn_plugin *p) {
    forget(p->path);
    if (n_refused > 0 && is_missing(refused[n_refused - 1])) take_out(&refused[n_refused - 1]);
    if (n_refused == MOST_REFUSED) take_out(&refused[0]);
    refused[n_refused++] = p;
}

static tn_plugin *no_memory(const char *path) {
    tn_raise(TN_ERR_NOMEM, "%s: out of memory while it is loaded", path);
    return NULL;
}

tn_plugin *tni_loader_load(const char *path, const char *origin, bool given, bool afresh) {
    tn_plugin *p = tni_plugin_new(origin, path);
    if (!p) return no_memory(path);
    tni_loading l = {.p = p, .search = &where, .path = path, .given = given, .afresh = afresh};
    tn_status s = tni_load_file(&l);
    if (l.same) {
        tni_plugin_delete(p);
        return l.same;
    }
    if (s == TN_OK)
        forget(p->path);
    else
        remember(p);
    return p;
}

/* ---- The standard set ------------------------------------------------------------------------ */

static bool raise_missing(const char *id) {
    tni_places places;
    char text[1024] = "";
    uint64_t n = 0;
    if (tni_places_make(&where, &places)) {
        for (uint32_t i = 0; i < places.n && n < sizeof text - 8; i++) {
            tni_text_format(text + n, sizeof text - n, "%s%.300s", i ? ", " : "",
                            places.items[i].path);
            n += strlen(text + n);
        }
        tni_places_free(&places);
    }
    tn_raise(TN_ERR_NOTFOUND,
             "the plugin '%s' was not found, and no op can run without it\n  searched: %s\n"
             "  fix:      put %s.so into one of these folders, or set TENON_PLUGIN_PATH",
             id, text, id);
    return false;
}

static bool load_required(const tni_listing *l, const char *id) {
    if (tni_ready_find(id)) return true;
    const tn_plugin *found = tni_listing_find(l, id);
    if (!found) return raise_missing(id);
    const tn_plugin *p = tni_loader_load(found->path, found->origin, false, false);
    if (p && p->state != TN_PLUGIN_READY) tni_report_raise(&p->report, p->path);
    return p && p->state == TN_PLUGIN_READY;
}

/* An optional plugin that cannot be had is an absence: listed, and told to whoever reads the
 * log. */
static void load_optional(const tni_listing *l, const tn_plugin *c) {
    const char *kinds = c->note.kinds;
    if (c->report.code != TN_OK ||
        !(tni_kind_listed(kinds, "kernels") || tni_kind_listed(kinds, "driver")))
        return;
    if (tni_ready_find(c->note.id) || tni_listing_find(l, c->note.id) != c) return;
    tni_error_frame outer = tni_error_frame_enter();
    const tn_plugin *p = tni_loader_load(c->path, c->origin, false, false);
    tn_clear_error();
    tni_error_frame_leave(outer);
    if (p && p->state != TN_PLUGIN_READY)
        tni_log(p->state == TN_PLUGIN_UNUSABLE ? TN_LOG_INFO : TN_LOG_WARN, "",
                "plugin '%s' is left out (%s): %s", c->note.id, tni_stage_name(p->report.failed),
                p->report.detail[p->report.failed]);
}

/* A program that holds what it needs, and wants nothing else, looks nowhere. */
static bool needs_no_search(void) {
    return where.safe_mode && tni_ready_find("math") && tni_ready_find("cpu_ref");
}

static bool load_standard(void) {
    tni_listing l = {0};
    if (atomic_load(&standard)) return true;
    if (!needs_no_search() && !tni_listing_make(&where, &l)) return false;
    bool ok = load_required(&l, "math") && load_required(&l, "cpu_ref");
    for (uint32_t i = 0; i < l.n && ok && !where.safe_mode; i++) load_optional(&l, l.items[i]);
    tni_listing_free(&l);
    if (ok) atomic_store_explicit(&standard, true, memory_order_release);
    return ok;
}

bool tni_plugins_ready(void) {
    if (atomic_load_explicit(&standard, memory_order_acquire)) return true;
    if (!tni_loader_enter("loading the standard plugins")) return false;
    bool ok = load_standard();
    tni_loader_leave();
    return ok;
}

bool tni_loader_require(const char *id) {
    static int nested;
    tni_listing l;
    bool ok = false;
    if (nested == MOST_NESTED) return false;
    tni_error_frame outer = tni_error_frame_enter();
    if (tni_listing_make(&where, &l)) {
        const tn_plugin *found = tni_listing_find(&l, id);
        nested++;
        const tn_plugin *p =
            found ? tni_loader_load(found->path, found->origin, false, false) : NULL;
        nested--;
        ok = p && p->state == TN_PLUGIN_READY;
        tni_listing_free(&l);
    }
    tn_clear_error();
    tni_error_frame_leave(outer);
    return ok;
}

/* ---- Public ---------------------------------------------------------------------------------- */

static bool path_absolute(const char *list) {
    for (const char *at = list; at && *at; at += strcspn(at, ":"), at += *at == ':')
        if (*at != '/' && *at != ':') return false;
    return true;
}

static tn_status take_options(const tn_init_opts *o) {
    if (atomic_load(&standard))
        return tn_raise(TN_ERR_CONFLICT,
                        "tn_init: Tenon has started already; call it once, before the first op");
    if (!path_absolute(o->plugin_path))
        return tn_raise(TN_ERR_INVALID,
                        "tn_init: plugin_path '%.200s' has a relative folder; give absolute ones, "
                        "joined by ':'",
                        o->plugin_path);
    char *path = o->plugin_path ? tni_strdup(o->plugin_path) : NULL;
    if (o->plugin_path && !path) return tn_raise(TN_ERR_NOMEM, "tn_init: out of memory");
    tni_free(where.plugin_path);
    where.plugin_path = path;
    where.strict = o->strict;
    where.safe_mode |= o->safe_mode;
    atomic_store(&is_safe, where.safe_mode);
    return TN_OK;
}

tn_status tn_init(const tn_init_opts *opts) {
    if (!tni_loader_enter("tn_init")) return tn_error();
    tn_status s = opts ? take_options(opts) : TN_OK;
    if (s == TN_OK && !load_standard()) s = tn_error();
    tni_loader_leave();
    return s;
}

/* What an explicit request says of its outcome. */
static tn_status outcome(const tn_plugin *p) {
    if (!p) return tn_error();
    if (p->state == TN_PLUGIN_READY) return TN_OK;
    return tni_report_raise(&p->report, p->path[0] || !p->note.id ? p->path : p->note.id);
}

tn_status tn_plugin_load(const char *path) {
    if (!path) return tn_raise(TN_ERR_INVALID, "tn_plugin_load: the path is NULL");
    if (!tni_loader_enter("tn_plugin_load")) return tn_error();
    tn_status s = outcome(tni_loader_load(path, "given", true, false));
    tni_loader_leave();
    return s;
}

static tn_plugin *add_static(tn_plugin_query_fn query) {
    for (uint32_t i = 0; i < tni_ready_count(); i++)
        if (tni_ready_at(i)->query == query) return tni_ready_at(i);
    tn_plugin *p = tni_plugin_new("given", "");
    if (!p) return no_memory("a plugin that is linked in");
    tni_load_static(p, query);
    return p;
}

tn_status tn_plugin_add(tn_plugin_query_fn query) {
    if (!query) return tn_raise(TN_ERR_INVALID, "tn_plugin_add: the function is NULL");
    if (!tni_loader_enter("tn_plugin_add")) return tn_error();
    tn_plugin *p = add_static(query);
    tn_status s = outcome(p);
    if (p && p->state != TN_PLUGIN_READY) retire(p);
    tni_loader_leave();
    return s;
}
