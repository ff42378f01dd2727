/* plugins.h - what the dispatcher asks of the plugins that are loaded: core/loader defines these.
 *
 * Declared here because calls name plugins, but must not know how they come to be: a room asks
 * nothing of a higher one except through such a header.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_PLUGINS_H
#define TENON_DISPATCH_PLUGINS_H

#include <stdbool.h>
#include <stdint.h>

enum { TNI_MOST_PLUGINS = 256 };

/* Loads the standard set once (math, cpu_ref, discovered cpu providers): what the first op call
 * does. Cheap when done. False + error if math or cpu_ref cannot be had; an optional plugin's
 * refusal is a listed absence. */
bool tni_plugins_ready(void);
/* Index of a ready plugin, or -1. */
int32_t tni_plugin_find(const char *id);
/* "" if out of range. */
const char *tni_plugin_id(int32_t index);
/* Distinct ops it has kernels for. */
uint32_t tni_plugin_kernels(int32_t index);
/* "cpu_blas, cpu_ref, math" of the ready ones, for messages. Scope's. */
const char *tni_plugin_list(void);

#endif
