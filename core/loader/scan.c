/* scan.c - what `tenon plugins` shows: the listing of all candidates, one of them, its stages, the
 * folders.
 *
 * Invariant: a listing maps nothing and runs nothing; it reads headers and notes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/inspect.h>

#include "core/base/heap.h"
#include "core/base/text.h"
#include "core/dispatch/registry.h"
#include "core/loader/file.h"
#include "core/loader/load.h"
#include "core/loader/verdict.h"

/* ---- Listings -------------------------------------------------------------------------------- */

/* "cpu_blas" of "/a/cpu_blas.so", for files without a note. */
static void stem_of(const char *path, char *out, uint64_t capacity) {
    const char *slash = strrchr(path, '/');
    tni_text_format(out, capacity, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(out, '.');
    if (dot && dot != out) *dot = 0;
}

static bool named(const tn_plugin *p, const char *id) {
    char stem[256];
    if (p->note.id) return strcmp(p->note.id, id) == 0;
    stem_of(p->path, stem, sizeof stem);
    return strcmp(stem, id) == 0;
}

/* A library may lie beside the plugin that uses it: libNAME.so without a note is no plugin. */
static bool just_a_library(const tn_plugin *p) {
    const char *slash = strrchr(p->path, '/');
    bool plain = p->report.code != TN_OK && p->report.failed == TNI_STAGE_NOTE;
    return plain && slash && strncmp(slash, "/lib", 4) == 0;
}

/* The same file, found by another path before. */
static bool listed(const tni_listing *l, const tn_plugin *p) {
    for (uint32_t i = 0; i < l->n; i++)
        if (l->items[i]->st.st_ino != 0 && tni_file_same(&l->items[i]->st, &p->st)) return true;
    return false;
}

static bool examine_all(const tni_search *s, const tni_places *files, tni_listing *out) {
    for (uint32_t i = 0; i < files->n; i++) {
        tn_plugin *p = tni_plugin_new(files->items[i].origin, files->items[i].path);
        if (!p) return false;
        tni_loading l = {.p = p, .search = s, .path = files->items[i].path};
        tni_load_examine(&l);
        if (listed(out, p) || just_a_library(p))
            tni_plugin_delete(p);
        else
            out->items[out->n++] = p;
    }
    return true;
}

static bool raise_shortage(int what) {
    if (what == ENOMEM || what == 0)
        tn_raise(TN_ERR_NOMEM, "out of memory while plugins are listed");
    else
        tn_raise(TN_ERR_IO,
                 "plugins cannot be listed: %s; close files, or raise the limit of open files "
                 "(ulimit -n)",
                 strerror(what));
    return false;
}

bool tni_listing_make(const tni_search *s, tni_listing *out) {
    tni_places places, files = {0};
    bool ok = tni_places_make(s, &places);
    *out = (tni_listing){0};
    if (ok) {
        ok = tni_places_files(&places, &files);
        tni_places_free(&places);
    }
    if (ok) out->items = tni_alloc(((uint64_t)files.n + 1) * sizeof *out->items);
    ok = ok && out->items && examine_all(s, &files, out);
    tni_places_free(&files);
    if (ok) return true;
    tni_listing_free(out);
    return raise_shortage(places.failed ? places.failed : files.failed);
}

void tni_listing_free(tni_listing *l) {
    for (uint32_t i = 0; i < l->n; i++) tni_plugin_delete(l->items[i]);
    tni_free(l->items);
    *l = (tni_listing){0};
}

tn_plugin *tni_listing_find(const tni_listing *l, const char *id) {
    for (uint32_t i = 0; i < l->n; i++)
        if (named(l->items[i], id)) return l->items[i];
    return NULL;
}

/* ---- The last scan --------------------------------------------------------------------------- */

typedef struct row { /* one line of the scan, with its own copies of all texts */
    tn_plugin_info info;
    char *texts;
} row;

static row *rows;
static uint64_t n_rows;

static void rows_free(void) {
    for (uint64_t i = 0; i < n_rows; i++) tni_free(rows[i].texts);
    tni_free(rows);
    rows = NULL;
    n_rows = 0;
}

/* Copies every text of the info into one block. */
static bool row_own(row *r) {
    const char **texts[] = {&r->info.id,     &r->info.version, &r->info.abi,
                            &r->info.kinds,  &r->info.licence, &r->info.path,
                            &r->info.origin, &r->info.facts,   &r->info.why};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!*texts[i]) *texts[i] = "";
        bytes += strlen(*texts[i]) + 1;
    }
    char *at = r->texts = tni_alloc(bytes);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && at; i++) {
        char *end = stpcpy(at, *texts[i]);
        *texts[i] = at;
        at = end + 1;
    }
    return r->texts != NULL;
}

