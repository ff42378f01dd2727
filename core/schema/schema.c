/* schema.c - the parser of op schemas.
 *
 * Recursive descent over tni_lex, bounded by TNI_MAX_ARGS and TNI_MAX_RESULTS; allocates nothing.
 * Invariant: a schema that was accepted is consistent (distinct names, required before defaulted,
 * every alias and type variable of a result belongs to a parameter), so users of tni_schema need
 * not check again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/schema/schema.h"

#include <stdio.h>
#include <string.h>

#include "core/schema/lex.h"

/* Derivatives ask by name, and names are short: a call of strcmp costs more than the comparison. */
static inline bool same_name(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

int tni_schema_param(const tni_schema *s, const char *name) {
    for (uint32_t i = 0; i < s->n_params; i++)
        if (same_name(s->params[i].name, name)) return (int)i;
    return -1;
}

int tni_schema_result(const tni_schema *s, const char *name) {
    for (uint32_t i = 0; i < s->n_results; i++)
        if (same_name(s->results[i].name, name)) return (int)i;
    return -1;
}

/* ---- Names ----------------------------------------------------------------------------------- */

static bool parse_op_name(tni_lex *l, char *out) {
    return tni_lex_name(l, out, TNI_NAME_BYTES, true, "an op name (a-z, 0-9, _)") &&
           tni_lex_qualify(l, out, TNI_NAME_BYTES);
}

/* A name that neither a parameter nor a result before it has. */
static bool parse_new_name(tni_lex *l, const tni_schema *s, char *out, const char *expected) {
    tni_lex_skip(l);
    const char *at = l->p;
    char name[TNI_NAME_BYTES];
    if (!tni_lex_name(l, name, sizeof name, true, expected)) return false;
    if (tni_schema_param(s, name) >= 0 || tni_schema_result(s, name) >= 0)
        return tni_lex_failf(l, at, "expected a new name, found '%s' again", name);
    memcpy(out, name, sizeof name);
    return true;
}

/* ---- Tensor annotations: <T> and (a!) -------------------------------------------------------- */

typedef struct annotation {
    char variable, alias;
    bool mutated, fixed, index;
    tn_dtype dtype;
} annotation;

static bool parse_class(tni_lex *l, annotation *a) {
    char name[TNI_NAME_BYTES];
    const char *expected =
        "T, N, F, I, B or a dtype (bool, u8, i8, i16, i32, i64, f16, bf16, f32, f64), A or index";
    if (!tni_lex_take(l, "<")) return true;
    tni_lex_skip(l);
    const char *at = l->p;
    if (!tni_lex_name(l, name, sizeof name, false, expected)) return false;
    if (name[1] == 0 && strchr("TNAFIB", name[0])) {
        a->variable = name[0];
    } else if (strcmp(name, "index") == 0) {
        a->index = a->fixed = true, a->dtype = TN_I64;
    } else {
        a->fixed = tni_dtype_by_name(name, &a->dtype);
        if (!a->fixed) return tni_lex_fail(l, at, expected);
    }
    return tni_lex_need(l, ">");
}

/* Of a number: the letter alone. */
static bool parse_number_class(tni_lex *l, const tni_param *p, annotation *a) {
    const char *at = l->p;
    if (p->type != TNI_SCALAR) return true;
    if (!parse_class(l, a)) return false;
    return !a->fixed || tni_lex_fail(l, at, "T, N, A, F, I or B: a number has no dtype of its own");
}

static bool parse_alias(tni_lex *l, annotation *a) {
    if (!tni_lex_take(l, "(")) return true;
    tni_lex_skip(l);
    if (*l->p < 'a' || *l->p > 'z') return tni_lex_fail(l, l->p, "an alias letter a-z");
    a->alias = *l->p++;
    a->mutated = tni_lex_take(l, "!");
    return tni_lex_need(l, ")");
}

/* ---- Parameters ------------------------------------------------------------------------------ */

static const struct type_word {
    const char *word;
    tni_type type, list; /* list == type: has no [] */
} type_words[] = {
    {"Tensor", TNI_TENSOR, TNI_TENSORS},
    {"int", TNI_INT, TNI_INTS},
    {"float", TNI_FLOAT, TNI_FLOATS},
    {"bool", TNI_BOOL, TNI_BOOLS},
    {"str", TNI_STR, TNI_STR},
    {"dtype", TNI_DTYPE, TNI_DTYPE},
    {"device", TNI_DEVICE, TNI_DEVICE},
    {"Scalar", TNI_SCALAR, TNI_SCALAR},
    {"generator", TNI_GENERATOR, TNI_GENERATOR},
};

const char *tni_type_name(tni_type type) {
    static const char *const lists[] = {[TNI_TENSORS] = "Tensor[]",
                                        [TNI_INTS] = "int[]",
                                        [TNI_FLOATS] = "float[]",
                                        [TNI_BOOLS] = "bool[]"};
    for (size_t i = 0; i < sizeof type_words / sizeof *type_words; i++)
        if (type_words[i].type == type) return type_words[i].word;
    return lists[type];
}

static const struct type_word *parse_type_word(tni_lex *l) {
    for (size_t i = 0; i < sizeof type_words / sizeof *type_words; i++)
        if (tni_lex_word(l, type_words[i].word)) return &type_words[i];
    tni_lex_fail(l, l->p,
                 "a type (Tensor, int, float, bool, str, dtype, device, Scalar, generator)");
    return NULL;
}

static bool parse_brackets(tni_lex *l, const struct type_word *w, tni_param *p) {
    if (!tni_lex_take(l, "[")) return true;
    if (w->list == w->type) return tni_lex_failf(l, l->p - 1, "expected no '[' after %s", w->word);
    p->type = w->list;
    if (tni_lex_take(l, "]")) return true;
    tni_lex_skip(l);
    const char *at = l->p;
    int64_t n = 0;
    if (w->type != TNI_INT && w->type != TNI_BOOL)
        return tni_lex_fail(l, at, "']' (only int[] and bool[] may have a count)");
    if (!tni_lex_int(l, &n, "']' or a count")) return false;
    if (n < 1 || n > TN_MAX_RANK)
        return tni_lex_failf(l, at, "expected a count in 1..%d, found %lld", TN_MAX_RANK,
                             (long long)n);
    p->count = (int32_t)n;
    return tni_lex_need(l, "]");
}

static bool parse_type(tni_lex *l, const tni_schema *s, tni_param *p) {
    annotation a = {0};
    tni_lex_skip(l);
    const char *at = l->p;
    const struct type_word *w = parse_type_word(l);
    if (!w) return false;
    p->type = w->type;
    if (w->type == TNI_TENSOR && (!parse_class(l, &a) || !parse_alias(l, &a))) return false;
    if (!parse_number_class(l, p, &a)) return false;
    p->variable = a.variable, p->fixed = a.fixed, p->index = a.index, p->dtype = a.dtype;
    p->alias = a.alias, p->mutated = a.mutated;
    for (uint32_t i = 0; a.alias && i < s->n_params; i++)
        if (s->params[i].alias == a.alias)
            return tni_lex_failf(l, at, "expected a new alias letter, found '%c' of %s again",
                                 a.alias, s->params[i].name);
    const bool members = w->type == TNI_TENSOR && tni_lex_take(l, "?");
    if (!parse_brackets(l, w, p)) return false;
    p->optional = members || tni_lex_take(l, "?"); /* Tensor?[]: entries may be absent */
    p->runtime = tni_lex_take(l, "~");
    if (p->runtime && w->type == TNI_TENSOR)
        return tni_lex_failf(l, l->p - 1,
                             "expected a name, found '~': tensors are never part of the "
                             "signature by value");
    if (p->runtime && a.variable)
        return tni_lex_failf(l, l->p - 1,
                             "expected a name, found '~': a number that is promoted decides what "
                             "the signature is");
    return true;
}

static bool default_count(tni_lex *l, const char *at, const tni_param *p, uint32_t n) {
    return p->count <= 0 || n == (uint32_t)p->count ||
           tni_lex_failf(l, at, "expected %d %s, found %u", (int)p->count,
                         p->type == TNI_INTS ? "numbers" : "bools", n);
}

static bool default_ints(tni_lex *l, tni_param *p) {
    uint32_t n = 0;
    const char *at = l->p;
    if (!tni_lex_ints(l, p->def_ints, sizeof p->def_ints / sizeof *p->def_ints, &n)) return false;
    p->def = tn_value_ints((tn_ints){p->def_ints, n});
    return default_count(l, at, p, n);
}

static bool default_bools(tni_lex *l, tni_param *p) {
    uint32_t n = 0;
    const char *at = l->p;
    if (!tni_lex_bools(l, p->def_bools, TN_MAX_RANK, &n)) return false;
    p->def = tn_value_bools((tn_bools){p->def_bools, n});
    return default_count(l, at, p, n);
}

static bool default_number(tni_lex *l, tni_param *p) {
    if (!tni_lex_at_number(l)) return tni_lex_fail(l, l->p, "a number");
    if (p->type == TNI_INT) {
        int64_t i = 0;
        if (!tni_lex_int(l, &i, "a whole number")) return false;
        p->def = tn_int(i);
        return true;
    }
    if (!tni_lex_number(l, &p->def)) return false;
    if (p->type == TNI_FLOAT && p->def.tag == TN_TAG_INT) p->def = tn_float((double)p->def.i);
    return true;
}

static bool default_bool(tni_lex *l, tni_param *p) {
    const bool yes = tni_lex_word(l, "true");
    if (!yes && !tni_lex_word(l, "false"))
        return tni_lex_fail(l, l->p,
                            p->type == TNI_BOOL ? "true or false" : "a number, true or false");
    p->def = tn_bool(yes);
    return true;
}

static bool default_dtype(tni_lex *l, tni_param *p) {
    char name[TNI_NAME_BYTES];
    tn_dtype dtype;
    const char *at = l->p;
    if (!tni_lex_name(l, name, sizeof name, true, "a dtype (such as f32)")) return false;
    if (!tni_dtype_by_name(name, &dtype)) return tni_lex_fail(l, at, "a dtype (such as f32)");
    p->def = tn_value_dtype(dtype);
    return true;
}

static bool default_empty_list(tni_lex *l, tni_param *p) {
    if (!tni_lex_need(l, "[") || !tni_lex_need(l, "]")) return false;
    p->def.tag = p->type == TNI_FLOATS ? TN_TAG_FLOATS : TN_TAG_TENSORS;
    return true;
}

static bool parse_default(tni_lex *l, tni_param *p) {
    tni_lex_skip(l);
    if ((p->optional || p->type == TNI_GENERATOR) && tni_lex_word(l, "None")) return true;
    switch (p->type) {
    case TNI_TENSOR:
        return tni_lex_fail(l, l->p, p->optional ? "None" : "no default without '?'");
    case TNI_GENERATOR:
        return tni_lex_fail(l, l->p, "None");
    case TNI_TENSORS:
    case TNI_FLOATS:
        return default_empty_list(l, p);
    case TNI_INTS:
        return default_ints(l, p);
    case TNI_INT:
    case TNI_FLOAT:
        return default_number(l, p);
    case TNI_SCALAR:
        return tni_lex_at_number(l) ? default_number(l, p) : default_bool(l, p);
    case TNI_BOOL:
        return default_bool(l, p);
    case TNI_BOOLS:
        return default_bools(l, p);
    case TNI_STR:
        return tni_lex_string(l, &p->def);
    case TNI_DTYPE:
        return default_dtype(l, p);
    case TNI_DEVICE:
        if (!tni_lex_word(l, "cpu")) return tni_lex_fail(l, l->p, "cpu");
        p->def = tn_value_device((tn_device){TN_CPU, 0});
        return true;
    }
    return false;
}

static bool parse_param(tni_lex *l, tni_schema *s) {
    if (s->n_params == TNI_MAX_ARGS)
        return tni_lex_failf(l, l->p, "expected at most %d arguments, found more", TNI_MAX_ARGS);
    tni_param *p = &s->params[s->n_params];
    p->count = -1;
    if (!parse_type(l, s, p)) return false;
    if (!parse_new_name(l, s, p->name, "an argument name (a-z, 0-9, _)")) return false;
    p->has_default = tni_lex_take(l, "=");
    if (p->has_default && !parse_default(l, p)) return false;
    if (!p->has_default && s->n_required < s->n_params)
        return tni_lex_failf(l, l->p,
                             "expected a default for %s, because %s before it has one, found none",
                             p->name, s->params[s->n_params - 1].name);
    if (!p->has_default) s->n_required++;
    if (p->variable && !s->variable) s->variable = p->variable;
    s->mutates |= p->mutated;
    s->n_params++;
    return true;
}

static bool parse_params(tni_lex *l, tni_schema *s) {
    if (!tni_lex_need(l, "(")) return false;
    if (tni_lex_take(l, ")")) return true;
    do {
        if (!parse_param(l, s)) return false;
    } while (tni_lex_take(l, ","));
    return tni_lex_take(l, ")") || tni_lex_fail(l, l->p, "',' or ')'");
}

/* ---- Results --------------------------------------------------------------------------------- */

/* Can a result be this argument? One that may be absent makes a result that may. */
static bool can_alias(const tni_param *p, const tni_result *r) {
    return p->type == TNI_TENSOR && (!p->optional || r->optional);
}

/* What a result refers to must exist among the parameters. */
static bool check_result(tni_lex *l, const char *at, const tni_schema *s, const annotation *a,
                         const tni_result *r) {
    bool alias = a->alias == 0, variable = a->variable == 0;
    for (uint32_t i = 0; i < s->n_params; i++) {
        alias |= s->params[i].alias == a->alias && can_alias(&s->params[i], r);
        variable |= s->params[i].variable == a->variable;
    }
    if (a->index) return tni_lex_failf(l, at, "expected <i64> on a result, found <index>");
    if (a->mutated)
        return tni_lex_failf(l, at, "expected (%c) on a result, found (%c!)", a->alias, a->alias);
    if (!alias)
        return tni_lex_failf(
            l, at, "expected an alias of one tensor that is always there, found (%c)", a->alias);
    if (!variable)
        return tni_lex_failf(l, at,
                             "expected a type variable of an argument, found <%c>, which none has",
                             a->variable);
    return true;
}

static bool check_order(tni_lex *l, const char *at, const tni_schema *s, const tni_result *r) {
    if (s->n_results == 0) return true;
    for (uint32_t i = 0; r->list && i < s->n_results; i++)
        if (s->results[i].list)
            return tni_lex_failf(l, at, "expected one Tensor[] among the results, found another");
    const tni_result_kind before = s->results[s->n_results - 1].kind;
    if (before == TNI_RESERVE)
        return tni_lex_failf(l, at, "expected ')' after the reserve, found another result");
    if (before == TNI_SAVED && r->kind == TNI_VISIBLE)
        return tni_lex_failf(l, at, "expected visible results before saved ones, found one after");
    return true;
}

static bool at_name(tni_lex *l) {
    tni_lex_skip(l);
    return *l->p != 0 && *l->p != ',' && *l->p != ')';
}

static bool parse_result(tni_lex *l, tni_schema *s) {
    tni_lex_skip(l);
    const char *at = l->p;
    if (s->n_results == TNI_MAX_RESULTS)
        return tni_lex_failf(l, at, "expected at most %d results, found more", TNI_MAX_RESULTS);
    tni_result *r = &s->results[s->n_results];
    annotation a = {0};
    r->kind = tni_lex_word(l, "reserve") ? TNI_RESERVE
              : tni_lex_word(l, "saved") ? TNI_SAVED
                                         : TNI_VISIBLE;
    if (r->kind != TNI_RESERVE) {
        if (!tni_lex_word(l, "Tensor"))
            return tni_lex_fail(l, l->p, "Tensor, saved Tensor or reserve");
        if (!parse_class(l, &a) || !parse_alias(l, &a)) return false;
        r->optional = tni_lex_take(l, "?");
        if (!check_result(l, at, s, &a, r)) return false;
        r->list = !r->optional && tni_lex_take(l, "[");
        if (r->list && !tni_lex_need(l, "]")) return false;
    }
    r->alias = a.alias, r->variable = a.variable, r->fixed = a.fixed, r->dtype = a.dtype;
    if (!check_order(l, at, s, r)) return false;
    if (at_name(l) && !parse_new_name(l, s, r->name, "a result name (a-z, 0-9, _)")) return false;
    if (r->kind != TNI_VISIBLE && r->name[0] == 0)
        return tni_lex_fail(l, l->p, "a name (a saved or reserve result needs one)");
    s->n_visible += r->kind == TNI_VISIBLE;
    s->n_results++;
    return true;
}

static bool parse_results(tni_lex *l, tni_schema *s) {
    if (!tni_lex_need(l, "->")) return false;
    if (!tni_lex_take(l, "(")) return parse_result(l, s);
    if (tni_lex_take(l, ")")) return true;
    do {
        if (!parse_result(l, s)) return false;
    } while (tni_lex_take(l, ","));
    return tni_lex_take(l, ")") || tni_lex_fail(l, l->p, "',' or ')'");
}

static bool name_results(tni_lex *l, tni_schema *s) {
    for (uint32_t i = 0; i < s->n_results; i++) {
        char name[TNI_NAME_BYTES] = "out";
        if (s->results[i].name[0]) continue;
        if (s->n_results > 1) snprintf(name, sizeof name, "out%u", i);
        if (tni_schema_param(s, name) >= 0 || tni_schema_result(s, name) >= 0)
            return tni_lex_failf(l, l->p,
                                 "expected a name for result %u, because '%s' is taken, found none",
                                 i, name);
        memcpy(s->results[i].name, name, sizeof name);
    }
    return true;
}

tn_status tni_schema_parse(const char *text, tni_schema *out, char *why, uint64_t capacity) {
    memset(out, 0, sizeof *out);
    if (why && capacity) why[0] = 0;
    tni_lex l = {.text = text ? text : "", .p = text ? text : "", .why = why, .capacity = capacity};
    if (!parse_op_name(&l, out->name) || !parse_params(&l, out) || !parse_results(&l, out) ||
        !name_results(&l, out))
        return TN_ERR_FORMAT;
    if (!tni_lex_end(&l)) {
        tni_lex_fail(&l, l.p, "the end");
        return TN_ERR_FORMAT;
    }
    return TN_OK;
}
