/* types.c - checks that expressions fit the schemas of the ops they call.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tools/opgen/library.h"

/* What an expression is. Lists have no type of their own: their items are checked one by one. */
static const char *describe(const row *r, const expr *e) {
    switch (e->kind) {
    case EXPR_NUMBER:
        return e->value.tag == TN_TAG_INT ? "a whole number" : "a number";
    case EXPR_BOOL:
        return "true or false";
    case EXPR_STR:
        return "a string";
    case EXPR_DTYPE:
        return "a dtype";
    case EXPR_NONE:
        return "None";
    case EXPR_ARGUMENT:
        return tni_type_name(r->schema.params[e->index].type);
    case EXPR_LIST:
        return "a list";
    case EXPR_GRAD:
        return "Tensor";
    case EXPR_RESULT:
        return r->schema.results[e->index].list ? "Tensor[]" : "Tensor";
    case EXPR_CALL:
        return e->callee && e->callee->results[0].list ? "Tensor[]" : "Tensor";
    }
    return "?";
}

bool is_tensor_expr(const row *r, const expr *e, bool *list) {
    *list = false;
    if (e->kind == EXPR_GRAD) return true;
    if (e->kind == EXPR_CALL) return *list = e->callee->results[0].list, true;
    if (e->kind == EXPR_RESULT) return *list = r->schema.results[e->index].list, true;
    if (e->kind != EXPR_ARGUMENT) return false;
    const tni_type type = r->schema.params[e->index].type;
    *list = type == TNI_TENSORS;
    return *list || type == TNI_TENSOR;
}

static bool number_type(tni_type t) {
    return t == TNI_INT || t == TNI_FLOAT || t == TNI_BOOL || t == TNI_SCALAR;
}

static bool argument_fits(const row *r, const expr *e, const tni_param *wanted) {
    const tni_type type = r->schema.params[e->index].type;
    if (type == wanted->type) return true;
    return number_type(type) && (wanted->type == TNI_TENSOR || wanted->type == TNI_SCALAR);
}

static bool literal_fits(const expr *e, const tni_param *wanted) {
    const tni_type t = wanted->type;
    switch (e->kind) {
    case EXPR_NUMBER:
        if (t == TNI_INT) return e->value.tag == TN_TAG_INT;
        return t == TNI_FLOAT || t == TNI_SCALAR || t == TNI_TENSOR;
    case EXPR_BOOL:
        return t == TNI_BOOL || t == TNI_SCALAR || t == TNI_TENSOR;
    case EXPR_STR:
        return t == TNI_STR;
    case EXPR_DTYPE:
        return t == TNI_DTYPE;
    case EXPR_NONE:
        return wanted->optional || t == TNI_GENERATOR;
    default:
        return false;
    }
}

/* Does e, whose own items are already checked, fit? */
static bool fits(const row *r, const expr *e, const tni_param *wanted) {
    bool list;
    if (e->kind == EXPR_ARGUMENT) return argument_fits(r, e, wanted);
    if (is_tensor_expr(r, e, &list)) return wanted->type == (list ? TNI_TENSORS : TNI_TENSOR);
    return literal_fits(e, wanted);
}

static bool check_optional(ops_library *f, const expr *e, const row *r, const tni_param *wanted,
                           int32_t present) {
    if (e->kind != EXPR_ARGUMENT || wanted->optional || (int32_t)e->index == present) return true;
    const tni_param *p = &r->schema.params[e->index];
    if (!p->optional || p->type == TNI_GENERATOR) return true;
    return ops_error(f, e->at, "op %s: %s may be None, but %s needs a value", r->schema.name,
                     p->name, wanted->name);
}

/* Of the entries of a list; -1: it is none. */
static int item_type(tni_type list) {
    switch (list) {
    case TNI_TENSORS:
        return TNI_TENSOR;
    case TNI_INTS:
        return TNI_INT;
    case TNI_FLOATS:
        return TNI_FLOAT;
    case TNI_BOOLS:
        return TNI_BOOL;
    default:
        return -1;
    }
}

static bool check_list(ops_library *f, expr *e, const row *r, const tni_param *wanted,
                       int32_t present) {
    tni_param item = *wanted;
    const int type = item_type(wanted->type);
    item.optional = false;
    if (type < 0)
        return ops_error(f, e->at, "op %s: %s is %s, but a list stands here", r->schema.name,
                         wanted->name, tni_type_name(wanted->type));
    item.type = (tni_type)type;
    if (wanted->count > 0 && e->n_items != (uint32_t)wanted->count)
        return ops_error(f, e->at, "op %s: %s needs %d entries, but %u stand here", r->schema.name,
                         wanted->name, (int)wanted->count, e->n_items);
    for (uint32_t i = 0; i < e->n_items; i++) {
        if (!check_expr(f, e->items[i], r, &item, present)) return false;
        if (item.type == TNI_TENSOR || e->items[i]->kind != EXPR_ARGUMENT) continue;
        if (r->schema.params[e->items[i]->index].type == item.type) continue;
        return ops_error(f, e->items[i]->at, "op %s: this list takes %s", r->schema.name,
                         tni_type_name(item.type));
    }
    return true;
}

static bool find_callee(ops_library *f, expr *e, const row *r) {
    const row *other = ops_find(f, e->name);
    if (!other)
        return ops_error(f, e->at,
                         "op %s calls '%s', which is neither a row of %s nor on a use line",
                         r->schema.name, e->name, f->sources->next ? "these files" : "this file");
    const tni_schema *s = e->callee = &other->schema;
    if (s->n_visible != 1)
        return ops_error(
            f, e->at,
            "op %s calls %s, which has %u results; an expression needs one. Use a C function",
            r->schema.name, s->name, s->n_visible);
    if (s->mutates)
        return ops_error(f, e->at,
                         "op %s calls %s, which changes its argument; expressions have values only",
                         r->schema.name, s->name);
    if (e->n_items > s->n_params)
        return ops_error(f, e->at, "op %s calls %s with %u arguments, but it has %u: %s",
                         r->schema.name, s->name, e->n_items, s->n_params, other->schema_text);
    if (e->n_items < s->n_required)
        return ops_error(f, e->at, "op %s calls %s without %s: %s", r->schema.name, s->name,
                         s->params[e->n_items].name, other->schema_text);
    return true;
}

bool check_expr(ops_library *f, expr *e, const row *r, const tni_param *wanted, int32_t present) {
    if (e->kind == EXPR_LIST) return check_list(f, e, r, wanted, present);
    if (e->kind == EXPR_CALL) {
        if (!find_callee(f, e, r)) return false;
        for (uint32_t i = 0; i < e->n_items; i++)
            if (!check_expr(f, e->items[i], r, &e->callee->params[i], present)) return false;
    }
    if (!fits(r, e, wanted))
        return ops_error(f, e->at, "op %s: %s is %s, but %s stands here", r->schema.name,
                         wanted->name, tni_type_name(wanted->type), describe(r, e));
    return check_optional(f, e, r, wanted, present);
}
