/* contract_text.c - parses contracts: `x:[N,C,*] w:[O,C/groups] dim:dim(x) p:0..1`.
 *
 * Invariant: an accepted contract fits its schema (arguments exist and have the right type, factors
 * are bound before they are used), so the check need not look again; parsing is bounded by the
 * text, one item per ':'.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/schema/contract.h"
#include "core/schema/lex.h"
#include "core/schema/schema.h"

static bool is_tensor(const tni_param *p) {
    return p->type == TNI_TENSOR || p->type == TNI_TENSORS;
}

static bool is_number(const tni_param *p) {
    return p->type == TNI_INT || p->type == TNI_INTS || p->type == TNI_FLOAT ||
           p->type == TNI_FLOATS || p->type == TNI_SCALAR;
}

static int find_name(const tni_contract *c, const char *name) {
    for (uint32_t i = 0; i < c->n_names; i++)
        if (strcmp(c->names[i], name) == 0) return (int)i;
    return -1;
}

static bool parse_param_name(tni_lex *l, const tni_schema *s, uint32_t *out) {
    char name[TNI_NAME_BYTES];
    tni_lex_skip(l);
    const char *at = l->p;
    if (!tni_lex_name(l, name, sizeof name, true, "an argument name")) return false;
    const int i = tni_schema_param(s, name);
    if (i < 0) return tni_lex_failf(l, at, "expected an argument of %s, found '%s'", s->name, name);
    *out = (uint32_t)i;
    return true;
}

/* After NAME/ or NAME*: an int argument or a number >= 1. */
static bool parse_factor(tni_lex *l, const tni_schema *s, tni_dim_spec *d) {
    uint32_t param = 0;
    const char *at = l->p;
    d->param = -1;
    if (tni_lex_at_number(l)) {
        if (!tni_lex_int(l, &d->number, "a whole number")) return false;
        return d->number >= 1 || tni_lex_fail(l, at, "a factor of at least 1");
    }
    if (!parse_param_name(l, s, &param)) return false;
    if (s->params[param].type != TNI_INT) return tni_lex_fail(l, at, "an int argument");
    d->param = (int32_t)param;
    return true;
}

static bool parse_named_dim(tni_lex *l, const tni_schema *s, tni_contract *c, tni_dim_spec *d) {
    char name[TNI_NAME_BYTES];
    const char *at = l->p;
    if (!tni_lex_name(l, name, sizeof name, false, "a dim: a name, a number, _ or *")) return false;
    if (strcmp(name, "_") == 0) return true;
    const int param = tni_schema_param(s, name);
    if (param >= 0 && s->params[param].type == TNI_INT) {
        d->kind = TNI_DIM_ARGUMENT, d->param = param;
        return true;
    }
    const int known = find_name(c, name);
    if (known < 0 && c->n_names == TNI_CONTRACT_NAMES)
        return tni_lex_failf(l, at, "expected at most %d dim names, found more",
                             TNI_CONTRACT_NAMES);
    if (known < 0) memcpy(c->names[c->n_names], name, sizeof name);
    d->kind = TNI_DIM_NAME, d->name = known < 0 ? c->n_names++ : (uint32_t)known;
    d->op = tni_lex_take(l, "/") ? '/' : tni_lex_take(l, "*") ? '*' : 0;
    if (d->op && known < 0)
        return tni_lex_failf(
            l, at, "expected a dim name used before, found '%s' for the first time", name);
    return d->op == 0 || parse_factor(l, s, d);
}

static bool parse_dim_spec(tni_lex *l, const tni_schema *s, tni_contract *c,
                           tni_contract_item *it) {
    if (it->n_dims == TN_MAX_RANK)
        return tni_lex_failf(l, l->p, "expected at most %d dims, found more", TN_MAX_RANK);
    tni_dim_spec *d = &it->dims[it->n_dims];
    tni_lex_skip(l);
    if (tni_lex_take(l, "*")) {
        if (it->rest >= 0)
            return tni_lex_failf(l, l->p - 1, "expected at most one *, found another");
        d->kind = TNI_DIM_REST, it->rest = (int32_t)it->n_dims;
    } else if (tni_lex_at_number(l)) {
        const char *at = l->p;
        d->kind = TNI_DIM_NUMBER;
        if (!tni_lex_int(l, &d->number, "a size")) return false;
        if (d->number < 0) return tni_lex_fail(l, at, "a size of at least 0");
    } else if (!parse_named_dim(l, s, c, d)) {
        return false;
    }
    it->n_dims++;
    return true;
}

static bool parse_shape(tni_lex *l, const tni_schema *s, tni_contract *c, tni_contract_item *it) {
    it->kind = TNI_ITEM_SHAPE;
    it->rest = -1;
    if (!is_tensor(&s->params[it->param]))
        return tni_lex_failf(l, l->p - 1,
                             "expected dim(...) or a range, "
                             "because %s is no tensor, found '['",
                             s->params[it->param].name);
    if (tni_lex_take(l, "]")) return true;
    do {
        if (!parse_dim_spec(l, s, c, it)) return false;
    } while (tni_lex_take(l, ","));
    return tni_lex_take(l, "]") || tni_lex_fail(l, l->p, "',' or ']'");
}

