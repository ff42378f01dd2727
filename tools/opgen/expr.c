/* expr.c - parses derivative and decomposition expressions: numbers, names, calls and lists.
 *
 * Names of arguments, results and gradients are resolved here, called ops later (types.c), when all
 * rows are known.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/opgen/library.h"

enum { MAX_DEPTH = 32 };

typedef struct context {
    ops_library *file;
    tni_lex *lex;
    const row *row;
    bool gradient; /* d_NAME: results and g are known */
} context;

static expr *parse(const context *, int depth);

static expr *syntax(const context *c) {
    ops_error(c->file, c->lex->at, "op %s: %s", c->row->schema.name, c->lex->why);
    return NULL;
}

static expr *new_expr(const context *c, expr_kind kind, const char *at) {
    expr *e = ops_alloc(c->file, sizeof *e);
    if (e) e->kind = kind, e->at = at;
    return e;
}

/* Items up to `close`; the opening sign has been taken. */
static expr *parse_items(const context *c, expr *e, const char *close, int depth) {
    if (!e || tni_lex_take(c->lex, close)) return e;
    do {
        if (e->n_items == TNI_MAX_ARGS) {
            ops_error(c->file, c->lex->p, "op %s: more than %d items", c->row->schema.name,
                      TNI_MAX_ARGS);
            return NULL;
        }
        expr *item = parse(c, depth + 1);
        if (!item) return NULL;
        e->items[e->n_items++] = item;
    } while (tni_lex_take(c->lex, ","));
    return tni_lex_need(c->lex, close) ? e : syntax(c);
}

/* "g", "g1": the gradient of a visible result. */
static bool is_gradient(const context *c, const char *name, uint32_t *index) {
    if (!c->gradient || name[0] != 'g' || (name[1] && (name[1] < '0' || name[1] > '9' || name[2])))
        return false;
    *index = name[1] ? (uint32_t)(name[1] - '0') : 0;
    return true;
}

static expr *resolve_gradient(const context *c, expr *e) {
    const tni_schema *s = &c->row->schema;
    if (tni_schema_param(s, e->name) >= 0 || tni_schema_result(s, e->name) >= 0) {
        ops_error(c->file, e->at,
                  "op %s: %s is an argument or result and also the name of a gradient; rename it",
                  s->name, e->name);
        return NULL;
    }
    bool known = e->index < s->n_visible;
    for (uint32_t i = 0; known && i <= e->index; i++) known = !s->results[i].list;
    if (!known) {
        ops_error(c->file, e->at,
                  "op %s: %s is the gradient of Tensor result %u, which it does not have; lists, "
                  "and results behind them, need derivative(...)",
                  s->name, e->name, e->index);
        return NULL;
    }
    e->kind = EXPR_GRAD;
    return e;
}

static expr *resolve_name(const context *c, expr *e) {
    const tni_schema *s = &c->row->schema;
    const int arg = tni_schema_param(s, e->name), result = tni_schema_result(s, e->name);
    if (is_gradient(c, e->name, &e->index)) return resolve_gradient(c, e);
    if (arg >= 0) return e->kind = EXPR_ARGUMENT, e->index = (uint32_t)arg, e;
    if (c->gradient && result >= 0) return e->kind = EXPR_RESULT, e->index = (uint32_t)result, e;
    e->kind = EXPR_BOOL;
    if (strcmp(e->name, "true") == 0) return e->value = tn_bool(true), e;
    if (strcmp(e->name, "false") == 0) return e->value = tn_bool(false), e;
    e->kind = EXPR_DTYPE;
    tn_dtype dtype;
    if (tni_dtype_by_name(e->name, &dtype)) return e->value = tn_value_dtype(dtype), e;
    ops_error(c->file, e->at, "op %s: '%s' is no argument%s, number or dtype", s->name, e->name,
              c->gradient ? ", result, gradient" : "");
    return NULL;
}

static expr *parse_name(const context *c, const char *at, int depth) {
    tni_lex *l = c->lex;
    expr *e = new_expr(c, EXPR_CALL, at);
    if (!e) return NULL;
    if (tni_lex_word(l, "None")) return e->kind = EXPR_NONE, e;
    if (!tni_lex_name(l, e->name, sizeof e->name, true, "a number, name, call or list"))
        return syntax(c);
    if (*l->p == '.' || strncmp(l->p, "::", 2) == 0) {
        if (!tni_lex_qualify(l, e->name, sizeof e->name) || !tni_lex_need(l, "(")) return syntax(c);
        return parse_items(c, e, ")", depth);
    }
    return tni_lex_take(l, "(") ? parse_items(c, e, ")", depth) : resolve_name(c, e);
}

static expr *parse(const context *c, int depth) {
    tni_lex *l = c->lex;
    tni_lex_skip(l);
    const char *at = l->p;
    if (depth > MAX_DEPTH) {
        ops_error(c->file, at, "op %s: an expression is nested deeper than %d", c->row->schema.name,
                  MAX_DEPTH);
        return NULL;
    }
    if (tni_lex_at_number(l)) {
        expr *e = new_expr(c, EXPR_NUMBER, at);
        return !e || tni_lex_number(l, &e->value) ? e : syntax(c);
    }
    if (*at == '"') {
        expr *e = new_expr(c, EXPR_STR, at);
        return !e || tni_lex_string(l, &e->value) ? e : syntax(c);
    }
    if (tni_lex_take(l, "[")) return parse_items(c, new_expr(c, EXPR_LIST, at), "]", depth);
    return parse_name(c, at, depth);
}

expr *parse_expr(ops_library *f, tni_lex *l, const row *r, bool gradient) {
    const context c = {f, l, r, gradient};
    return parse(&c, 0);
}
