/* probe.h - asking tenon-probe, a process of its own, whether a plugin can be loaded.
 *
 * Invariants: we wait for our own child only, never longer than the limit; the verdict is the
 * message it sends, complete and with our nonce; its exit status is not evidence.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_PROBE_H
#define TENON_LOADER_PROBE_H

#include "core/loader/causes.h"
#include "core/loader/discover.h"
#include "core/loader/report.h"

typedef enum tni_probe_policy {
    TNI_PROBE_TRY = 0, /* where tenon-probe is found */
    TNI_PROBE_REQUIRE, /* no plugin without it */
    TNI_PROBE_OFF
} tni_probe_policy;

void tni_probe_policy_set(tni_probe_policy); /* TENON_PROBE_POLICY=require|try|off ranks above it */
tni_probe_policy tni_probe_policy_of(const tni_search *);
void tni_probe_limit_set(uint32_t ms); /* 10000 unless told; 0 = that */

enum { TNI_PROBE_FD = 3, TNI_PROBE_NONCE = 16, TNI_PROBE_CPU_SECONDS = 5 };

typedef struct tni_probe_answer {
    bool ran;        /* the helper itself came up */
    bool answered;   /* a complete answer came */
    bool late;       /* the time limit ended it: perhaps the machine was busy, so not for ever */
    bool lacking;    /* it could not be started for want of descriptors or memory, for now */
    bool told;       /* causes has all that it named */
    tn_status code;  /* if answered: TN_OK, or why the plugin cannot be loaded */
    tni_stage stage; /* ... and where */
    char text[400]; /* its facts, or the cause; if not answered: what happened, and what it wrote */
    char causes[TNI_CAUSES_BYTES]; /* options and files it named (causes.h) */
} tni_probe_answer;

/* Gives the plugin no more room than this process has, and of the environment what
 * tni_causes_passed_on says. False: the program cannot be started (text says why). */
bool tni_probe_ask(const char *program, const char *plugin, const char *prefixes, const tni_room *,
                   tni_probe_answer *out);

#endif
