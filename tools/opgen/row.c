/* row.c - one row of NAME.ops: schema, then columns in any order.
 *
 * Invariant: each column is given at most once and is valid for this row's schema; what needs other
 * rows (calls in expressions) is left to ops_check.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/schema/contract.h"
#include "core/schema/sample.h"
#include "tools/opgen/formula.h"
#include "tools/opgen/library.h"

typedef struct parser {
    ops_library *file;
    tni_lex lex;
    row *row;
    char why[512];
} parser;

static bool fail(parser *p) { return ops_error(p->file, p->lex.at, "%s", p->why); }

/* ---- Where the schema ends ------------------------------------------------------------------- */

static const char *const forms[] = {"strided", "pointwise", "reduce", "along"};
static const char *const rules[] = {"same", "broadcast", "reduce"};
static const struct {
    const char *word;
    uint32_t bit;
} traits[] = {
    {"inplace", TN_OP_INPLACE},
    {"random", TN_OP_RANDOM},
    {"view", TN_OP_VIEW},
    {"dynamic", TN_OP_DYNAMIC},
    {"capture_safe", TN_OP_CAPTURE_SAFE},
    {"wide", TN_OP_WIDE},
};
static const char *const columns[] = {"keep",  "none",       "contract",  "samples",
                                      "shape", "derivative", "decompose", "is",
                                      "f",     "f_int",      "f_bool",    "refuse"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A name like any other, unless a sign follows it: a result may be called f. */
static bool is_column(const char *word, const char *behind) {
    bool found = false;
    for (size_t i = 0; i < COUNT(columns); i++) found |= strcmp(word, columns[i]) == 0;
    return found && (*behind == ':' || *behind == '(');
}

static bool is_row_word(const char *word) {
    bool found = strncmp(word, "d_", 2) == 0;
    for (size_t i = 0; i < COUNT(forms); i++) found |= strcmp(word, forms[i]) == 0;
    for (size_t i = 0; i < COUNT(rules); i++) found |= strcmp(word, rules[i]) == 0;
    for (size_t i = 0; i < COUNT(traits); i++) found |= strcmp(word, traits[i].word) == 0;
    return found;
}

/* From '(' to behind its ')'; strings hide parentheses. False at the end of the row. */
static bool skip_group(tni_lex *l) {
    int depth = 0;
    bool quoted = false;
    for (; *l->p; l->p++) {
        if (*l->p == '"') quoted = !quoted;
        if (quoted) continue;
        if (*l->p == '(') depth++;
        if (*l->p == ')' && --depth == 0) return l->p++, true;
    }
    return false;
}

/* Behind `Tensor<T>(a)? name` or `Tensor<T>[] name` without a pair of parentheses around it: a word that belongs to the
 * row is no name. */
static void skip_plain_result(tni_lex *l) {
    char name[TNI_NAME_BYTES];
    tni_lex quiet = *l;
    quiet.why = NULL;
    if (!tni_lex_name(&quiet, name, sizeof name, false, "")) return;
    if (tni_lex_take(&quiet, "<"))
        while (*quiet.p && *quiet.p++ != '>') {
        }
    tni_lex_skip(&quiet);
    if (*quiet.p == '(' && !skip_group(&quiet)) return;
    tni_lex_take(&quiet, "?");
    if (tni_lex_take(&quiet, "[")) tni_lex_take(&quiet, "]");
    l->p = quiet.p;
    if (tni_lex_name(&quiet, name, sizeof name, true, "") && !is_row_word(name) &&
        (tni_lex_skip(&quiet), !is_column(name, quiet.p)))
        l->p = quiet.p;
}

/* Moves to the end of the schema; at its first oddity to the end of the row, so that the schema
 * parser sees it. */
static void skip_schema(tni_lex *l) {
    l->p += strcspn(l->p, "(\"");
    if (*l->p != '(' || !skip_group(l) || !tni_lex_take(l, "->")) {
        l->p += strlen(l->p);
        return;
    }
    tni_lex_skip(l);
    if (*l->p != '(')
        skip_plain_result(l);
    else if (!skip_group(l))
        l->p += strlen(l->p);
}

static bool parse_schema(parser *p) {
    const char *start = p->lex.p;
    row *r = p->row;
    skip_schema(&p->lex);
    char why[256];
    r->schema_text = ops_copy(p->file, start, (size_t)(p->lex.p - start));
    if (!r->schema_text) return false;
    if (tni_schema_parse(r->schema_text, &r->schema, why, sizeof why))
        return ops_error(p->file, start, "in schema '%.200s': %s", r->schema_text, why);
    const row *other = ops_find(p->file, r->schema.name);
    return !other || ops_error(p->file, start, "op %s is already defined, as %s", r->schema.name,
                               other->schema_text);
}

/* ---- Columns --------------------------------------------------------------------------------- */

static bool set_once(parser *p, const char *at, const char **slot, const char *value,
                     const char *what) {
    if (!value) return false;
    if (*slot) return ops_error(p->file, at, "op %s: %s is given twice", p->row->schema.name, what);
    *slot = value;
    return true;
}

/* "(...)" as one line of text. */
static char *parse_group(parser *p) {
    tni_lex_skip(&p->lex);
    const char *start = p->lex.p;
    if (*start != '(') {
        tni_lex_need(&p->lex, "(");
        fail(p);
        return NULL;
    }
    if (!skip_group(&p->lex)) {
        ops_error(p->file, start, "op %s: '(' is never closed", p->row->schema.name);
        return NULL;
    }
    return ops_copy(p->file, start + 1, (size_t)(p->lex.p - start - 2));
}

static bool parse_function(parser *p, const char *at, const char **slot, const char *what) {
    char name[256];
    if (!tni_lex_need(&p->lex, "(") ||
        !tni_lex_name(&p->lex, name, sizeof name, false, "a C function") ||
        !tni_lex_need(&p->lex, ")"))
        return fail(p);
    return set_once(p, at, slot, ops_copy(p->file, name, strlen(name)), what);
}

static bool parse_text(parser *p, const char *at, const char **slot, const char *what) {
    tn_value v;
    if (!tni_lex_string(&p->lex, &v)) return fail(p);
    char *copy = ops_alloc(p->file, (size_t)v.aux + 1);
    if (copy) memcpy(copy, v.str, v.aux);
    if (copy && v.aux == 0)
        return ops_error(p->file, at, "op %s: %s is empty", p->row->schema.name, what);
    return set_once(p, at, slot, copy, what);
}

static bool parse_none(parser *p, const char *at) {
    if (!tni_lex_need(&p->lex, "(")) return fail(p);
    if (!parse_text(p, at, &p->row->none, "none")) return false;
    return tni_lex_need(&p->lex, ")") || fail(p);
}

static bool is_tensor(const tni_param *p) {
    return p->type == TNI_TENSOR || p->type == TNI_TENSORS;
}

/* After a kept argument: ":b+c", for whose gradients it is read. */
static bool parse_readers(parser *p, const char *at, uint32_t *readers) {
    do {
        char name[TNI_NAME_BYTES];
        if (!tni_lex_name(&p->lex, name, sizeof name, true, "an argument")) return fail(p);
        const int reader = tni_schema_param(&p->row->schema, name);
        if (reader < 0 || !is_tensor(&p->row->schema.params[reader]))
            return ops_error(p->file, at, "op %s: keep: '%s' is no tensor argument",
                             p->row->schema.name, name);
        *readers |= 1u << reader;
    } while (tni_lex_take(&p->lex, "+"));
    return true;
}

static bool keep_name(parser *p, const char *at, const char *name) {
    row *r = p->row;
    const int arg = tni_schema_param(&r->schema, name),
              result = tni_schema_result(&r->schema, name);
    if (arg < 0 && result < 0)
        return ops_error(p->file, at, "op %s: keep names '%s', which is no argument or result",
                         r->schema.name, name);
    if (arg >= 0 && !is_tensor(&r->schema.params[arg]))
        return ops_error(
            p->file, at,
            "op %s: keep names %s, which is no tensor; plain arguments are always there",
            r->schema.name, name);
    if (result >= 0 && r->schema.results[result].kind == TNI_RESERVE)
        return ops_error(p->file, at, "op %s: keep names %s, but a reserve belongs to its provider",
                         r->schema.name, name);
    uint32_t *bits = arg >= 0 ? &r->keep_args : &r->keep_results;
    const uint32_t bit = 1u << (arg >= 0 ? arg : result);
    if (*bits & bit)
        return ops_error(p->file, at, "op %s: keep names %s twice", r->schema.name, name);
    *bits |= bit;
    if (!tni_lex_take(&p->lex, ":")) return true;
    if (arg < 0)
        return ops_error(p->file, at, "op %s: keep: result %s is kept for all gradients",
                         r->schema.name, name);
    return parse_readers(p, at, &r->readers[arg]);
}

static bool parse_keep(parser *p, const char *at) {
    char *text = ops_alloc(p->file, (TNI_MAX_ARGS + TNI_MAX_RESULTS) * TNI_NAME_BYTES);
    if (!set_once(p, at, &p->row->keep, text, "keep")) return false;
    if (!tni_lex_need(&p->lex, "(")) return fail(p);
    if (tni_lex_take(&p->lex, ")")) return true;
    do {
        char name[TNI_NAME_BYTES];
        if (!tni_lex_name(&p->lex, name, sizeof name, true, "an argument or result"))
            return fail(p);
        if (!keep_name(p, at, name)) return false;
        if (text[0]) strcat(text, ","); /* distinct names of the schema: they fit */
        strcat(text, name);
    } while (tni_lex_take(&p->lex, ","));
    return tni_lex_need(&p->lex, ")") || fail(p);
}

static bool parse_contract(parser *p, const char *at) {
    char why[256];
    const char *text = parse_group(p);
    if (!set_once(p, at, &p->row->contract, text, "contract")) return false;
    tni_contract *c = tni_contract_parse(text, &p->row->schema, why, sizeof why);
    if (!c)
        return ops_error(p->file, at, "op %s: in contract '%s': %s", p->row->schema.name, text,
                         why);
    tni_contract_free(c);
    return true;
}

static bool parse_samples(parser *p, const char *at) {
    char why[256];
    const char *text = parse_group(p);
    if (!set_once(p, at, &p->row->samples, text, "samples")) return false;
    tni_sample *sample = ops_alloc(p->file, sizeof *sample);
    tn_status status = TN_OK;
    for (int64_t i = 0; sample && status == TN_OK; i++)
        status = tni_sample_parse(text, i, &p->row->schema, sample, why, sizeof why);
    return status == TN_ERR_NOTFOUND ||
           ops_error(p->file, at, "op %s: in samples '%s': %s", p->row->schema.name, text, why);
}

static bool parse_gradient(parser *p, const char *at, const char *name) {
    row *r = p->row;
    const int i = tni_schema_param(&r->schema, name);
    if (i < 0)
        return ops_error(p->file, at, "op %s has no argument '%s' for d_%s", r->schema.name, name,
                         name);
    if (!is_tensor(&r->schema.params[i]))
        return ops_error(p->file, at, "op %s: d_%s, but %s is no tensor", r->schema.name, name,
                         name);
    if (r->grads[i] || r->no_grad[i])
        return ops_error(p->file, at, "op %s: d_%s is given twice", r->schema.name, name);
    if (!tni_lex_need(&p->lex, ":")) return fail(p);
    r->n_grads++;
    r->no_grad[i] = tni_lex_word(&p->lex, "none");
    if (!r->no_grad[i]) r->grads[i] = parse_expr(p->file, &p->lex, r, true);
    return r->no_grad[i] || r->grads[i];
}

static bool parse_is(parser *p, const char *at) {
    if (p->row->is) return ops_error(p->file, at, "op %s: is: is given twice", p->row->schema.name);
    if (!tni_lex_need(&p->lex, ":")) return fail(p);
    p->row->is = parse_expr(p->file, &p->lex, p->row, false);
    return p->row->is != NULL;
}

static bool parse_formula_column(parser *p, const char *at, const char *name, formula **slot) {
    if (*slot)
        return ops_error(p->file, at, "op %s: %s: is given twice", p->row->schema.name, name);
    if (!tni_lex_need(&p->lex, ":")) return fail(p);
    return (*slot = parse_formula(p->file, &p->lex, p->row)) != NULL;
}

/* (where, "why") */
static bool parse_refuse(parser *p, const char *at) {
    row *r = p->row;
    if (r->refuse) return ops_error(p->file, at, "op %s: refuse is given twice", r->schema.name);
    if (!tni_lex_need(&p->lex, "(")) return fail(p);
    if (!(r->refuse = parse_formula(p->file, &p->lex, r))) return false;
    if (!tni_lex_need(&p->lex, ",")) return fail(p);
    if (!parse_text(p, at, &r->refuse_why, "refuse")) return false;
    return tni_lex_need(&p->lex, ")") || fail(p);
}

/* `reduce` is a form and a shape rule: it stands for whichever of the two is not given otherwise.
 */
static bool take_word(parser *p, const char *word, bool *known) {
    row *r = p->row;
    *known = true;
    for (size_t i = 0; i < COUNT(traits); i++)
        if (strcmp(word, traits[i].word) == 0) return r->traits |= traits[i].bit, true;
    if (strcmp(word, "reduce") == 0) {
        if (!r->form) r->form = forms[2];
        if (!r->rule && !r->shape_fn) r->rule = rules[2];
        return true;
    }
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (strcmp(word, forms[i]) != 0) continue;
        if (r->form && r->form != forms[2])
            return ops_error(p->file, r->at, "op %s has two forms, %s and %s", r->schema.name,
                             r->form, word);
        return r->form = forms[i], true;
    }
    for (size_t i = 0; i < COUNT(rules); i++) {
        if (strcmp(word, rules[i]) != 0) continue;
        if (r->rule && r->rule != rules[2])
            return ops_error(p->file, r->at, "op %s has two shape rules, %s and %s", r->schema.name,
                             r->rule, word);
        return r->rule = rules[i], true;
    }
    *known = false;
    return true;
}

