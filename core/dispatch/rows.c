/* rows.c - checks the rows of ops and kernels a plugin gives, one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/rows.h"

#include <stdio.h>
#include <string.h>

#include "core/base/heap.h"
#include "core/dispatch/shape_rules.h"
#include "core/memory/device.h"
#include "core/schema/contract.h"

/* ---- Op rows --------------------------------------------------------------------------------- */

tn_status tni_row_refuse(const tni_problem *p, tn_status code, const char *row, const char *field,
                         const char *cause) {
    if (p->capacity > 0)
        snprintf(p->why, p->capacity, "%s%s%s: %s", row ? row : "a row", field[0] ? ", " : "",
                 field, cause);
    return code;
}

static const char *const form_names[] = {"strided", "pointwise", "reduce", "along"};

static bool form_parse(const char *text, tni_form *out) {
    for (int i = 0; i < 4; i++) {
        if (!text || text[0] == 0 || strcmp(text, form_names[i]) == 0) {
            *out = !text || text[0] == 0 ? TNI_STRIDED : (tni_form)i;
            return true;
        }
    }
    return false;
}

static bool param_is_tensor(const tni_param *p) {
    return p->type == TNI_TENSOR || p->type == TNI_TENSORS;
}

/* What find finds by the name name[0..n); -1 = nothing. */
static int called(int (*find)(const tni_schema *, const char *), const tni_op *op, const char *name,
                  size_t n) {
    char text[TNI_NAME_BYTES];
    if (n == 0 || n >= sizeof text) return -1;
    memcpy(text, name, n);
    text[n] = 0;
    return find(&op->schema, text);
}

static int tensor_argument(const tni_op *op, const char *name, size_t n) {
    const int a = called(tni_schema_param, op, name, n);
    return a >= 0 && param_is_tensor(&op->schema.params[a]) ? a : -1;
}

/* Marks one entry of a keep column, "x" or "x:w" or "x:w+b", in op. False: at[0..n) is no name. */
static bool keep_entry(tni_op *op, const char **at, size_t *n) {
    *n = strcspn(*at, ":,");
    const int a = tensor_argument(op, *at, *n), r = called(tni_schema_result, op, *at, *n);
    if (a < 0 && r < 0) return false;
    if (a < 0) {
        op->keep_results |= 1u << r;
        return true;
    }
    op->keep_args |= 1u << a;
    op->readers[a] = (*at)[*n] == ':' ? 0 : UINT32_MAX;
    op->keep_some |= op->readers[a] == 0;
    while ((*at)[*n] == ':' || (*at)[*n] == '+') {
        *at += *n + 1;
        *n = strcspn(*at, "+,");
        const int reader = tensor_argument(op, *at, *n);
        if (reader < 0) return false;
        op->readers[a] |= 1u << reader;
    }
    return true;
}

static tn_status keep_parse(tni_op *op, const tni_problem *p) {
    const char *at = op->row.keep ? op->row.keep : "";
    size_t n = 0;
    for (; *at; at += n + (at[n] == ',')) {
        if (keep_entry(op, &at, &n) && (at[n] == ',' || at[n] == 0)) continue;
        char cause[128];
        n = strcspn(at, ",");
        snprintf(cause, sizeof cause, "'%.*s' is no tensor argument or result of the schema",
                 n < TNI_NAME_BYTES ? (int)n : TNI_NAME_BYTES, at);
        return tni_row_refuse(p, TN_ERR_PLUGIN, op->schema.name, "keep", cause);
    }
    return TN_OK;
}

/* A form needs what it speaks of. */
static tn_status form_check(const tni_op *op, const tni_problem *p) {
    const tni_schema *s = &op->schema;
    if ((op->form == TNI_REDUCE || op->form == TNI_ALONG) && s->mutates)
        return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "form",
                              "cannot write its arguments; use strided");
    if ((op->form == TNI_REDUCE || op->form == TNI_ALONG) &&
        (s->n_params == 0 || s->params[0].type != TNI_TENSOR || tni_schema_param(s, "dim") < 0))
        return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "form",
                              "needs a tensor as first argument and an argument named dim");
    if (op->form == TNI_POINTWISE && s->n_results != 1)
        return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "form", "pointwise ops have one result");
    if ((op->row.traits & TN_OP_INPLACE) &&
        (s->n_results != 1 || s->mutates || s->n_params == 0 || s->params[0].type != TNI_TENSOR ||
         s->params[0].optional || s->results[0].list))
        return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "traits",
                              "in-place twins exist for ops of a tensor with one result only");
    return TN_OK;
}

static tn_status row_complete(const tni_op *op, const tni_problem *p) {
    const tn_op *row = &op->row;
    const char *name = op->schema.name;
    bool has_rule = row->shape != NULL || (row->shape_rule && row->shape_rule[0]);
    if (row->shape_rule && row->shape_rule[0] && !tni_shape_rule(row->shape_rule))
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "shape_rule",
                              "unknown; known are same, broadcast, reduce");
    if (!has_rule && !row->decompose && op->schema.n_results > 0)
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "shape",
                              "a row needs a shape rule or a decomposition");
    if ((row->traits & TN_OP_VIEW) &&
        (!has_rule || op->schema.n_results != 1 || op->schema.results[0].alias == 0))
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "traits",
                              "a view has a shape rule and one result that names its alias");
    if ((row->traits & TN_OP_WIDE) && (!row->decompose || op->schema.results[0].list))
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "traits",
                              "wide speaks of a decomposition, whose results are no list");
    if (row->derivative && row->no_grad)
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "no_grad",
                              "says there is no derivative, but there is one");
    if (!row->derivative && !row->decompose && !row->no_grad)
        return tni_row_refuse(
            p, TN_ERR_PLUGIN, name, "derivative",
            "missing: give one, a decomposition, or the reason why there is none");
    if (!row->derivative && (op->keep_args || op->keep_results))
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "keep",
                              "keeps values, but no derivative reads them");
    return TN_OK;
}

