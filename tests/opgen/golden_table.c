/* golden_table.c - the generated table and headers, compiled as a plugin's C would be.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/opgen/golden_table.h"

#include "tests/opgen/golden_rows.h"

const tn_ops *tn_plugin_ops;

tn_status golden_shape(tn_infer *c) { return tn_fail(c, TN_ERR_SHAPE, "not called in this test"); }

/* A gradient of what it may ask, by the names of the row. */
void golden_derivative(golden_derivative_ctx *c) {
    const bool down = TNK_ARG(c, descending);
    tn_tensor *all[] = {TNK_GRAD(c, 1), TNK_SAVED(c, indices)};
    if (TNK_NEEDS(c, x)) TNK_SET_GRAD(c, x, all[TNK_ARG(c, dim) == 0 && down]);
}

tn_tensor *golden_twice(tn_tensor *x, int64_t dim, tn_maybe_int n) {
    return n.set ? op_sum_dim(x, (tn_ints){&dim, 1}, true) : tn_add(x, x);
}

/* Both results of another library's op, by name. */
tn_tensor *golden_span(tn_tensor *x, int64_t k) {
    const golden_topk_result top = op_topk(x, k, 0);
    return tn_add(top.values, top.indices);
}

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

/* A number of every type in the place of a tensor. */
void golden_numbers_in_c(tn_tensor *a, tn_tensor *out[GOLDEN_NUMBERS]) {
    tn_tensor *(*const function)(tn_tensor *, tn_tensor *) = tn_add;
    const short little = -3;
    void *const any = a;
    const tn_pick_opts opts = {.weight = TN_SET(2)};

    out[0] = tn_add(a, 3), out[1] = tn_add(1, a), out[2] = tn_add(a, 1.5);
    out[3] = tn_add(a, 0.5f), out[4] = tn_add(a, (bool)true), out[5] = tn_add(a, little);
    out[6] = tn_add(a, sizeof(char)), out[7] = tn_add(a, UINT64_MAX), out[8] = tn_add(a, 'A');
    out[9] = tn_add(any, INT64_MIN), out[10] = tn_add_(a, 3u), out[11] = function(a, a);
    out[12] = tn_add(tn_mul(2, tn_sub(a, 1)), -4LL);
    out[13] = tn_pick(a, 0, tn_add(a, 1), 5, &opts);
    out[14] = tn_pick(a, a, 7, 5, &(tn_pick_opts){.weight = TN_SET(3)});
    out[15] = (tn_add)(a, a);
}
