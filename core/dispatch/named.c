/* named.c - ops as data: what an op takes and gives, and calls by names. For other languages.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <tenon/inspect.h>

#include "core/base/nearest.h"
#include "core/base/state.h"
#include "core/dispatch/ask.h"
#include "core/dispatch/plugins.h"
#include "core/dispatch/registry.h"

static const tni_op *op_named(const char *where, const char *name) {
    if (tni_forked() || !tni_plugins_ready()) return NULL;
    if (!name) return tn_raise(TN_ERR_INVALID, "%s: the op's name is NULL", where), NULL;
    const tni_op *op = tni_registry_find(name);
    if (!op) tni_ask_not_found(name);
    return op;
}

/* ---- Questions ------------------------------------------------------------------------------- */

static tn_status give(tn_arg_info *out, tn_arg_info info) {
    info.size = out->size;
    memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
    return TN_OK;
}

static bool has_room(const char *where, const tn_arg_info *out) {
    if (out && out->size >= offsetof(tn_arg_info, name)) return true;
    tn_raise(TN_ERR_INVALID, "%s: set out->size first", where);
    return false;
}

static tn_status no_such(const tni_op *op, const char *what, uint32_t i, uint32_t n) {
    return tn_raise(TN_ERR_INDEX, "%s: has %u %s, and no number %u", op->schema.name, n, what, i);
}

tn_status tn_op_arg(const char *name, uint32_t i, tn_arg_info *out) {
    if (!has_room("tn_op_arg", out)) return tn_error();
    const tni_op *op = op_named("tn_op_arg", name);
    if (!op) return tn_error();
    if (i >= op->schema.n_params) return no_such(op, "arguments", i, op->schema.n_params);
    const tni_param *p = &op->schema.params[i];
    return give(out, (tn_arg_info){.flags = (p->has_default ? TN_ARG_DEFAULT : 0u) |
                                            (p->optional ? TN_ARG_OPTIONAL : 0u) |
                                            (p->runtime ? TN_ARG_RUNTIME : 0u) |
                                            (p->mutated ? TN_ARG_WRITTEN : 0u),
                                   .name = p->name,
                                   .type = tni_type_name(p->type),
                                   .def = p->def,
                                   .count = p->count});
}

tn_status tn_op_result(const char *name, uint32_t i, tn_arg_info *out) {
    if (!has_room("tn_op_result", out)) return tn_error();
    const tni_op *op = op_named("tn_op_result", name);
    if (!op) return tn_error();
    for (uint32_t k = 0, seen = 0; k < op->schema.n_results; k++) {
        const tni_result *r = &op->schema.results[k];
        if (r->kind != TNI_VISIBLE || seen++ != i) continue;
        return give(out, (tn_arg_info){.flags = r->optional ? TN_ARG_OPTIONAL : 0,
                                       .name = r->name,
                                       .type = tni_type_name(r->list ? TNI_TENSORS : TNI_TENSOR),
                                       .def = tn_value_none(),
                                       .count = -1});
    }
    return no_such(op, "results", i, op->schema.n_visible);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static tn_status unknown_argument(const tni_schema *s, const char *name) {
    tni_nearest meant = tni_nearest_to(name);
    for (uint32_t i = 0; i < s->n_params; i++) tni_nearest_offer(&meant, s->params[i].name);
    return tn_raise(TN_ERR_INVALID, "%s: has no argument '%.60s'%s%s%s", s->name, name,
                    meant.best ? "; did you mean '" : "", meant.best ? meant.best : "",
                    meant.best ? "'?" : "");
}

/* A number stands for a tensor, as it does in expressions of other languages. */
static tn_value as_wanted(const tni_param *p, tn_value v) {
    const bool number = v.tag == TN_TAG_BOOL || v.tag == TN_TAG_INT || v.tag == TN_TAG_FLOAT;
    return p->type == TNI_TENSOR && number ? tn_value_tensor(tn_scalar_of(v)) : v;
}

static tn_status place_arguments(const tni_schema *s, const char *const *names,
                                 const tn_value *values, uint32_t n, tn_value *args) {
    uint32_t given = 0;
    for (uint32_t i = 0; i < s->n_params; i++) args[i] = s->params[i].def;
    for (uint32_t i = 0; i < n; i++) {
        const int at = names && names[i] ? tni_schema_param(s, names[i]) : (int)i;
        if (names && names[i] && at < 0) return unknown_argument(s, names[i]);
        if (at >= (int)s->n_params)
            return tn_raise(TN_ERR_INVALID, "%s: takes %u arguments, not %u", s->name, s->n_params,
                            n);
        if (given >> at & 1)
            return tn_raise(TN_ERR_INVALID, "%s: argument '%s' is given twice", s->name,
                            s->params[at].name);
        given |= 1u << at;
        args[at] = as_wanted(&s->params[at], values[i]);
    }
    for (uint32_t i = 0; i < s->n_required; i++)
        if (!(given >> i & 1))
            return tn_raise(TN_ERR_INVALID, "%s: argument '%s' is missing", s->name,
                            s->params[i].name);
    return tn_error();
}

tn_status tn_op_call_named(const char *name, const char *const *names, const tn_value *values,
                           uint32_t n, tn_value *outs, uint32_t n_outs) {
    tn_value args[TNI_MAX_ARGS];
    if (tn_error()) return tn_error();
    const tni_op *op = op_named("tn_op_call_named", name);
    if (!op) return tn_error();
    if (n > 0 && !values)
        return tn_raise(TN_ERR_INVALID, "%s: its %u arguments are at NULL", name, n);
    if (place_arguments(&op->schema, names, values, n, args)) return tn_error();
    tn_op_ref ref = {op->schema.name, op->id, 0};
    return tn_op_call(&ref, args, op->schema.n_params, outs, n_outs);
}
