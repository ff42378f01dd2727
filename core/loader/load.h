/* load.h - one plugin on its way through the stages.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_LOAD_H
#define TENON_LOADER_LOAD_H

#include "core/loader/plugin.h"
#include "core/loader/verdict.h"

typedef struct tni_loading {
    tn_plugin *p;
    const tni_search *search;
    const char *path;
    bool given;      /* by explicit path: doubtful owners are a warning */
    bool quick;      /* for a listing: headers and note only */
    bool afresh;     /* remembered verdicts do not count */
    tn_plugin *same; /* out: this file is loaded already */
} tni_loading;

/* Found, owner, note, abi; the report says how far it came. Maps nothing. */
tn_status tni_load_examine(tni_loading *);
/* All stages. TN_OK: registered and in the table (or l->same is set). */
tn_status tni_load_file(tni_loading *);
bool tni_load_remembered(const tn_plugin *, tni_verdict *out); /* what its probe said before */
/* The last stages, for linked-in code. */
tn_status tni_load_static(tn_plugin *, tn_plugin_query_fn);

#endif
