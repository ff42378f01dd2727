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

/* Bits of the upper half that this core does not know change what the row means. */
static tn_status must_understand(const char *row, const char *field, uint32_t bits, uint32_t known,
                                 const tni_problem *p) {
    const uint32_t strange = bits & TN_MUST_UNDERSTAND & ~known;
    char cause[160];
    if (!strange) return TN_OK;
    snprintf(cause, sizeof cause,
             "bit %d must be understood, and this tenon does not know it; use a newer tenon, or a "
             "plugin built for this one",
             31 - __builtin_clz(strange));
    return tni_row_refuse(p, TN_ERR_PLUGIN, row, field, cause);
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
    if (op->form == TNI_POINTWISE &&
        (s->n_results != 1 || s->results[0].list || s->results[0].optional))
        return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "form",
                              "pointwise ops have one result, which is always there");
    if ((op->row.traits & TN_OP_INPLACE) &&
        (s->n_results != 1 || s->mutates || s->n_params == 0 || s->params[0].type != TNI_TENSOR ||
         s->params[0].optional || s->results[0].list || s->results[0].optional))
        return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "traits",
                              "in-place twins exist for ops of a tensor with one result only");
    return TN_OK;
}

static bool has_rule(const tn_op *row) {
    return row->shape || (row->shape_rule && row->shape_rule[0]);
}

static tn_status row_complete(const tni_op *op, const tni_problem *p) {
    const tn_op *row = &op->row;
    const char *name = op->schema.name;
    const bool ruled = has_rule(row);
    if (row->shape_rule && row->shape_rule[0] && !tni_shape_rule(row->shape_rule))
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "shape_rule",
                              "unknown; known are same, broadcast, reduce");
    if (!ruled && !row->decompose && op->schema.n_results > 0)
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "shape",
                              "a row needs a shape rule or a decomposition");
    if ((row->traits & TN_OP_VIEW) &&
        (!ruled || op->schema.n_results != 1 || op->schema.results[0].alias == 0 ||
         op->schema.results[0].optional))
        return tni_row_refuse(p, TN_ERR_PLUGIN, name, "traits",
                              "a view has a shape rule and one result that names its alias");
    if ((row->traits & TN_OP_WIDE) && (!row->decompose || op->list_at >= 0))
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
                    p->type == TNI_FLOATS || p->type == TNI_BOOLS || p->type == TNI_STR;
    }
}

/* Which operand is written, if that is one and the same at every call. */
static void written_summarise(tni_op *op) {
    int32_t k = 0, n = 0;
    op->written = -1;
    for (uint32_t i = 0; i < op->n_args; i++) {
        const tni_param *p = &op->schema.params[i];
        if (p->mutated && ++n == 1 && p->type == TNI_TENSOR) op->written = k;
        if (p->mutated && n > 1) op->written = -1;
        if (p->type == TNI_TENSORS && op->written < 0) return;
        k += p->type == TNI_TENSOR;
    }
}

