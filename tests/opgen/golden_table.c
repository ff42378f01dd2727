/* golden_table.c - the generated table and the generated header, compiled as a plugin's C would be.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/opgen/golden_table.h"

#include "tests/opgen/golden_ops.h"

const tn_ops *tn_plugin_ops;

tn_status golden_shape(tn_infer *c) { return tn_fail(c, TN_ERR_SHAPE, "not called in this test"); }
void golden_derivative(tn_grad_ctx *c) { (void)c; }

#include "tests/opgen/golden_table.inc"

const tn_op *golden_rows(uint32_t *count) {
    *count = golden_ops_count;
    return golden_ops;
}

const char *golden_note(uint64_t *bytes) {
    *bytes = golden_schemas.desc_bytes;
    return golden_schemas.desc;
}

void golden_host(const tn_ops *ops) { tn_plugin_ops = ops; }

tn_tensor *golden_add_in_c(tn_tensor *a, tn_tensor *b) { return tn_add(a, b); }
