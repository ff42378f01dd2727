/* formula.c - formulas: parsed by precedence, checked for a kind of dtype, written with parentheses
 * around everything.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/formula.h"

#include <string.h>

#include "tools/opgen/cname.h"

enum { MAX_DEPTH = 32, MAX_ITEMS = 3 };

typedef enum kinds { FLOATS = 1, INTEGERS = 2, BOTH = 3 } kinds; /* of dtypes */

typedef struct operation {
    const char *sign;
    int binds;               /* as in C: the higher, the tighter; 0: stands before its operand */
    kinds of;                /* on which dtypes it works */
    bool gives_int;          /* an int of C, 0 or 1, whatever the operands are */
    const char *of_integers; /* the function that does it for them; NULL: C's own operator */
} operation;

/* Longer signs first: one may begin with another. */
static const operation operations[] = {
    {"<<", 8, INTEGERS, false, "int_shl"},
    {">>", 8, INTEGERS, false, "int_shr"},
    {"<=", 7, BOTH, true, NULL},
    {">=", 7, BOTH, true, NULL},
    {"==", 6, BOTH, true, NULL},
    {"!=", 6, BOTH, true, NULL},
    {"&&", 2, BOTH, true, NULL},
    {"||", 1, BOTH, true, NULL},
    {"<", 7, BOTH, true, NULL},
    {">", 7, BOTH, true, NULL},
    {"*", 10, BOTH, false, "int_mul"},
    {"/", 10, FLOATS, false, NULL},
    {"+", 9, BOTH, false, "int_add"},
    {"-", 9, BOTH, false, "int_sub"},
    {"&", 5, INTEGERS, false, NULL},
    {"^", 4, INTEGERS, false, NULL},
    {"|", 3, INTEGERS, false, NULL},
};
static const operation before[] = {
    {"-", 0, BOTH, false, "int_neg"}, {"!", 0, BOTH, true, NULL}, {"~", 0, INTEGERS, false, NULL}};

typedef struct function {
    const char *name;
    uint32_t n_args;
    bool gives_int;
    const char *of_floats, *of_integers; /* NULL: none */
} function;

#define OF_BOTH(name, n, floats, integers) {#name, n, false, #floats, #integers},
#define OF_FLOATS(name, n)                 {#name, n, false, #name, NULL},
#define TEST_OF_FLOATS(name)               {#name, 1, true, #name, NULL},
static const function functions[] = {
#include "tools/opgen/functions.inc"
};

typedef enum formula_kind { NUMBER, ARGUMENT, OPERATION, CALL, CHOICE } formula_kind;

