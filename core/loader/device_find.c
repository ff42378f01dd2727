/* device_find.c - a device by its name, for which its driver's plugin is loaded.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <tenon/device.h>
#include <tenon/inspect.h>

#include "core/base/state.h"
#include "core/dispatch/plugins.h"
#include "core/memory/device.h"

enum { NAME_BYTES = 64 };

/* "mock:1" is index 1 of kind "mock", "mock" its index 0. False if it is neither. */
static bool parse(const char *text, char kind[NAME_BYTES], int32_t *index) {
    int end = 0;
    const char *colon = strchr(text, ':');
    const size_t n = colon ? (size_t)(colon - text) : strlen(text);
    if (n >= NAME_BYTES) return false;
    memcpy(kind, text, n);
    kind[n] = '\0';
    *index = 0;
    if (!tni_device_name_valid(kind)) return false;
    if (!colon) return true;
    return colon[1] >= '0' && colon[1] <= '9' && strlen(colon) <= 8 &&
           sscanf(colon + 1, "%d%n", index, &end) == 1 && colon[1 + end] == '\0';
}

/* A driver's plugin has the name of its kind. */
static bool load(const char *kind) {
    tn_plugin_info info = {.size = sizeof info};
    if (!tni_plugins_ready()) return false;
    if (tni_device_kind_find(kind)) return true;
    if (tn_plugin_find(kind, &info) == TN_ERR_NOTFOUND) {
        tn_clear_error();
        return true;
    }
    return tn_error() == TN_OK && tn_plugin_load(info.path) == TN_OK;
}

/* "cpu:0, mock:0, mock:1" */
static void list(char *out, size_t capacity) {
    tn_device_info info = {.size = sizeof info};
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < tn_device_count() && used < capacity; i++)
        if (tn_device_at(i, &info) == TN_OK) {
            const int n = snprintf(out + used, capacity - used, "%s%s:%u", i ? ", " : "", info.kind,
                                   info.index);
            used += n > 0 ? (size_t)n : 0;
        }
}

tn_device tn_device_find(const char *name) {
    char kind[NAME_BYTES], there[256];
    int32_t index;
    const tn_device none = {0, 0};
    if (tn_error() || tni_forked()) return none;
    if (!name || !parse(name, kind, &index)) {
        tn_raise(TN_ERR_INVALID,
                 "tn_device_find: '%.60s' is no device; write its kind, or kind:index",
                 name ? name : "NULL");
        return none;
    }
    if (!load(kind)) return none;
    const tn_device device = {tni_device_kind_find(kind), index};
    if (device.kind && tni_device_place(device)) return device;
    list(there, sizeof there);
    tn_raise(TN_ERR_DEVICE, "tn_device_find: there is no device %s:%d; there are %s", kind, index,
             there);
    return none;
}