/* "abi: needs ABI 2.x, this tenon speaks 0.0; get the plugin for this tenon" */
static void why_text(const tni_report *r, char *out, uint64_t capacity) {
    if (r->code == TN_OK)
        out[0] = 0;
    else
        tni_text_format(out, capacity, "%s: %s%s%s", tni_stage_name(r->failed),
                        r->detail[r->failed], r->fix[0] ? "; " : "", r->fix);
}

typedef struct finding { /* what is known of a file beyond its own bytes */
    int32_t state;
    const char *facts;
    char why[2 * TNI_DETAIL_BYTES];
    tni_verdict verdict;
} finding;

static void find_out(const tni_listing *l, const tn_plugin *p, finding *f) {
    const tn_plugin *tried = tni_refused_find(p->path),
                    *first = tni_listing_find(l, p->note.id ? p->note.id : "");
    *f = (finding){.state = p->state, .facts = p->facts};
    why_text(&p->report, f->why, sizeof f->why);
    if (p->state != TN_PLUGIN_NOT_TRIED) return;
    if (tried && tni_file_same(&tried->st, &p->st)) {
        f->state = tried->state;
        f->facts = tried->facts;
        why_text(&tried->report, f->why, sizeof f->why);
    } else if (first && first != p) {
        tni_text_format(f->why, sizeof f->why, "hidden by %.400s, which is found first",
                        first->path);
    } else if (tni_load_remembered(p, &f->verdict)) {
        f->facts = f->verdict.ok ? f->verdict.text : "";
        if (!f->verdict.ok) f->state = TN_PLUGIN_REFUSED;
        if (!f->verdict.ok) tni_text_format(f->why, sizeof f->why, "probe: %s", f->verdict.text);
    }
}

/* Of a plugin that is ready: which of its kernels cannot run yet. */
static void find_ready(const tn_plugin *p, finding *f) {
    char first[TNI_DETAIL_BYTES] = "";
    *f = (finding){.state = TN_PLUGIN_READY, .facts = p->facts};
    const uint64_t n = tni_registry_waiting(p->index, first, sizeof first);
    if (n == 0) return;
    tni_text_format(f->why, sizeof f->why, "%llu of its kernels wait: %s", (unsigned long long)n,
                    first);
}

static bool row_add(const tn_plugin *p, const finding *f) {
    char stem[256];
    row *r = &rows[n_rows];
    stem_of(p->path, stem, sizeof stem);
    const tni_note *n = &p->note;
    r->info = (tn_plugin_info){.size = sizeof r->info,
                               .state = f->state,
                               .id = n->id ? n->id : stem,
                               .version = n->version,
                               .abi = n->abi,
                               .kinds = n->kinds,
                               .licence = n->licence,
                               .path = p->path,
                               .origin = p->origin,
                               .facts = f->facts,
                               .why = f->why,
                               .n_ops = p->state == TN_PLUGIN_READY ? p->n_ops : n->n_schemas,
                               .n_kernels = p->n_kernel_ops};
    n_rows++;
    return row_own(r);
}

static int by_kind_and_id(const void *a, const void *b) {
    const tn_plugin_info *x = &((const row *)a)->info, *y = &((const row *)b)->info;
    int order = strcmp(x->kinds, y->kinds);
    if (order == 0) order = strcmp(x->id, y->id);
    return order ? order : strcmp(x->path, y->path);
}

