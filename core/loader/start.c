/* start.c - the part of a plugin's way on which its code runs: mapping, query, start, registration.
 *
 * Invariants: what is mapped is the file that was checked; nothing is ever unmapped; rows reach the
 * registry in one transaction, or not at all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/start.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/dispatch/registry.h"
#include "core/loader/advice.h"
#include "core/loader/file.h"
#include "core/loader/host.h"
#include "core/loader/load.h"

/* ---- Mapping --------------------------------------------------------------------------------- */

typedef struct mapping { /* every file that was ever mapped here: ld.so knows them by name */
    struct mapping *next;
    struct stat st;
    char path[];
} mapping;

static mapping *mapped;

static const mapping *mapped_find(const char *path) {
    const mapping *m = mapped;
    while (m && strcmp(m->path, path) != 0) m = m->next;
    return m;
}

static mapping *mapped_new(const tn_plugin *p) {
    uint64_t n = strlen(p->path) + 1;
    mapping *m = tni_alloc(sizeof *m + n);
    if (!m) return NULL;
    m->st = p->st;
    memcpy(m->path, p->path, n);
    return m;
}

static tn_status refuse(tn_plugin *p, tni_stage stage, tn_status code, const char *cause) {
    char fix[TNI_DETAIL_BYTES];
    return tni_report_fail(&p->report, stage, code, tni_advice(stage, code, cause, fix, sizeof fix),
                           "%s", cause);
}

/* A library that is missing is an absence; all else is the plugin's fault. */
static tn_status map_refused(tn_plugin *p, const char *why) {
    return refuse(p, TNI_STAGE_DLOPEN, tni_library_missing(why) ? TN_ERR_NOTFOUND : TN_ERR_PLUGIN,
                  why);
}

/* dlopen and dlsym. NULL with why. */
static tn_plugin_query_fn open_entry(const char *path, char *why, uint64_t capacity) {
    tn_plugin_query_fn query = NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *entry = handle ? dlsym(handle, TN_PLUGIN_ENTRY) : NULL;
    if (!entry) {
        const char *text = dlerror();
        tni_text_format(why, capacity, "%s", text ? text : "the entry is empty");
    }
    memcpy(&query, &entry, sizeof query); /* C has no other way from void * to a function */
    return query;
}

/* Does the mapping that holds the entry come from the file that was checked? Where /proc does not
 * say, yes. */
static bool mapped_same(const void *entry, const tn_plugin *p) {
    char line[PATH_MAX + 128], path[PATH_MAX + 16];
    FILE *f = fopen("/proc/self/maps", "re");
    bool same = true;
    while (f && fgets(line, sizeof line, f)) {
        uintptr_t begin, end;
        unsigned major, minor;
        unsigned long inode;
        path[0] = 0;
        if (sscanf(line, "%lx-%lx %*s %*x %x:%x %lu %4110[^\n]", &begin, &end, &major, &minor,
                   &inode, path) < 5)
            continue;
        if ((uintptr_t)entry < begin || (uintptr_t)entry >= end) continue;
        /* Overlay file systems show other device numbers here than fstat does: then the name
         * decides. */
        bool device = makedev(major, minor) == p->st.st_dev;
        same = device ? inode == p->st.st_ino : strcmp(path, p->path) == 0;
        break;
    }
    if (f) fclose(f);
    return same;
}

/* Maps the file, remembers that it did, and makes sure that it was the one that was checked. */
static bool map_checked(tn_plugin *p, char *why, uint64_t capacity) {
    struct stat now;
    mapping *m = mapped_new(p);
    void *entry;
    tni_text_format(why, capacity, "out of memory");
    p->query = m ? open_entry(p->path, why, capacity) : NULL;
    if (!p->query) {
        tni_free(m);
        return false;
    }
    m->next = mapped;
    mapped = m;
    memcpy(&entry, &p->query, sizeof entry);
    tni_text_format(why, capacity, "the file was replaced between check and load");
    return stat(p->path, &now) == 0 && tni_file_same(&now, &p->st) && mapped_same(entry, p);
}

tn_status tni_start_map(tn_plugin *p) {
    char why[TNI_DETAIL_BYTES];
    const mapping *before = mapped_find(p->path);
    if (before && !tni_file_same(&before->st, &p->st))
        return tni_report_fail(&p->report, TNI_STAGE_DLOPEN, TN_ERR_CONFLICT,
                               "start the program again",
                               "the file was replaced after it had been mapped");
    if (!map_checked(p, why, sizeof why)) return map_refused(p, why);
    tn_status s = tni_start_query(p);
    if (s == TN_OK) tni_report_pass(&p->report, TNI_STAGE_DLOPEN, "mapped");
    return s;
}

/* ---- Query, start, registration -------------------------------------------------------------- */

#if defined(__has_feature)
#define TNI_HAS_FEATURE(x) __has_feature(x)
#else
#define TNI_HAS_FEATURE(x) 0
#endif

static uint32_t sanitizers(void) {
    uint32_t bits = 0;
#if defined(__SANITIZE_ADDRESS__) || TNI_HAS_FEATURE(address_sanitizer)
    bits |= 1;
#endif
#if TNI_HAS_FEATURE(undefined_behavior_sanitizer)
    bits |= 2; /* gcc does not tell */
#endif
#if defined(__SANITIZE_THREAD__) || TNI_HAS_FEATURE(thread_sanitizer)
    bits |= 4;
#endif
    return bits;
}

