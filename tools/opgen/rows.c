/* rows.c - the C side of rows that name functions.
 *
 * A decomposition gets its arguments, and returns its results, as any C function would. A derivative
 * gets its context by a type that has a member for each name its row lets it ask for; there is no
 * object of that type, the macros of <tenon/kit_ops.h> look at members without reading them. It asks
 * when it needs something, and is not given all: what is unpacked for nothing would cost, call hooks,
 * and fail where the value was changed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/rows.h"

#include <string.h>

#include "tools/opgen/cname.h"
#include "tools/opgen/ctype.h"
#include "tools/opgen/wrapper.h"

typedef const char *(*function_of)(const row *);
static const char *shape_of(const row *r) { return r->shape_fn; }
static const char *derivative_of(const row *r) { return r->derivative_fn; }
static const char *decompose_of(const row *r) { return r->decompose_fn; }

/* Is r the first row that names this function? Each is written once. */
static bool is_first(const ops_library *l, const row *r, function_of get) {
    const row *q = l->rows;
    while (q != r && !(get(q) && strcmp(get(q), get(r)) == 0)) q = q->next;
    return q == r;
}

/* ---- Decompositions -------------------------------------------------------------------------- */

/* What a decomposition returns. Several results come in a struct: that of the wrapper, or one with
 * what is saved as well. */
static void write_result_type(FILE *f, const ops_library *l, const tni_schema *s) {
    char name[2 * CNAME_BYTES];
    if (s->n_results == 0)
        fputs("tn_status ", f);
    else if (s->n_results == 1)
        fputs(opgen_result_type(&s->results[0]), f);
    else if (s->n_results == s->n_visible)
        fprintf(f, "%s_result ", opgen_cname_function(s->name, name));
    else
        fprintf(f, "%s_results ", opgen_cname_own(l->stem, s->name, name));
}

static void write_results_struct(FILE *f, const ops_library *l, const tni_schema *s) {
    char name[2 * CNAME_BYTES], field[CNAME_BYTES];
    if (s->n_results < 2 || s->n_results == s->n_visible) return;
    opgen_cname_own(l->stem, s->name, name);
    fprintf(f, "typedef struct %s_results { /* with what is saved; NULLs on error */\n", name);
    for (uint32_t i = 0; i < s->n_results; i++)
        fprintf(f, "    %s%s;%s\n", opgen_result_type(&s->results[i]),
                opgen_cname(s->results[i].name, field),
                s->results[i].optional ? " /* may be NULL */" : "");
    fprintf(f, "} %s_results;\n", name);
}

/* "tn_tensor *x, int64_t dim", or the struct of many. */
static void write_parameters(FILE *f, const ops_library *l, const tni_schema *s) {
    char name[2 * CNAME_BYTES];
    if (opgen_is_wide(s)) fprintf(f, "const %s_args *", opgen_cname_own(l->stem, s->name, name));
    for (uint32_t i = 0; i < s->n_params && !opgen_is_wide(s); i++)
        fprintf(f, "%s%s%s", i ? ", " : "", opgen_full_type(&s->params[i]),
                opgen_cname(s->params[i].name, name));
    if (s->n_params == 0) fputs("void", f);
}

static void write_decomposition_of(FILE *f, const ops_library *l, const row *r) {
    write_results_struct(f, l, &r->schema);
    write_result_type(f, l, &r->schema);
    fprintf(f, "%s(", r->decompose_fn);
    write_parameters(f, l, &r->schema);
    fputs(");\n", f);
}

static void write_unpacked(FILE *f, const tni_schema *s, const char *between) {
    for (uint32_t i = 0; i < s->n_params; i++) {
        const char *take = opgen_full_taker(&s->params[i]);
        fprintf(f, *take ? "%s%s(args[%u])" : "%s%sargs[%u]", i ? between : "", take, i);
    }
}

static void write_body_call(FILE *f, const row *r) {
    fprintf(f, "%s(", r->decompose_fn);
    if (opgen_is_wide(&r->schema))
        fputs("&a", f);
    else
        write_unpacked(f, &r->schema, ", ");
    fputs(");\n", f);
}

static void write_given(FILE *f, const tni_schema *s) {
    char name[CNAME_BYTES];
    if (s->n_results == 1)
        fprintf(f, "    outs[0] = tn_value_tensor%s(y);\n", s->results[0].list ? "s" : "");
    for (uint32_t i = 0; i < s->n_results && s->n_results > 1; i++)
        fprintf(f, "    outs[%u] = tn_value_tensor%s(y.%s);\n", i, s->results[i].list ? "s" : "",
                opgen_cname(s->results[i].name, name));
    fputs("    return tnk_pending();\n}\n\n", f);
}

