/* devices.c - `tenon devices`. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include <tenon/device.h>

#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/screen.h"

int run_devices(const request *r) {
    if (tn_init(NULL)) return fail_pending();
    const char *const titles[] = {"DEVICE", "MEMORY", "DRIVER", "NAME", NULL};
    table t = table_new(titles);
    t.right = 1u << 1;
    json_t *list = json_array();
    const int64_t n = tn_device_count();
    for (int64_t i = 0; i < n; i++) {
        tn_device_info d = {.size = sizeof d};
        if (tn_device_at(i, &d)) break;
        table_cell(&t, PLAIN, "%s:%u", d.kind, d.index);
        table_cell(&t, PLAIN, "%.1f GiB", (double)d.memory_bytes / (1 << 30));
        table_cell(&t, PLAIN, "%s", d.plugin[0] ? d.plugin : "built in");
        table_cell(&t, PLAIN, "%s", d.name);
        json_array_append_new(list, json_pack("{s:o, s:i, s:o, s:o, s:I}", "kind",
                                              json_text(d.kind), "index", (int)d.index, "name",
                                              json_text(d.name), "plugin", json_text(d.plugin),
                                              "memory_bytes", (long long)d.memory_bytes));
    }
    json_t *all = json_pack("{s:s, s:o}", "schema", "tenon.devices/1", "devices", list);
    return print_result(r, all, &t);
}
