/* held.c - numbers that must fit the dtype of a tensor: `value:in(x)` of a contract.
 *
 * Invariant: a number is looked at before anything is written: when its signature is made, or, if
 * it is a run-time one, in every call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/held.h"

#include <tenon/abi_text.h>

#include "core/base/dtype.h"
#include "core/schema/contract.h"

/* The dtype in which tensor argument `of` is computed; lanes 0 if it is absent. */
static tn_dtype computed_in(const tni_signature *s, const tni_invocation *v, uint32_t of) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < of; i++) k += tni_arg_tensors(v->op, v->args, i);
    return v->operands[k] ? s->operands[k].dtype : (tn_dtype){0, 0, 0};
}

static bool refuse(const tni_invocation *v, const tni_contract_item *it, tn_dtype d) {
    const tn_value number = v->args[it->param];
    const tni_schema *schema = &v->op->schema;
    char is[40], shapes[600];
    if (number.tag == TN_TAG_FLOAT)
        tn_text(is, sizeof is, "%.9g", number.f);
    else
        tn_text(is, sizeof is, "%lld", (long long)number.i);
    tni_invocation_text(v, shapes, sizeof shapes);
    tn_raise(TN_ERR_OVERFLOW,
             "%s: %s: is %s, which %s, the dtype of %s, cannot hold\n"
             "  called with %s",
             schema->name, schema->params[it->param].name, is, tn_dtype_name(d),
             schema->params[it->of].name, shapes);
    return false;
}

bool tni_held_check(const tni_signature *s, const tni_invocation *v, uint32_t args) {
    const tni_contract *c = v->op->contract;
    for (uint32_t i = 0; args && i < c->n_items; i++) {
        const tni_contract_item *it = &c->items[i];
        if (it->kind != TNI_ITEM_HELD || !(args >> it->param & 1)) continue;
        const tn_dtype d = computed_in(s, v, it->of);
        if (v->args[it->param].tag == TN_TAG_NONE || d.lanes == 0) continue;
        if (!tni_dtype_holds(d, v->args[it->param])) return refuse(v, it, d);
    }
    return true;
}
