/* start.h - the stages in which a plugin's code runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_START_H
#define TENON_LOADER_START_H

#include "core/loader/plugin.h"

tn_status tni_start_map(tn_plugin *);      /* dlopen and query, of a file that passed all checks */
tn_status tni_start_query(tn_plugin *);    /* asks p->query for the description */
tn_status tni_start_register(tn_plugin *); /* start, and registration as one transaction */
/* What tenon-probe does: note, dlopen, query, start, check of the rows. step is told what comes
 * next. */
tn_status tni_start_dry(tn_plugin *, void (*step)(const char *what));

#endif
