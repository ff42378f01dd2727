/* plugin.h - loaded plugins: identity, state, host table, and the standard set.
 *
 * Invariants: a refused plugin's code was never run in this process; registration is one
 * transaction; nothing is ever dlclosed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_PLUGIN_H
#define TENON_LOADER_PLUGIN_H

#include <tenon/tenon.h>

enum { TNI_MOST_PLUGINS = 256 };

/* Loads the standard set once (math, cpu_ref, discovered cpu providers): what the first op call
 * does. Cheap when done. False + error if math or cpu_ref cannot be had; an optional plugin's
 * refusal is a listed absence. */
bool tni_plugins_ready(void);
int32_t tni_plugin_find(const char *id);  /* index of a ready plugin, or -1 */
const char *tni_plugin_id(int32_t index); /* "" if out of range */
const char *tni_plugin_version(int32_t index);
uint32_t tni_plugin_kernels(int32_t index); /* distinct ops it has kernels for */
const char *
tni_plugin_list(void); /* "cpu_blas, cpu_ref, math" of the ready ones, for messages. Scope's. */

#endif