static bool parse_dim_of(tni_lex *l, const tni_schema *s, const tni_contract *c,
                         tni_contract_item *it) {
    const tni_type type = s->params[it->param].type;
    for (uint32_t i = 0; i < c->n_items; i++) /* each is normalised once: room is reckoned so */
        if (c->items[i].kind == TNI_ITEM_DIM && c->items[i].param == it->param)
            return tni_lex_fail(l, l->p, "one dim(...) per argument");
    it->kind = TNI_ITEM_DIM;
    if (type != TNI_INT && type != TNI_INTS)
        return tni_lex_failf(l, l->p, "expected an int or int[] before dim(...), found %s",
                             s->params[it->param].name);
    if (!tni_lex_need(l, "(")) return false;
    const char *at = l->p;
    if (!parse_param_name(l, s, &it->of)) return false;
    if (!is_tensor(&s->params[it->of])) return tni_lex_fail(l, at, "a tensor argument");
    int64_t extra = 0;
    if (tni_lex_take(l, "+")) {
        at = l->p;
        if (!tni_lex_int(l, &extra, "1")) return false;
        if (extra != 1) return tni_lex_fail(l, at, "1");
    }
    it->extra = (uint32_t)extra;
    return tni_lex_need(l, ")");
}

static bool parse_held(tni_lex *l, const tni_schema *s, tni_contract_item *it) {
    it->kind = TNI_ITEM_HELD;
    if (s->params[it->param].type != TNI_SCALAR)
        return tni_lex_failf(l, l->p, "expected a Scalar before in(...), found %s",
                             s->params[it->param].name);
    if (!tni_lex_need(l, "(")) return false;
    const char *at = l->p;
    if (!parse_param_name(l, s, &it->of)) return false;
    if (s->params[it->of].type != TNI_TENSOR) return tni_lex_fail(l, at, "a tensor argument");
    return tni_lex_need(l, ")");
}

static bool parse_rank(tni_lex *l, const tni_schema *s, tni_contract_item *it) {
    it->kind = TNI_ITEM_RANK;
    if (!is_tensor(&s->params[it->param]))
        return tni_lex_fail(l, l->p, "a tensor argument before rank");
    const bool least = tni_lex_take(l, ">="), most = !least && tni_lex_take(l, "<=");
    if (!least && !most && !tni_lex_take(l, "==")) return tni_lex_fail(l, l->p, "==, >= or <=");
    tni_lex_skip(l);
    const char *at = l->p;
    int64_t rank = 0;
    if (!tni_lex_int(l, &rank, "a rank")) return false;
    if (rank < 0 || rank > TN_MAX_RANK)
        return tni_lex_failf(l, at, "expected a rank in 0..%d, found %lld", TN_MAX_RANK,
                             (long long)rank);
    if (!most) it->lo = tn_int(rank);
    if (!least) it->hi = tn_int(rank);
    return true;
}

static bool parse_range(tni_lex *l, const tni_schema *s, tni_contract_item *it) {
    it->kind = TNI_ITEM_RANGE;
    tni_lex_skip(l);
    const char *at = l->p;
    if (tni_lex_at_number(l) && !tni_lex_number(l, &it->lo)) return false;
    if (!tni_lex_take(l, ".."))
        return tni_lex_fail(l, l->p,
                            it->lo.tag ? "'..'" : "[dims], dim(...), rank or a range such as 0..1");
    if (tni_lex_at_number(l) && !tni_lex_number(l, &it->hi)) return false;
    if (it->lo.tag == TN_TAG_NONE && it->hi.tag == TN_TAG_NONE)
        return tni_lex_fail(l, l->p, "a number");
    if (is_number(&s->params[it->param])) return true;
    return tni_lex_failf(l, at, "expected a number argument before a range, found %s",
                         s->params[it->param].name);
}

static bool parse_item(tni_lex *l, const tni_schema *s, tni_contract *c) {
    if (c->n_items == TNI_CONTRACT_ITEMS)
        return tni_lex_failf(l, l->p, "expected at most %d items, found more", TNI_CONTRACT_ITEMS);
    tni_contract_item *it = &c->items[c->n_items];
    if (!parse_param_name(l, s, &it->param) || !tni_lex_need(l, ":")) return false;
    const bool ok = tni_lex_take(l, "[")      ? parse_shape(l, s, c, it)
                    : tni_lex_word(l, "dim")  ? parse_dim_of(l, s, c, it)
                    : tni_lex_word(l, "rank") ? parse_rank(l, s, it)
                    : tni_lex_word(l, "in")   ? parse_held(l, s, it)
                                              : parse_range(l, s, it);
    c->n_items += ok;
    return ok;
}

tni_contract *tni_contract_parse(const char *text, const tni_schema *s, char *why,
                                 uint64_t capacity) {
    if (why && capacity) why[0] = 0;
    tni_lex l = {.text = text ? text : "", .p = text ? text : "", .why = why, .capacity = capacity};
    size_t n = 0;
    for (const char *p = l.text; *p && n < TNI_CONTRACT_ITEMS; p++) n += *p == ':';
    tni_contract *c = calloc(1, sizeof *c + (n + 1) * sizeof(tni_contract_item));
    if (!c) {
        if (why && capacity) snprintf(why, capacity, "out of memory for %zu contract items", n);
        return NULL;
    }
    while (!tni_lex_end(&l)) {
        if (parse_item(&l, s, c)) continue;
        free(c);
        return NULL;
    }
    return c;
}

void tni_contract_free(tni_contract *c) { free(c); }
