/* host.h - the table of services a plugin gets.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_HOST_H
#define TENON_LOADER_HOST_H

#include "core/loader/plugin.h"

const tn_host *tni_host_table(void);
/* Runs start with the table; rows are collected in p. Its code, or the first failure of a
 * service. */
tn_status tni_host_start(tn_plugin *);
void tni_host_drop_rows(tn_plugin *); /* after a roll-back */
/* What the user set for a plugin, TENON_<ID>_<KEY>; NULL = nothing. */
const char *tni_host_option(const char *plugin_id, const char *key);
void tni_host_watch_options(void (*asked)(const char *key)); /* for tenon-probe */

#endif