static void results_summarise(tni_op *op) {
    op->list_at = -1;
    op->returned_args = 0;
    for (uint32_t r = 0; r < op->schema.n_results; r++) {
        const tni_result *result = &op->schema.results[r];
        if (result->list) op->list_at = (int32_t)r;
        for (uint32_t i = 0; result->alias && i < op->n_args; i++)
            if (op->schema.params[i].mutated && op->schema.params[i].alias == result->alias)
                op->returned_args |= 1u << i;
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
    written_summarise(op);
    results_summarise(op);
    held_summarise(op);
    op->base = op;
    tn_status s = must_understand(op->schema.name, "traits", row->traits, 0, p);
    if (s == TN_OK) s = keep_parse(op, p);
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
    op->written = 0;
    op->returned_args = 1;
    return op;
}

/* ---- Kernel rows ----------------------------------------------------------------------------- */

/* a-z, 0-9 and _, or nothing. */
static bool kernel_name_valid(const char *name) {
    const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return name[n] == 0 && n < TNI_KERNEL_NAME_BYTES;
}

static tn_status kernel_row_check(const tn_kernel *k, const char *op, const tni_problem *p) {
    if (!k->device || !tni_device_name_valid(k->device))
        return tni_row_refuse(p, TN_ERR_PLUGIN, op, "device",
                              "must name a device kind: 1 to 31 characters of a-z, 0-9 and _");
    if (!k->run) return tni_row_refuse(p, TN_ERR_PLUGIN, op, "run", "missing");
    if (k->drop && !k->plan)
        return tni_row_refuse(p, TN_ERR_PLUGIN, op, "drop", "there is no plan to drop");
    if (!kernel_name_valid(k->name))
        return tni_row_refuse(p, TN_ERR_PLUGIN, op, "name",
                              "a kernel's name is at most 31 characters of a-z, 0-9 and _");
    return must_understand(op, "flags", k->flags, TN_KERNEL_NONDETERMINISTIC, p);
}

/* n_args is what the code reads, whatever the schema has come to be when it is compiled again. */
static tn_status n_args_check(const tn_kernel *k, const tni_schema *s, const tni_problem *p) {
    char cause[200];
    if (k->n_args >= s->n_required && k->n_args <= s->n_params && (k->n_args || !s->n_params))
        return TN_OK;
    snprintf(cause, sizeof cause,
             "is %u, but its schema has %u arguments, %u of them required; say how many the kernel "
             "reads",
             k->n_args, s->n_params, s->n_required);
    return tni_row_refuse(p, TN_ERR_PLUGIN, s->name, "n_args", cause);
}

tn_status tni_kernel_parse(tni_provider *k, const tn_kernel *row, const tni_problem *p) {
    tni_schema schema;
    char detail[256] = "";
    k->row = *row;
    if (!k->row.name) k->row.name = "";
    if (!row->schema)
        return tni_row_refuse(p, TN_ERR_PLUGIN, NULL, "schema",
                              "missing: a kernel gives the schema of the op it was written for");
    if (tni_schema_parse(row->schema, &schema, detail, sizeof detail) != TN_OK)
        return tni_row_refuse(p, TN_ERR_PLUGIN, row->schema, "schema", detail);
    memcpy(k->op, schema.name, sizeof k->op);
    const tn_status s = kernel_row_check(&k->row, k->op, p);
    if (s != TN_OK) return s;
    snprintf(k->label, sizeof k->label, "%s%s%s", k->plugin, k->row.name[0] ? "/" : "",
             k->row.name);
    return n_args_check(row, &schema, p);
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
static bool dtypes_fit(const tni_provider *k, const tni_op *op) {
    const char variable = op->schema.variable;
    return variable == 0 || (k->row.dtypes & (dtypes_of(variable) | ~(uint64_t)TN_MASK_ALL)) != 0;
}

tn_status tni_kernel_fits(const tni_provider *k, const tni_op *op, const tni_problem *p) {
    const char *why =
        op->inplace ? "is the in-place form of an op; the kernel of that op runs both"
        : op->row.traits & TN_OP_VIEW ? "is a view, which no kernel runs"
        : op->schema.n_results > 0 && !has_rule(&op->row)
            ? "has no shape rule, so no kernel is asked: nobody could make room for its results"
            : NULL;
    if (why) return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "kernel", why);
    if (dtypes_fit(k, op)) return TN_OK;
    return tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "dtypes",
                          k->row.dtypes ? "none of them is taken by the op"
                                        : "missing: a kernel without dtypes never runs");
}

static bool same_param(const tni_param *a, const tni_param *b) {
    return strcmp(a->name, b->name) == 0 && a->type == b->type && a->optional == b->optional &&
           a->runtime == b->runtime && a->mutated == b->mutated && a->alias == b->alias &&
           a->variable == b->variable && a->fixed == b->fixed && a->index == b->index &&
           a->count == b->count && tn_dtype_is(a->dtype, b->dtype);
}

static bool same_result(const tni_result *a, const tni_result *b) {
    return a->kind == b->kind && a->list == b->list && a->optional == b->optional &&
           a->alias == b->alias && a->variable == b->variable && a->fixed == b->fixed &&
           tn_dtype_is(a->dtype, b->dtype);
}

/* What of the op is not what the kernel's schema says, in words; false: nothing. */
static bool differs(const tni_schema *kernel, const tni_schema *op, char *what, size_t capacity) {
    for (uint32_t i = 0; i < kernel->n_params; i++) {
        if (i < op->n_params && same_param(&kernel->params[i], &op->params[i])) continue;
        snprintf(what, capacity, "argument %u, '%s', %s", i + 1, kernel->params[i].name,
                 i < op->n_params ? "is another" : "is not there");
        return true;
    }
    for (uint32_t i = 0; i < kernel->n_results && i < op->n_results; i++) {
        if (same_result(&kernel->results[i], &op->results[i])) continue;
        snprintf(what, capacity, "result %u is another", i + 1);
        return true;
    }
    if (kernel->n_results == op->n_results) return false;
    snprintf(what, capacity, "there are %u results, not %u", op->n_results, kernel->n_results);
    return true;
}

bool tni_kernel_knows(const tni_provider *k, const tni_op *op, const tni_problem *p) {
    tni_schema schema;
    char what[2 * TNI_NAME_BYTES + 40], cause[720];
    if (tni_schema_parse(k->row.schema, &schema, NULL, 0) != TN_OK) return false;
    if (!differs(&schema, &op->schema, what, sizeof what)) return true;
    snprintf(cause, sizeof cause, "%s: the op is %.240s, the kernel was written for %.240s", what,
             op->row.schema, k->row.schema);
    tni_row_refuse(p, TN_ERR_PLUGIN, k->op, "schema", cause);
    return false;
}