static bool scan_into_rows(const tni_listing *l) {
    finding f;
    /* One more, for a file that only tn_plugin_find was told of. */
    rows = tni_alloc(((uint64_t)l->n + tni_ready_count() + 1) * sizeof *rows);
    if (!rows) return false;
    for (uint32_t i = 0; i < tni_ready_count(); i++) {
        find_ready(tni_ready_at(i), &f);
        if (!row_add(tni_ready_at(i), &f)) return false;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        bool ready = false;
        for (uint32_t k = 0; k < tni_ready_count(); k++) {
            const tn_plugin *other = tni_ready_at(k);
            ready |= other->path[0] && tni_file_same(&other->st, &l->items[i]->st);
        }
        if (ready) continue;
        find_out(l, l->items[i], &f);
        if (!row_add(l->items[i], &f)) return false;
    }
    qsort(rows, n_rows, sizeof *rows, by_kind_and_id);
    return true;
}

/* Under the lock. The listing is the caller's. */
static tn_status scan(tni_listing *l) {
    if (!tni_listing_make(tni_search_now(), l)) return tn_error();
    rows_free();
    if (scan_into_rows(l)) return TN_OK;
    rows_free();
    tni_listing_free(l);
    return tn_raise(TN_ERR_NOMEM, "out of memory while plugins are listed");
}

tn_status tn_plugin_scan(int64_t *count) {
    tni_listing l;
    if (!count) return tn_raise(TN_ERR_INVALID, "tn_plugin_scan: count is NULL");
    *count = 0;
    if (!tni_loader_enter("tn_plugin_scan")) return tn_error();
    tn_status s = scan(&l);
    if (s == TN_OK) tni_listing_free(&l);
    *count = (int64_t)n_rows;
    tni_loader_leave();
    return s;
}

static void copy_row(const row *r, tn_plugin_info *out) {
    uint32_t size = out->size < sizeof *out ? out->size : (uint32_t)sizeof *out;
    memcpy(out, &r->info, size);
    out->size = size;
}

tn_status tn_plugin_at(int64_t i, tn_plugin_info *out) {
    if (!out || out->size < sizeof out->size)
        return tn_raise(TN_ERR_INVALID, "tn_plugin_at: out is NULL, or its size is not set");
    if (!tni_loader_enter("tn_plugin_at")) return tn_error();
    tn_status s = TN_OK;
    if (i < 0 || (uint64_t)i >= n_rows)
        s = tn_raise(TN_ERR_INDEX, "tn_plugin_at: index %lld, but the last scan found %llu plugins",
                     (long long)i, (unsigned long long)n_rows);
    else
        copy_row(&rows[i], out);
    tni_loader_leave();
    return s;
}

/* ---- One of them ----------------------------------------------------------------------------- */

static const tn_plugin *raise_unknown(const tni_listing *l, const char *name) {
    char text[400] = "";
    for (uint32_t i = 0; i < l->n; i++) {
        uint64_t n = strlen(text);
        if (l->items[i]->note.id)
            tni_text_format(text + n, sizeof text - n, "%s%s", n ? ", " : "", l->items[i]->note.id);
    }
    tn_raise(
        TN_ERR_NOTFOUND,
        "there is no plugin '%.100s'\n  found: %s\n  fix:   give one of these names, or a path",
        name, text[0] ? text : "none");
    return NULL;
}

/* The row of this file, also if no folder of plugins holds it; NULL + error if there is no file. */
static const row *row_of_file(const char *path) {
    const tni_listing nobody = {0}; /* named by its path, a file is hidden by no other */
    const row *found = NULL;
    finding f;
    tn_plugin *p = tni_plugin_new("given", path);
    if (!p) {
        tn_raise(TN_ERR_NOMEM, "out of memory while a plugin is examined");
        return NULL;
    }
    tni_loading l = {.p = p, .search = tni_search_now(), .path = path, .given = true};
    tn_status s = tni_load_examine(&l);
    for (uint64_t i = 0; i < n_rows && !found; i++)
        if (strcmp(rows[i].info.path, p->path) == 0) found = &rows[i];
    if (s != TN_OK && p->report.failed == TNI_STAGE_FOUND) {
        find_out(&nobody, p, &f);
        tn_raise(s, "there is no plugin in '%.400s'\n  cause: %.600s", path, f.why);
    } else if (!found) {
        find_out(&nobody, p, &f);
        found = row_add(p, &f) ? &rows[n_rows - 1] : NULL;
        if (!found) tn_raise(TN_ERR_NOMEM, "out of memory while a plugin is examined");
    }
    tni_plugin_delete(p);
    return found;
}