void write_decompose_adapter(FILE *f, const ops_library *l, const row *r) {
    const tni_schema *s = &r->schema;
    char name[CNAME_BYTES], own[2 * CNAME_BYTES];
    opgen_cname_op(s->name, name);
    fprintf(f,
            "static tn_status %s_is_%s(const tn_value *args, uint32_t n_args, tn_value *outs, "
            "uint32_t n_outs) {\n    (void)args, (void)n_args, (void)outs, (void)n_outs;\n",
            l->stem, name);
    if (opgen_is_wide(s)) {
        fprintf(f, "    const %s_args a = {\n        ", opgen_cname_own(l->stem, s->name, own));
        write_unpacked(f, s, ",\n        ");
        fputs(",\n    };\n", f);
    }
    if (s->n_results == 0) {
        fputs("    return ", f);
        write_body_call(f, r);
        fputs("}\n\n", f);
        return;
    }
    fputs("    ", f);
    write_result_type(f, l, s);
    fputs("y = ", f);
    write_body_call(f, r);
    write_given(f, s);
}

/* ---- Derivatives ----------------------------------------------------------------------------- */

/* What one name means to a derivative: as the member of one of three groups. */
typedef struct asked {
    const char *name, *type; /* type NULL: not in this group */
} asked;

typedef asked (*group)(const row *, uint32_t i); /* i: arguments first, then results */

static uint32_t n_names(const row *r) { return r->schema.n_params + r->schema.n_results; }

static asked saved(const row *r, uint32_t i) {
    const tni_schema *s = &r->schema;
    if (i < s->n_params)
        return (asked){s->params[i].name,
                       r->keep_args >> i & 1 ? opgen_full_type(&s->params[i]) : NULL};
    const tni_result *y = &s->results[i - s->n_params];
    const bool kept = r->keep_results >> (i - s->n_params) & 1;
    return (asked){y->name, !kept ? NULL : y->list ? "tn_tensors " : "tn_tensor *"};
}

static bool is_tensor(const tni_param *p) {
    return p->type == TNI_TENSOR || p->type == TNI_TENSORS;
}

static asked tensor(const row *r, uint32_t i) {
    const tni_param *p = i < r->schema.n_params ? &r->schema.params[i] : NULL;
    return p && is_tensor(p) ? (asked){p->name, opgen_full_type(p)} : (asked){NULL, NULL};
}

static asked argument(const row *r, uint32_t i) {
    const tni_param *p = i < r->schema.n_params ? &r->schema.params[i] : NULL;
    return p && !is_tensor(p) ? (asked){p->name, opgen_full_type(p)} : (asked){NULL, NULL};
}

/* The type by which every row that names this derivative has the name, or NULL. Rows that differ
 * have a value in common, if anything. */
static const char *common_type(const ops_library *l, const row *r, group of, asked a) {
    const char *type = a.type;
    for (const row *q = l->rows; q && type; q = q->next) {
        if (q == r || !q->derivative_fn || strcmp(q->derivative_fn, r->derivative_fn) != 0)
            continue;
        const char *other = NULL;
        for (uint32_t i = 0; i < n_names(q); i++) {
            const asked b = of(q, i);
            if (b.type && strcmp(a.name, b.name) == 0) other = b.type;
        }
        if (!other || strcmp(other, type) != 0) type = other && of == argument ? "tn_value " : NULL;
    }
    return type;
}

/* On one line, or, of a row with many, one name to a line. */
static void write_group(FILE *f, const ops_library *l, const row *r, group of, const char *name) {
    const bool wide = opgen_is_wide(&r->schema);
    const char *between = wide ? "\n        " : " ";
    bool any = false;
    for (uint32_t i = 0; i < n_names(r); i++) {
        const asked a = of(r, i);
        const char *type = common_type(l, r, of, a);
        if (!type) continue;
        fprintf(f, "%s%s%s%s;", any ? "" : "    struct {", between, type, a.name);
        any = true;
    }
    if (any) fprintf(f, "%s} %s;\n", wide ? "\n    " : " ", name);
}

static void write_derivative_of(FILE *f, const ops_library *l, const row *r) {
    const char *name = r->derivative_fn;
    fprintf(f, "typedef struct %s_ctx {\n", name);
    write_group(f, l, r, tensor, "tensor");
    write_group(f, l, r, saved, "saved");
    write_group(f, l, r, argument, "arg");
    fprintf(f, "} %s_ctx;\nvoid %s(%s_ctx *);\n", name, name, name);
}