struct formula {
    formula_kind kind;
    const char *at; /* where it stands in the file */
    tn_value number;
    uint32_t argument; /* index */
    const operation *operation;
    const function *function;
    uint32_t n_items;
    struct formula *items[MAX_ITEMS];
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- Reading --------------------------------------------------------------------------------- */

typedef struct reader {
    ops_library *library;
    tni_lex *lex;
    const row *row;
    int depth;
} reader;

static formula *read_choice(reader *);
static formula *read_operand(reader *);

static formula *syntax(const reader *r) {
    ops_error(r->library, r->lex->at, "op %s: %s", r->row->schema.name, r->lex->why);
    return NULL;
}

static formula *new_formula(const reader *r, formula_kind kind, const char *at) {
    formula *f = ops_alloc(r->library, sizeof *f);
    if (f) f->kind = kind, f->at = at;
    return f;
}

static formula *read_number(const reader *r, const char *at) {
    formula *f = new_formula(r, NUMBER, at);
    return !f || tni_lex_number(r->lex, &f->number) ? f : syntax(r);
}

static formula *read_call(reader *r, const char *name, const char *at) {
    const function *found = NULL;
    for (size_t i = 0; i < COUNT(functions); i++)
        if (strcmp(functions[i].name, name) == 0) found = &functions[i];
    if (!found) {
        ops_error(r->library, at, "op %s: '%s' is no function that a formula may call",
                  r->row->schema.name, name);
        return NULL;
    }
    formula *f = new_formula(r, CALL, at);
    if (!f) return NULL;
    f->function = found;
    for (; f->n_items < found->n_args; f->n_items++) {
        if (f->n_items > 0 && !tni_lex_need(r->lex, ",")) return syntax(r);
        if (!(f->items[f->n_items] = read_choice(r))) return NULL;
    }
    return tni_lex_need(r->lex, ")") ? f : syntax(r);
}

static formula *read_name(reader *r, const char *at) {
    char name[TNI_NAME_BYTES];
    if (!tni_lex_name(r->lex, name, sizeof name, true, "a number, argument or function"))
        return syntax(r);
    if (tni_lex_take(r->lex, "(")) return read_call(r, name, at);
    const int argument = tni_schema_param(&r->row->schema, name);
    if (argument < 0) {
        ops_error(r->library, at, "op %s: '%s' in a formula is no argument of the row",
                  r->row->schema.name, name);
        return NULL;
    }
    formula *f = new_formula(r, ARGUMENT, at);
    if (f) f->argument = (uint32_t)argument;
    return f;
}

static bool enter(reader *r) {
    return ++r->depth <= MAX_DEPTH ||
           ops_error(r->library, r->lex->p, "op %s: a formula is nested deeper than %d",
                     r->row->schema.name, MAX_DEPTH);
}

static formula *read_signed(reader *r, const operation *sign, const char *at) {
    formula *f = new_formula(r, OPERATION, at);
    if (!f || !enter(r)) return NULL;
    f->operation = sign, f->n_items = 1;
    f->items[0] = read_operand(r);
    r->depth--;
    return f->items[0] ? f : NULL;
}

/* A number, an argument, a call, something in parentheses; signs may stand before it. */
static formula *read_operand(reader *r) {
    tni_lex_skip(r->lex);
    const char *at = r->lex->p;
    for (size_t i = 0; i < COUNT(before); i++)
        if (tni_lex_take(r->lex, before[i].sign)) return read_signed(r, &before[i], at);
    if (tni_lex_at_number(r->lex)) return read_number(r, at);
    if (!tni_lex_take(r->lex, "(")) return read_name(r, at);
    formula *f = read_choice(r);
    return !f || tni_lex_need(r->lex, ")") ? f : syntax(r);
}

/* Takes the next operator if it binds at least so tightly. */
static const operation *take_operation(tni_lex *l, int binds) {
    for (size_t i = 0; i < COUNT(operations); i++) {
        const char *here = l->p;
        if (!tni_lex_take(l, operations[i].sign)) continue;
        if (operations[i].binds >= binds) return &operations[i];
        l->p = here;
        return NULL;
    }
    return NULL;
}

static formula *read_operations(reader *r, int binds) {
    formula *left = read_operand(r);
    while (left) {
        const operation *o = take_operation(r->lex, binds);
        if (!o) return left;
        formula *f = new_formula(r, OPERATION, left->at);
        if (!f) return NULL;
        f->operation = o, f->n_items = 2;
        f->items[0] = left;
        f->items[1] = read_operations(r, o->binds + 1);
        left = f->items[1] ? f : NULL;
    }
    return NULL;
}

/* Behind the `?` of condition ? a : b. */
static formula *read_branches(reader *r, formula *condition) {
    formula *f = new_formula(r, CHOICE, condition->at);
    if (!f) return NULL;
    f->n_items = 3;
    f->items[0] = condition;
    if (!(f->items[1] = read_choice(r))) return NULL;
    if (!tni_lex_need(r->lex, ":")) return syntax(r);
    f->items[2] = read_choice(r);
    return f->items[2] ? f : NULL;
}

static formula *read_choice(reader *r) {
    if (!enter(r)) return NULL;
    formula *f = read_operations(r, 1);
    if (f && tni_lex_take(r->lex, "?")) f = read_branches(r, f);
    r->depth--;
    return f;
}

formula *parse_formula(ops_library *l, tni_lex *lex, const row *r) {
    reader start = {.library = l, .lex = lex, .row = r};
    return read_choice(&start);
}

/* ---- Checking -------------------------------------------------------------------------------- */

/* Would C compute it as an integer, although the arguments are floats? */
static bool is_whole(const formula *f) {
    bool whole = true;
    if (f->kind == NUMBER) return f->number.tag == TN_TAG_INT;
    if (f->kind == ARGUMENT) return false;
    if (f->kind == CALL) return f->function->gives_int;
    if (f->kind == OPERATION && f->operation->gives_int) return true;
    for (uint32_t i = f->kind == CHOICE; i < f->n_items; i++) whole &= is_whole(f->items[i]);
    return whole;
}

static bool unfit(ops_library *l, const formula *f, const row *r, const char *what, bool floats) {
    return ops_error(l, f->at, "op %s: %s is not for %s, but this formula is; %s", r->schema.name,
                     what, floats ? "floating dtypes" : "integers",
                     floats ? "f_int: is for integers alone"
                            : "give integers one of their own with f_int:");
}

bool check_formula(ops_library *l, const formula *f, const row *r, bool floats) {
    for (uint32_t i = 0; i < f->n_items; i++)
        if (!check_formula(l, f->items[i], r, floats)) return false;
    if (f->kind == NUMBER && !floats && f->number.tag != TN_TAG_INT)
        return unfit(l, f, r, "a fraction", floats);
    if (f->kind == CALL && !floats && !f->function->of_integers)
        return unfit(l, f, r, f->function->name, floats);
    if (f->kind != OPERATION) return true;
    if (!(f->operation->of & (floats ? FLOATS : INTEGERS)))
        return unfit(l, f, r, f->operation->sign, floats);
    return f->operation->sign[0] != '/' || !is_whole(f->items[0]) || !is_whole(f->items[1]) ||
           ops_error(l, f->at, "op %s: C divides these as integers; write one with a point, as 2.0",
                     r->schema.name);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void write_call(FILE *out, const char *name, const formula *f, const row *r, bool floats) {
    fprintf(out, "%s(", name);
    for (uint32_t i = 0; i < f->n_items; i++) {
        if (i > 0) fputs(", ", out);
        write_formula(out, f->items[i], r, floats);
    }
    fputc(')', out);
}

static void write_operand(FILE *out, const formula *f, const row *r, bool floats) {
    const bool plain = f->kind == NUMBER || f->kind == ARGUMENT || f->kind == CALL;
    if (!plain) fputc('(', out);
    write_formula(out, f, r, floats);
    if (!plain) fputc(')', out);
}

static void write_operation(FILE *out, const formula *f, const row *r, bool floats) {
    const operation *o = f->operation;
    if (!floats && o->of_integers) {
        write_call(out, o->of_integers, f, r, floats);
        return;
    }
    if (f->n_items == 2) {
        write_operand(out, f->items[0], r, floats);
        fprintf(out, " %s ", o->sign);
    } else {
        fputs(o->sign, out);
    }
    write_operand(out, f->items[f->n_items - 1], r, floats);
}

void write_formula(FILE *out, const formula *f, const row *r, bool floats) {
    char name[CNAME_BYTES];
    switch (f->kind) {
    case NUMBER:
        if (f->number.tag == TN_TAG_INT)
            opgen_write_int(out, f->number.i);
        else
            opgen_write_float(out, f->number.f);
        break;
    case ARGUMENT:
        fputs(opgen_cname(r->schema.params[f->argument].name, name), out);
        break;
    case OPERATION:
        write_operation(out, f, r, floats);
        break;
    case CALL:
        write_call(out, floats ? f->function->of_floats : f->function->of_integers, f, r, floats);
        break;
    case CHOICE:
        write_operand(out, f->items[0], r, floats);
        fputs(" ? ", out);
        write_operand(out, f->items[1], r, floats);
        fputs(" : ", out);
        write_operand(out, f->items[2], r, floats);
        break;
    }
}