/* The one that its name means: loaded, or found first. */
static const row *row_of_name(const tni_listing *l, const char *name) {
    const tn_plugin *p = tni_ready_find(name);
    if (!p) p = tni_listing_find(l, name);
    for (uint64_t i = 0; i < n_rows && p; i++) {
        const tn_plugin_info *info = &rows[i].info;
        if (strcmp(info->id, name) == 0 && strcmp(info->path, p->path) == 0) return &rows[i];
    }
    raise_unknown(l, name);
    return NULL;
}

tn_status tn_plugin_find(const char *name_or_path, tn_plugin_info *out) {
    tni_listing l;
    if (!name_or_path || !out || out->size < sizeof out->size)
        return tn_raise(TN_ERR_INVALID, "tn_plugin_find: an argument is NULL, or size is not set");
    if (!tni_loader_enter("tn_plugin_find")) return tn_error();
    tn_status s = scan(&l);
    if (s == TN_OK) {
        const bool file = strchr(name_or_path, '/') != NULL;
        const row *r = file ? row_of_file(name_or_path) : row_of_name(&l, name_or_path);
        if (r) copy_row(r, out);
        if (!r) s = tn_error();
        tni_listing_free(&l);
    }
    tni_loader_leave();
    return s;
}

/* ---- The stages of one ----------------------------------------------------------------------- */

/* By id, file stem or path; loads it if it is not. NULL + error if there is none. */
static const tn_plugin *resolve(const char *name) {
    if (strchr(name, '/')) return tni_loader_load(name, "given", true, true);
    const tn_plugin *p = tni_ready_find(name);
    tni_listing l;
    if (p || !tni_listing_make(tni_search_now(), &l)) return p;
    const tn_plugin *found = tni_listing_find(&l, name);
    p = found ? tni_loader_load(found->path, found->origin, false, true) : raise_unknown(&l, name);
    tni_listing_free(&l);
    return p;
}

static void tell(const tni_report *r, tn_stage_fn line, void *user) {
    for (int i = 0; i < TNI_STAGES; i++) {
        tni_stage stage = (tni_stage)i;
        if (r->code != TN_OK && r->failed == stage) {
            char text[2 * TNI_DETAIL_BYTES + 8];
            tni_text_format(text, sizeof text, "%s%s%s", r->detail[stage],
                            r->fix[0] ? "; fix: " : "", r->fix);
            line(user, tni_stage_name(stage), false, text);
            return;
        }
        if (!(r->passed & 1u << i)) return;
        line(user, tni_stage_name(stage), true, r->detail[stage]);
    }
}

tn_status tn_plugin_why(const char *name_or_path, tn_stage_fn line, void *user) {
    if (!name_or_path || !line)
        return tn_raise(TN_ERR_INVALID, "tn_plugin_why: name or function is NULL");
    tni_report *copy =
        tni_alloc(sizeof *copy); /* line may call anything, so it runs without the lock */
    if (!copy) return tn_raise(TN_ERR_NOMEM, "tn_plugin_why: out of memory");
    if (!tni_loader_enter("tn_plugin_why")) {
        tni_free(copy);
        return tn_error();
    }
    const tn_plugin *p = resolve(name_or_path);
    if (p) *copy = p->report;
    tni_loader_leave();
    if (p) tell(copy, line, user);
    tni_free(copy);
    return p ? TN_OK : tn_error();
}

/* ---- Folders --------------------------------------------------------------------------------- */

const char *tn_plugin_paths(void) {
    tni_places places;
    if (!tni_loader_enter("tn_plugin_paths")) return "";
    bool ok = tni_places_make(tni_search_now(), &places);
    tni_loader_leave();
    if (!ok) return raise_shortage(places.failed), "";
    uint64_t bytes = 1;
    for (uint32_t i = 0; i < places.n; i++)
        bytes += strlen(places.items[i].origin) + strlen(places.items[i].path) + 2;
    char *out = tn_scope_alloc(bytes), *at = out;
    for (uint32_t i = 0; i < places.n && out; i++) {
        at = stpcpy(stpcpy(at, places.items[i].origin), "\t");
        at = stpcpy(stpcpy(at, places.items[i].path), "\n");
    }
    if (out) *at = 0;
    tni_places_free(&places);
    return out ? out : "";
}