void write_derivative_adapter(FILE *f, const ops_library *l, const row *r) {
    char name[CNAME_BYTES];
    fprintf(f, "static void %s_d_%s(tn_grad_ctx *c) { %s((%s_ctx *)c); }\n", l->stem,
            opgen_cname_op(r->schema.name, name), r->derivative_fn, r->derivative_fn);
}

/* ---- The file -------------------------------------------------------------------------------- */

/* Without options the wrapper takes all arguments; but those of another library are not here. */
static bool has_full_call(const row *r) {
    return r->is_use || r->schema.n_required < r->schema.n_params;
}

/* The arguments of a row that has many: a body gets them so, and a call in full is given them. */
static void write_args_struct(FILE *f, const ops_library *l, const row *r) {
    const tni_schema *s = &r->schema;
    char name[2 * CNAME_BYTES], field[CNAME_BYTES];
    if (!opgen_is_wide(s) || (!r->decompose_fn && !has_full_call(r))) return;
    fprintf(f, "typedef struct %s_args {\n", opgen_cname_own(l->stem, s->name, name));
    for (uint32_t i = 0; i < s->n_params; i++)
        fprintf(f, "    %s%s;\n", opgen_full_type(&s->params[i]),
                opgen_cname(s->params[i].name, field));
    fprintf(f, "} %s_args;\n\n", name);
}

/* A heading before the first of its kind. */
static void write_heading(FILE *f, bool *written, const char *text) {
    if (!*written) fprintf(f, "/* ---- %s ---- */\n\n", text);
    *written = true;
}

static void write_shape_rules(FILE *f, const ops_library *l) {
    bool any = false;
    for (const row *r = l->rows; r; r = r->next) {
        if (!r->shape_fn || !is_first(l, r, shape_of)) continue;
        write_heading(f, &any, "Shape rules");
        fprintf(f, "tn_status %s(tn_infer *);\n", r->shape_fn);
    }
    if (any) fputc('\n', f);
}

static void write_derivatives(FILE *f, const ops_library *l) {
    bool any = false;
    for (const row *r = l->rows; r; r = r->next) {
        if (!r->derivative_fn || !is_first(l, r, derivative_of)) continue;
        write_heading(f, &any,
                      "Derivatives: what they may ask (TNK_SAVED, TNK_ARG, ...). No object has "
                      "these types");
        write_derivative_of(f, l, r);
    }
    if (any) fputc('\n', f);
}

static void write_decompositions(FILE *f, const ops_library *l) {
    bool any = false;
    for (const row *r = l->rows; r; r = r->next) {
        if (!r->decompose_fn || !is_first(l, r, decompose_of)) continue;
        write_heading(f, &any, "Decompositions");
        write_decomposition_of(f, l, r);
    }
    if (any) fputc('\n', f);
}

static void write_full_calls(FILE *f, const ops_library *l) {
    bool any = false;
    for (const row *r = l->rows; r; r = r->next) {
        if (!has_full_call(r)) continue;
        write_heading(f, &any,
                      "Calls with all arguments, of ops with options and of other libraries");
        /* The header of the other library, which a C file may include too, has tn_NAME_result. */
        if (r->is_use) opgen_write_result(f, l->stem, &r->schema);
        opgen_write_full(f, l->stem, r->is_use ? l->stem : NULL, &r->schema);
    }
}

void write_rows(FILE *f, const ops_library *l) {
    fprintf(
        f,
        "/* %s_rows.h - for the C files of the library: the functions that rows name, and calls "
        "in full.\n * Generated; do not edit. SPDX-License-Identifier: Apache-2.0 */\n#ifndef "
        "TENON_ROWS_",
        l->stem);
    opgen_write_upper(f, l->stem);
    fputs("_H\n#define TENON_ROWS_", f);
    opgen_write_upper(f, l->stem);
    fprintf(f,
            "_H\n\n#include <tenon/kit_ops.h>\n\n#include \"%s_ops.h\"\n\n"
            "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n",
            l->stem);
    for (const row *r = l->rows; r; r = r->next) write_args_struct(f, l, r);
    write_shape_rules(f, l);
    write_derivatives(f, l);
    write_decompositions(f, l);
    write_full_calls(f, l);
    fputs("#ifdef __cplusplus\n}\n#endif\n#endif\n", f);
}
