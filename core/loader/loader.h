/* loader.h - one plugin inside the loader: its file, its note, its report, what it registers.
 *
 * Invariants: everything here is used under the loader's lock, except what is atomic and what is
 * frozen once a plugin is ready. A handle whose code has seen it is never freed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_LOADER_H
#define TENON_LOADER_LOADER_H

#include <stdatomic.h>

#include <tenon/abi_driver.h>
#include <tenon/tenon.h>

#include "core/base/log.h"
#include "core/dispatch/registry.h"
#include "core/loader/discover.h"
#include "core/loader/file.h"
#include "core/loader/note.h"
#include "core/loader/plugin.h"
#include "core/loader/report.h"
#include "core/loader/verdict.h"

enum { TNI_FACTS_BYTES = 256 };

typedef struct tni_option { /* a setting that was asked for; the text must stay */
    struct tni_option *next;
    char *key, *value;
} tni_option;

struct tn_plugin {
    int32_t index; /* in the table of ready plugins, or -1 */
    int32_t state; /* TN_PLUGIN_* */
    const char *origin;
    char *path; /* canonical, or as given if it cannot be resolved; "" if statically linked */
    struct stat st;
    tni_note note;
    tni_report report;
    char facts[TNI_FACTS_BYTES];
    tn_plugin_query_fn query;
    const tn_plugin_desc *desc;
    /* While start runs, and until the transaction is over: */
    _Atomic bool starting;
    bool started; /* start was called: its code has this handle */
    tn_op *ops;
    tn_kernel *kernels;
    const tn_driver **drivers; /* copies of ours */
    uint32_t n_ops, n_kernels, n_drivers, n_kernel_ops;
    tn_status fail_code;
    char fail_text[TNI_DETAIL_BYTES];
    /* Services: */
    _Atomic int64_t live_blocks;
    tni_option *options;
    struct tn_plugin *next_old; /* refused after it was started, then tried again */
};

/* ---- load.c: one plugin through its stages --------------------------------------------------- */

typedef struct tni_loading {
    tn_plugin *p;
    const tni_search *search;
    const char *path;
    bool given;      /* by explicit path: doubtful owners are a warning */
    bool quick;      /* for a listing: headers and note only */
    bool afresh;     /* remembered verdicts do not count */
    tn_plugin *same; /* out: this file is loaded already */
} tni_loading;

tn_plugin *tni_plugin_new(const char *origin, const char *path); /* NULL without an error raised */
void tni_plugin_delete(tn_plugin *);                             /* never one that was started */
/* Found, owner, note, abi; the report says how far it came. Maps nothing. */
tn_status tni_load_examine(tni_loading *);
/* All stages. TN_OK: registered and in the table (or l->same is set). */
tn_status tni_load_file(tni_loading *);
bool tni_load_remembered(const tn_plugin *, tni_verdict *out); /* what its probe said before */
tn_status tni_load_static(tn_plugin *,
                          tn_plugin_query_fn); /* the last stages, for linked-in code */

/* ---- start.c: the stages in which its code runs ---------------------------------------------- */

tn_status tni_load_map(tn_plugin *);   /* dlopen and query, of a file that passed all checks */
tn_status tni_load_query(tn_plugin *); /* asks p->query for the description */
tn_status tni_load_start(tn_plugin *); /* start, and registration as one transaction */
/* What tenon-probe does: note, dlopen, query, start, check of the rows. step is told what comes
 * next. */
tn_status tni_load_dry(tn_plugin *, void (*step)(const char *what));

/* ---- host.c: what plugins get ---------------------------------------------------------------- */

const tn_host *tni_host_table(void);
/* Runs start with the table; rows are collected in p. Its code, or the first failure of a service.
 */
tn_status tni_host_start(tn_plugin *);
void tni_host_drop_rows(tn_plugin *); /* after a roll-back */
/* What the user set for a plugin, TENON_<ID>_<KEY>; NULL = nothing. */
const char *tni_host_option(const char *plugin_id, const char *key);
void tni_host_watch_options(void (*asked)(const char *key)); /* for tenon-probe */

/* ---- plugin.c: the table, the lock ----------------------------------------------------------- */

uint32_t tni_ready_count(void);
tn_plugin *tni_ready_at(uint32_t i);       /* NULL past the end; a plugin being committed counts */
tn_plugin *tni_ready_find(const char *id); /* NULL if none */
bool tni_ready_reserve(tn_plugin *);       /* gives it an index; false if the table is full */
void tni_ready_finish(tn_plugin *, bool committed);
bool tni_safe_mode(void); /* [any-thread] */
const tni_search *tni_search_now(void);
bool tni_loader_enter(
    const char *what); /* false + error: forked, or called while a plugin starts */
void tni_loader_leave(void);
/* Loads a file, or finds it loaded; the record stays. NULL + error on NOMEM. */
tn_plugin *tni_loader_load(const char *path, const char *origin, bool given, bool afresh);
tn_plugin *tni_refused_find(const char *path); /* the last failed attempt on this path, or NULL */
bool tni_loader_require(const char *id);       /* finds and loads a plugin another one needs */

/* ---- scan.c: listings ------------------------------------------------------------------------ */

typedef struct tni_listing { /* examined candidates, in order of discovery; the first of an id
                                counts */
    tn_plugin **items;
    uint32_t n;
} tni_listing;
bool tni_listing_make(const tni_search *, tni_listing *out); /* false + NOMEM raised */
void tni_listing_free(tni_listing *);
tn_plugin *tni_listing_find(const tni_listing *, const char *id); /* not shadowed; NULL if none */

#endif
