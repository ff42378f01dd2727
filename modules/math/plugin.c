/* plugin.c - the standard op library as a plugin: its table, and the entry.
 *
 * It joins through the same door as a stranger's; nothing here or in the core knows the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/math_table.inc"

static tn_status start(const tn_host *host, tn_plugin *self) {
    if (!tn_plugin_ops)
        return tnk_fail_start(
            TN_ERR_UNSUPPORTED,
            "this host does not offer tn.ops/0, in which derivatives are written");
    return host->add_ops(self, math_ops, math_ops_count, sizeof *math_ops);
}

TN_PLUGIN("math", "0.1.0", "ops", "Apache-2.0", "", start, NULL);
