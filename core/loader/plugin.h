/* plugin.h - one plugin inside the loader: its file, its note, its report, what it registers; and
 * the table of those that are ready.
 *
 * Invariants: everything here is used under the loader's lock, except what is atomic and what is
 * frozen once a plugin is ready. A handle whose code has seen it is never freed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_PLUGIN_H
#define TENON_LOADER_PLUGIN_H

#include <stdatomic.h>
#include <sys/stat.h>

#include <tenon/abi_driver.h>
#include <tenon/tenon.h>

#include "core/dispatch/plugins.h"
#include "core/loader/discover.h"
#include "core/loader/note.h"
#include "core/loader/report.h"

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

/* NULL without an error raised. */
tn_plugin *tni_plugin_new(const char *origin, const char *path);
void tni_plugin_delete(tn_plugin *); /* never one that was started */

/* ---- The table of ready ones, and the lock --------------------------------------------------- */

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

#endif