static bool parse_shape_fn(parser *p, const char *at) {
    row *r = p->row;
    if (r->rule && r->rule != rules[2])
        return ops_error(p->file, at, "op %s has two shape rules, %s and shape(...)",
                         r->schema.name, r->rule);
    r->rule = NULL;
    return parse_function(p, at, &r->shape_fn, "shape");
}

static bool parse_column(parser *p) {
    char word[TNI_NAME_BYTES];
    row *r = p->row;
    tni_lex_skip(&p->lex);
    const char *at = p->lex.p;
    bool known;
    if (*at == '"') return parse_text(p, at, &r->doc, "the doc string");
    if (!tni_lex_name(&p->lex, word, sizeof word, false, "a column")) return fail(p);
    if (!take_word(p, word, &known)) return false;
    if (known) return true;
    if (strncmp(word, "d_", 2) == 0) return parse_gradient(p, at, word + 2);
    if (strcmp(word, "is") == 0) return parse_is(p, at);
    if (strcmp(word, "f") == 0) return parse_formula_column(p, at, word, &r->f);
    if (strcmp(word, "f_int") == 0) return parse_formula_column(p, at, word, &r->f_int);
    if (strcmp(word, "f_bool") == 0) return parse_formula_column(p, at, word, &r->f_bool);
    if (strcmp(word, "refuse") == 0) return parse_refuse(p, at);
    if (strcmp(word, "keep") == 0) return parse_keep(p, at);
    if (strcmp(word, "none") == 0) return parse_none(p, at);
    if (strcmp(word, "contract") == 0) return parse_contract(p, at);
    if (strcmp(word, "samples") == 0) return parse_samples(p, at);
    if (strcmp(word, "shape") == 0) return parse_shape_fn(p, at);
    if (strcmp(word, "derivative") == 0)
        return parse_function(p, at, &r->derivative_fn, "derivative");
    if (strcmp(word, "decompose") == 0) return parse_function(p, at, &r->decompose_fn, "decompose");
    return ops_error(p->file, at, "op %s: '%s' is no form, shape rule, trait or column",
                     r->schema.name, word);
}

bool parse_row(ops_library *f, char *text) {
    parser p = {.file = f};
    p.lex = (tni_lex){
        .text = text, .p = text, .why = p.why, .capacity = sizeof p.why, .no_columns = true};
    p.row = ops_alloc(f, sizeof *p.row);
    if (!p.row) return false;
    p.row->at = text;
    p.row->is_use = tni_lex_word(&p.lex, "use") && (tni_lex_skip(&p.lex), *p.lex.p != '(');
    if (!p.row->is_use) p.lex.p = text; /* an op may be called use */
    if (!parse_schema(&p)) return false;
    *f->last = p.row;
    f->last = &p.row->next;
    if (p.row->is_use)
        return tni_lex_end(&p.lex) ||
               ops_error(f, p.lex.p, "a use line is a schema and nothing else, found '%.20s'",
                         p.lex.p);
    f->n_rows++;
    while (!tni_lex_end(&p.lex))
        if (!parse_column(&p)) return false;
    if (!p.row->form) p.row->form = forms[0];
    return true;
}