static void args_summarise(tni_op *op) {
    op->n_args = op->schema.n_params;
    for (uint32_t i = 0; i < op->n_args; i++) {
        const tni_param *p = &op->schema.params[i];
        op->types[i] = (uint8_t)p->type;
        if (p->runtime) op->runtime_args |= 1u << i;
        op->lists = op->lists || p->type == TNI_TENSORS || p->type == TNI_INTS ||
                    p->type == TNI_FLOATS || p->type == TNI_STR;
    }
}

static void held_summarise(tni_op *op) {
    for (uint32_t i = 0; op->contract && i < op->contract->n_items; i++)
        if (op->contract->items[i].kind == TNI_ITEM_HELD)
            op->held_args |= 1u << op->contract->items[i].param;
}

tn_status tni_op_parse(tni_op *op, const tn_op *row, const tni_problem *p) {
    char detail[256] = "";
    op->row = *row;
    if (!row->schema) return tni_row_refuse(p, TN_ERR_PLUGIN, NULL, "schema", "missing");
    if (tni_schema_parse(row->schema, &op->schema, detail, sizeof detail) != TN_OK)
        return tni_row_refuse(p, TN_ERR_PLUGIN, row->schema, "schema", detail);
    if (!form_parse(row->form, &op->form))
        return tni_row_refuse(p, TN_ERR_PLUGIN, op->schema.name, "form",
                              "unknown; known are strided, pointwise, reduce, along");
    if (row->contract && row->contract[0]) {
        op->contract = tni_contract_parse(row->contract, &op->schema, detail, sizeof detail);
        if (!op->contract)
            return tni_row_refuse(p, TN_ERR_PLUGIN, op->schema.name, "contract", detail);
    }
    args_summarise(op);
    held_summarise(op);
    op->base = op;
    tn_status s = keep_parse(op, p);
    if (s == TN_OK) s = form_check(op, p);
    if (s == TN_OK) s = row_complete(op, p);
    if (s != TN_OK) tni_contract_free(op->contract);
    return s;
}

void tni_op_free(tni_op *op) {
    if (!op) return;
    if (!op->inplace) tni_contract_free(op->contract);
    tni_free(op);
}

tni_op *tni_op_twin(const tni_op *base) {
    tni_op *op = tni_alloc(sizeof *op);
    if (!op) return NULL;
    *op = *base;
    op->inplace = true;
    op->base = base;
    size_t n = strlen(op->schema.name);
    if (n + 2 > sizeof op->schema.name) {
        tni_free(op);
        return NULL;
    }
    memcpy(op->schema.name + n, "_", 2);
    op->row.traits &= ~(uint32_t)TN_OP_INPLACE;
    op->schema.mutates = true;
    op->schema.params[0].mutated = true;
    op->schema.params[0].alias = 'a';
    op->schema.results[0].alias = 'a';
    return op;
}

/* ---- Kernel rows ----------------------------------------------------------------------------- */

tn_status tni_kernel_check(const tn_kernel *k, const tni_problem *p) {
    if (!k->op || !tni_schema_is_name(k->op))
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op && k->op[0] ? k->op : NULL, "kernel",
                              "names no op: a name is made of a-z, 0-9 and _, like 'sum.dim'");
    if (!k->device || !tni_device_name_valid(k->device))
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "device",
                              "must name a device kind: 1 to 31 characters of a-z, 0-9 and _");
    if (!k->run) return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "run", "missing");
    if (k->drop && !k->plan)
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "drop", "there is no plan to drop");
    if (k->n_args > TNI_MAX_ARGS)
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "n_args", "more than an op can have");
    return TN_OK;
}

/* What a class letter of schemas lets in. */
static uint64_t dtypes_of(char variable) {
    switch (variable) {
    case 'N':
        return TN_MASK_FLOAT | TN_MASK_INT;
    case 'F':
        return TN_MASK_FLOAT;
    case 'I':
        return TN_MASK_INT;
    case 'B':
        return TN_MASK_INT | TN_MASK(BOOL);
    default:
        return TN_MASK_ALL;
    }
}

/* Bits beyond those this core knows are a newer plugin's own affair. */
static bool dtypes_fit(const tn_kernel *k, const tni_op *op) {
    const char variable = op->schema.variable;
    return variable == 0 || (k->dtypes & (dtypes_of(variable) | ~(uint64_t)TN_MASK_ALL)) != 0;
}

tn_status tni_kernel_fits(const tn_kernel *k, const tni_op *op, const tni_problem *p) {
    char cause[160];
    if (op->inplace)
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "kernel",
                              "is the in-place form of an op; the kernel of that op runs both");
    if (op->row.traits & TN_OP_VIEW)
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "kernel", "is a view, which no kernel runs");
    if (op->schema.n_results == 1 && op->schema.results[0].list)
        return tni_row_refuse(
            p, TN_ERR_PLUGIN, k->op, "kernel",
            "returns a list, which no kernel makes; leave it to its decomposition");
    if (!dtypes_fit(k, op))
        return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "dtypes",
                              k->dtypes ? "none of them is taken by the op"
                                        : "missing: a kernel without dtypes never runs");
    if (k->n_args == 0 || (k->n_args >= op->schema.n_required && k->n_args <= op->schema.n_params))
        return TN_OK;
    snprintf(cause, sizeof cause, "the kernel knows %u, but the op has %u, %u of them required",
             k->n_args, op->schema.n_params, op->schema.n_required);
    return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "n_args", cause);
}
