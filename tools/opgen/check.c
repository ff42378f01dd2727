/* check.c - what must hold for a row as a whole: columns that belong together, keep, gradients.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/opgen/cname.h"
#include "tools/opgen/ctype.h"
#include "tools/opgen/library.h"

/* Which kept tensors an expression reads; a tensor it reads without keeping is an error. */
static bool check_reads(ops_library *f, const row *r, const expr *e, uint32_t *args,
                        uint32_t *results) {
    for (uint32_t i = 0; i < e->n_items; i++)
        if (!check_reads(f, r, e->items[i], args, results)) return false;
    bool list;
    if ((e->kind != EXPR_ARGUMENT && e->kind != EXPR_RESULT) || !is_tensor_expr(r, e, &list))
        return true;
    const bool arg = e->kind == EXPR_ARGUMENT;
    const uint32_t bit = 1u << e->index, kept = arg ? r->keep_args : r->keep_results;
    *(arg ? args : results) |= bit;
    const char *name = arg ? r->schema.params[e->index].name : r->schema.results[e->index].name;
    return (kept & bit) ||
           ops_error(f, e->at, "op %s: a derivative reads %s, which is not kept; add keep(%s)",
                     r->schema.name, name, name);
}

/* Memory is held until backward for what is kept, so nothing is kept for nothing. */
static bool check_kept(ops_library *f, const row *r, uint32_t args, uint32_t results) {
    for (uint32_t i = 0; i < TNI_MAX_ARGS; i++)
        if (r->keep_args & ~args & 1u << i)
            return ops_error(f, r->at, "op %s keeps %s, but no d_ expression reads it",
                             r->schema.name, r->schema.params[i].name);
    for (uint32_t i = 0; i < TNI_MAX_RESULTS; i++)
        if (r->keep_results & ~results & 1u << i)
            return ops_error(f, r->at, "op %s keeps %s, but no d_ expression reads it",
                             r->schema.name, r->schema.results[i].name);
    return true;
}

static bool may_be_floating(const tni_param *p) {
    if (p->type != TNI_TENSOR && p->type != TNI_TENSORS) return false;
    return p->fixed ? tn_dtype_in(p->dtype, TN_MASK_FLOAT)
                    : p->variable != 'I' && p->variable != 'B';
}

static bool check_gradients(ops_library *f, row *r) {
    uint32_t args = 0, results = 0, gradients = 0, readers[TNI_MAX_ARGS] = {0};
    for (uint32_t i = 0; i < r->schema.n_params; i++) {
        const tni_param *p = &r->schema.params[i];
        tni_param wanted = {.type = p->type, .count = -1};
        snprintf(wanted.name, sizeof wanted.name, "%.40s", p->name);
        expr *e = r->grads[i];
        if (!e && !r->no_grad[i] && may_be_floating(p))
            return ops_error(f, r->at,
                             "op %s has no d_%s; write d_%s: none if no gradient flows there",
                             r->schema.name, p->name, p->name);
        if (!e) continue;
        if (e->kind == EXPR_NUMBER || e->kind == EXPR_BOOL)
            return ops_error(f, e->at,
                             "op %s: d_%s is a number, but a gradient has the shape of %s",
                             r->schema.name, p->name, p->name);
        if (e->kind == EXPR_ARGUMENT && p->type != r->schema.params[e->index].type)
            return ops_error(f, e->at, "op %s: d_%s must be a tensor", r->schema.name, p->name);
        uint32_t read = 0;
        if (!check_expr(f, e, r, &wanted, (int32_t)i) || !check_reads(f, r, e, &read, &results))
            return false;
        for (uint32_t k = 0; k < TNI_MAX_ARGS; k++) readers[k] |= (read >> k & 1) << i;
        args |= read, gradients |= 1u << i;
    }
    for (uint32_t k = 0; k < TNI_MAX_ARGS; k++)
        r->readers[k] = readers[k] == gradients ? 0 : readers[k];
    return check_kept(f, r, args, results);
}

static bool check_is(ops_library *f, row *r) {
    const tni_schema *s = &r->schema;
    tni_param wanted = {.type = TNI_TENSOR, .count = -1, .name = "the result"};
    if (s->n_results != 1 || s->n_visible != 1)
        return ops_error(f, r->at, "op %s has %u results; is: is for one. Use decompose(...)",
                         s->name, s->n_results);
    if (s->results[0].list) wanted.type = TNI_TENSORS;
    if (r->is->kind == EXPR_NUMBER || r->is->kind == EXPR_BOOL ||
        (r->is->kind == EXPR_ARGUMENT && s->params[r->is->index].type != wanted.type))
        return ops_error(f, r->is->at, "op %s: is: must be a tensor", s->name);
    return check_expr(f, r->is, r, &wanted, -1);
}