static tn_status query_refused(tni_report *r, const char *why) {
    return tni_report_fail(r, TNI_STAGE_DLOPEN, TN_ERR_PLUGIN, NULL, "it declines: %.400s", why);
}

tn_status tni_start_query(tn_plugin *p) {
    const tn_hello hello = {sizeof hello, sanitizers(), 0, TN_ABI_MINOR, tni_core_build_id()};
    const char *why = NULL;
    const tn_plugin_desc *d = p->query(&hello, &why);
    if (!d) return query_refused(&p->report, why ? why : "it does not say why");
    if (d->size < offsetof(tn_plugin_desc, interface))
        return query_refused(&p->report, "its description is too short");
    if (!d->start) return query_refused(&p->report, "its description has no start");
    if (!d->id || !d->version)
        return query_refused(&p->report, "its description has no id or no version");
    if (p->note.id && (strcmp(d->id, p->note.id) != 0 || strcmp(d->version, p->note.version) != 0))
        return tni_report_fail(&p->report, TNI_STAGE_DLOPEN, TN_ERR_PLUGIN,
                               "build the plugin again",
                               "its note says %s %s, its description %.60s %.40s", p->note.id,
                               p->note.version, d->id, d->version);
    p->desc = d;
    return TN_OK;
}

static tn_status start_plugin(tn_plugin *p) {
    static const char silent[] = "nothing to report";
    tn_status s = tni_host_start(p);
    bool absent = s == TN_ERR_UNSUPPORTED || s == TN_ERR_DEVICE || s == TN_ERR_NOTFOUND;
    if (!absent)
        tni_report_pass(&p->report, TNI_STAGE_VENDOR, "%s", p->facts[0] ? p->facts : silent);
    if (s == TN_OK) return s;
    return refuse(p, absent ? TNI_STAGE_VENDOR : TNI_STAGE_REGISTERED, s, p->fail_text);
}

static tni_rows rows_of(const tn_plugin *p) {
    return (tni_rows){.plugin = p->note.id,
                      .plugin_index = p->index,
                      .ops = p->ops,
                      .n_ops = p->n_ops,
                      .kernels = p->kernels,
                      .n_kernels = p->n_kernels,
                      .drivers = p->drivers,
                      .n_drivers = p->n_drivers};
}

/* The registry keeps copies of the rows, but the drivers themselves. */
static void rows_done(tn_plugin *p, uint32_t n_kernel_ops) {
    p->n_kernel_ops = n_kernel_ops;
    tni_free(p->ops);
    tni_free(p->kernels);
    p->ops = NULL, p->kernels = NULL;
}

/* A kernel may come before its op or its device. Whoever only misspelt a name must hear of it. */
static void registered(tn_plugin *p) {
    char why[TNI_DETAIL_BYTES / 2] = "";
    const uint64_t n = tni_registry_waiting(p->index, why, sizeof why);
    if (n)
        tni_log(TN_LOG_WARN, "", "plugin '%s': %llu of its kernels wait: %s", p->note.id,
                (unsigned long long)n, why);
    tni_report_pass(&p->report, TNI_STAGE_REGISTERED, "%u ops, %u kernels, %u drivers%s%s",
                    p->n_ops, p->n_kernel_ops, p->n_drivers, n ? "; not all can run: " : "", why);
}

static tn_status register_plugin(tn_plugin *p) {
    char why[TNI_DETAIL_BYTES] = "";
    if (!tni_ready_reserve(p))
        return tni_report_fail(&p->report, TNI_STAGE_REGISTERED, TN_ERR_PLUGIN, NULL,
                               "more than %d plugins", TNI_MOST_PLUGINS);
    tni_rows rows = rows_of(p);
    tn_status s = tni_registry_commit(&rows, why, sizeof why);
    if (s == TN_OK) {
        rows_done(p, rows.n_kernel_ops);
        registered(p);
    } else {
        refuse(p, TNI_STAGE_REGISTERED, s, why);
    }
    tni_ready_finish(p, s == TN_OK);
    return s;
}

/* What is the same for mapped and linked-in plugins: from here its code runs. */
tn_status tni_start_register(tn_plugin *p) {
    tn_status s = start_plugin(p);
    if (s == TN_OK) {
        s = register_plugin(p);
        if (s != TN_OK && p->desc->stop) p->desc->stop(tni_host_table(), p);
    }
    if (s != TN_OK) tni_host_drop_rows(p);
    return s;
}

/* ---- The dry run of tenon-probe -------------------------------------------------------------- */

static tn_status dry_start(tn_plugin *p, void (*step)(const char *what)) {
    char why[TNI_DETAIL_BYTES] = "";
    step("start");
    tn_status s = start_plugin(p);
    if (s != TN_OK) return s;
    step("rows");
    tni_rows rows = rows_of(p);
    s = tni_registry_check(&rows, why, sizeof why);
    return s == TN_OK ? s : refuse(p, TNI_STAGE_REGISTERED, s, why);
}

tn_status tni_start_dry(tn_plugin *p, void (*step)(const char *what)) {
    const tni_search search = {0};
    tni_loading l = {.p = p, .search = &search, .path = p->path, .given = true};
    char why[TNI_DETAIL_BYTES];
    tn_status s = tni_load_examine(&l);
    if (s != TN_OK) return s;
    step("dlopen");
    p->query = open_entry(p->path, why, sizeof why);
    if (!p->query) return map_refused(p, why);
    step("query");
    s = tni_start_query(p);
    return s == TN_OK ? dry_start(p, step) : s;
}
