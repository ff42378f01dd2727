/* formulas.c - a row's formulas, one for each kind of dtype, and the file that has them all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/formulas.h"

#include <string.h>

#include "tools/opgen/cname.h"
#include "tools/opgen/formula.h"

/* f: of all dtypes that the row takes, f_int: of integers and booleans instead, f_bool: of booleans
 * instead. In the file floats are f, integers i; booleans are i as well, or b if they have their own. */
typedef enum kind { FLOATS, INTEGERS, BOOLEANS, N_KINDS } kind;

static const char *const kind_names[] = {"floating dtypes", "integers", "booleans"};

static bool takes(const row *r, kind k) {
    const char variable = r->schema.params[0].variable;
    if (k == FLOATS) return variable != 'I' && variable != 'B';
    return k == INTEGERS ? variable != 'F' : variable == 'T' || variable == 'B';
}

static const formula *formula_of(const row *r, kind k) {
    if (k == BOOLEANS && r->f_bool) return r->f_bool;
    return k != FLOATS && r->f_int ? r->f_int : r->f;
}

/* ---- Checking -------------------------------------------------------------------------------- */

/* One element of the result from one of each argument, and nothing else. */
static bool check_shape(ops_library *l, const row *r) {
    const tni_schema *s = &r->schema;
    if (strcmp(r->form, "pointwise") != 0)
        return ops_error(l, r->at, "op %s has a formula, but is not pointwise", s->name);
    bool ok = s->n_params > 0;
    for (uint32_t i = 0; i < s->n_params; i++) {
        const tni_param *p = &s->params[i];
        ok &= p->type == TNI_TENSOR && !p->optional && !p->mutated && p->variable &&
              p->variable == s->params[0].variable;
    }
    if (!ok)
        return ops_error(l, r->at,
                         "op %s has a formula, so its arguments must be tensors of one type "
                         "variable, as Tensor<T>",
                         s->name);
    const tni_result *y = &s->results[0];
    ok = s->n_results == 1 && !y->list && (!y->fixed || tn_dtype_is(y->dtype, TN_BOOL));
    return ok || ops_error(l, r->at,
                           "op %s has a formula, so its result must be one tensor, of the dtype of "
                           "the arguments or bool",
                           s->name);
}

/* A column that no dtype of the row would use is a mistake. */
static bool check_use(ops_library *l, const row *r) {
    const struct {
        const char *name;
        const formula *f;
    } columns[] = {{"f:", r->f}, {"f_int:", r->f_int}, {"f_bool:", r->f_bool}};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        bool used = !columns[i].f;
        for (kind k = FLOATS; k < N_KINDS; k++)
            used |= takes(r, k) && formula_of(r, k) == columns[i].f;
        if (!used)
            return ops_error(l, r->at, "op %s: %s is for no dtype that it takes", r->schema.name,
                             columns[i].name);
    }
    return !r->refuse || takes(r, INTEGERS) ||
           ops_error(l, r->at, "op %s: refuse(...) is for integers, which it does not take",
                     r->schema.name);
}