/* A C function asks by name, and rows may share one. */
static bool check_functions(ops_library *f, const row *r) {
    char c[CNAME_BYTES];
    const tni_schema *s = &r->schema;
    for (uint32_t i = 0; r->derivative_fn && i < s->n_params + s->n_results; i++) {
        const char *name = i < s->n_params ? s->params[i].name : s->results[i - s->n_params].name;
        if (strcmp(opgen_cname(name, c), name) != 0)
            return ops_error(f, r->at,
                             "op %s: '%s' is a word of C, so derivative(%s) cannot ask for it; "
                             "rename it",
                             s->name, name, r->derivative_fn);
    }
    for (const row *q = f->rows; r->decompose_fn && q != r; q = q->next)
        if (q->decompose_fn && strcmp(q->decompose_fn, r->decompose_fn) == 0 &&
            !opgen_same_full(&q->schema, s))
            return ops_error(f, r->at,
                             "op %s: decompose(%s) is also that of %s, whose arguments or results "
                             "are of other types",
                             s->name, r->decompose_fn, q->schema.name);
    return true;
}

static bool check_derivative(ops_library *f, const row *r) {
    const char *name = r->schema.name;
    const bool derivative = r->derivative_fn || r->n_grads, decomposed = r->is || r->decompose_fn;
    if (r->derivative_fn && r->n_grads)
        return ops_error(f, r->at, "op %s has both d_ expressions and derivative(...)", name);
    if (r->is && r->decompose_fn)
        return ops_error(f, r->at, "op %s has both is: and decompose(...)", name);
    if (derivative && r->none)
        return ops_error(f, r->at, "op %s has a derivative and also none(\"%s\")", name, r->none);
    if (!derivative && !decomposed && !r->none)
        return ops_error(
            f, r->at,
            "op %s has no derivative and no decomposition; write none(\"why\") if there is "
            "none",
            name);
    if (!derivative && r->keep && r->keep[0])
        return ops_error(f, r->at, "op %s keeps %s, but has no derivative to read it", name,
                         r->keep);
    return true;
}

/* A result needs a shape unless the op's own decomposition makes it, or it is the argument that was
 * written. */
static bool needs_rule(const row *r) {
    if (r->is || r->decompose_fn) return false;
    for (uint32_t i = 0; i < r->schema.n_results; i++) {
        bool target = false;
        for (uint32_t k = 0; k < r->schema.n_params; k++)
            target |= r->schema.params[k].mutated &&
                      r->schema.params[k].alias == r->schema.results[i].alias;
        if (!target) return true;
    }
    return false;
}

static bool has_list(const tni_schema *s) {
    for (uint32_t i = 0; i < s->n_results; i++)
        if (s->results[i].list) return true;
    return false;
}

static bool check_traits(ops_library *f, const row *r) {
    const tni_schema *s = &r->schema;
    bool generator = false, alias = false;
    for (uint32_t i = 0; i < s->n_params; i++) generator |= s->params[i].type == TNI_GENERATOR;
    for (uint32_t i = 0; i < s->n_results; i++) alias |= s->results[i].alias != 0;
    if ((r->traits & TN_OP_RANDOM) && !generator)
        return ops_error(f, r->at, "op %s is random, but has no generator argument", s->name);
    if (generator && !(r->traits & TN_OP_RANDOM) && !r->is && !r->decompose_fn)
        return ops_error(f, r->at, "op %s takes a generator, but is not marked random", s->name);
    if ((r->traits & TN_OP_VIEW) && (!alias || s->mutates))
        return ops_error(
            f, r->at, "op %s is a view, so its result needs an alias: Tensor(a) x ... -> Tensor(a)",
            s->name);
    if ((r->traits & TN_OP_VIEW) && !r->shape_fn)
        return ops_error(f, r->at, "op %s is a view, so it needs shape(...) for strides and offset",
                         s->name);
    if ((r->traits & TN_OP_WIDE) && !r->is && !r->decompose_fn)
        return ops_error(f, r->at, "op %s is wide, but has no decomposition", s->name);
    if ((r->traits & TN_OP_WIDE) && has_list(s))
        return ops_error(f, r->at, "op %s is wide, but its result is a list", s->name);
    return true;
}

static bool check_row(ops_library *f, row *r) {
    const char *name = r->schema.name;
    char twin[TNI_NAME_BYTES + 1];
    if (!r->doc) return ops_error(f, r->at, "op %s has no doc string", name);
    if (!r->rule && !r->shape_fn && needs_rule(r))
        return ops_error(f, r->at,
                         "op %s has no shape rule; give same, broadcast, reduce or shape(function)",
                         name);
    snprintf(twin, sizeof twin, "%s_", name);
    if ((r->traits & TN_OP_INPLACE) && ops_find(f, twin))
        return ops_error(f, r->at, "op %s is inplace, but %s has a row of its own", name, twin);
    if (!check_traits(f, r) || !check_derivative(f, r) || !check_functions(f, r) ||
        !check_formulas(f, r))
        return false;
    if (r->n_grads && !check_gradients(f, r)) return false;
    return !r->is || check_is(f, r);
}

bool ops_check(ops_library *f) {
    for (row *r = f->rows; r; r = r->next)
        if (!r->is_use) check_row(f, r);
    return f->n_errors == 0;
}