bool check_formulas(ops_library *l, const row *r) {
    if (!r->f && !r->f_int && !r->f_bool && !r->refuse) return true;
    if (!check_shape(l, r)) return false;
    for (kind k = FLOATS; k < N_KINDS; k++) {
        const formula *f = formula_of(r, k);
        if (!takes(r, k)) continue;
        if (!f)
            return ops_error(l, r->at, "op %s has no formula for %s", r->schema.name,
                             kind_names[k]);
        if (!check_formula(l, f, r, k == FLOATS)) return false;
    }
    return check_use(l, r) && (!r->refuse || check_formula(l, r->refuse, r, false));
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* "FORMULA_ARG(i, a, 0) FORMULA_ARG(i, b, 1)" */
static void write_arguments(FILE *out, const row *r, char of) {
    char name[CNAME_BYTES];
    for (uint32_t i = 0; i < r->schema.n_params; i++)
        fprintf(out, "%sFORMULA_ARG(%c, %s, %u)", i ? " " : "", of,
                opgen_cname(r->schema.params[i].name, name), i);
}

static void write_one(FILE *out, const row *r, const char *name, char of, const formula *f) {
    if (!f) return;
    fprintf(out, "FORMULA(%s, %c, %s, ", name, of, r->schema.results[0].fixed ? "bool" : "same");
    write_arguments(out, r, of);
    fputs(", ", out);
    write_formula(out, f, r, of == 'f');
    fputs(")\n", out);
}

static void write_refuse(FILE *out, const row *r, const char *name) {
    if (!r->refuse) return;
    fprintf(out, "FORMULA_REFUSE(%s, ", name);
    write_arguments(out, r, 'i');
    fputs(", ", out);
    write_formula(out, r->refuse, r, false);
    fputs(", ", out);
    opgen_write_string(out, r->refuse_why, strlen(r->refuse_why));
    fputs(")\n", out);
}

static void write_row(FILE *out, const row *r) {
    char name[CNAME_BYTES];
    const bool floats = takes(r, FLOATS), integers = takes(r, INTEGERS);
    if (!r->f && !r->f_int) return;
    opgen_cname_op(r->schema.name, name);
    write_one(out, r, name, 'f', floats ? formula_of(r, FLOATS) : NULL);
    write_one(out, r, name, 'i', integers ? formula_of(r, INTEGERS) : NULL);
    write_one(out, r, name, 'b', r->f_bool);
    write_refuse(out, r, name);
    fprintf(out, "FORMULA_OP(%s, \"%s\", %u, %s, %s, %s, %s, %s)\n\n", name, r->schema.name,
            r->schema.n_params,
            !integers ? "TN_MASK_FLOAT"
            : floats  ? "TN_MASK_ALL"
                      : "TN_MASK_INT | TN_MASK(BOOL)",
            floats ? "f" : "none", integers ? "i" : "none",
            r->f_bool  ? "b"
            : integers ? "i"
                       : "none",
            r->refuse ? "refuse" : "none");
}

static const char macros[] =
    "#ifndef FORMULA\n#define FORMULA(op, of, result, args, value)\n#endif\n"
    "#ifndef FORMULA_ARG\n#define FORMULA_ARG(of, name, at)\n#endif\n"
    "#ifndef FORMULA_REFUSE\n#define FORMULA_REFUSE(op, args, where, why)\n#endif\n"
    "#ifndef FORMULA_OP\n#define FORMULA_OP(op, name, n_args, dtypes, f, i, b, refuse)\n#endif\n\n";

static const char about[] =
    " *   FORMULA(op, of, result, args, value)       an element of the result. of: f floats,\n"
    " *                                              i integers, and booleans as 0 and 1, b\n"
    " *                                              booleans; result: same, or bool\n"
    " *   FORMULA_REFUSE(op, args, where, why)       integers for which there is no result\n"
    " *   FORMULA_OP(op, name, n_args, dtypes, f, i, b, refuse)\n"
    " *                                              after these: what there is of them for\n"
    " *                                              floats, integers, booleans; or none\n"
    " * and FORMULA_ARG(of, name, at) in args: an element of argument number `at`. It defines the\n"
    " * macros it wants; all are undefined at the end. Functions: tools/opgen/functions.inc, and "
    "for\n"
    " * integers, which wrap around, int_add int_sub int_mul int_neg, int_shl int_shr of any "
    "count. */\n";

void write_formulas(FILE *out, const ops_library *l) {
    fprintf(out,
            "/* %s_formulas.inc - what elementwise rows of %s compute. Generated; do not edit.\n"
            " *\n * Whoever includes it gets\n%s",
            l->stem, l->stem, about);
    fputs(macros, out);
    for (const row *r = l->rows; r; r = r->next) write_row(out, r);
    fputs("#undef FORMULA\n#undef FORMULA_ARG\n#undef FORMULA_REFUSE\n#undef FORMULA_OP\n", out);
}
