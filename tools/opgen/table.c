/* table.c - what a plugin includes once: `static const tn_op NAME_ops[]` and all it points to.
 *
 * Expressions become nested calls over tn_value, read from the inside out like the row they come
 * from. Nothing here can fail but the calls themselves; an error makes every later call a no-op and
 * its value a NULL tensor.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/table.h"

#include <string.h>

#include "tools/opgen/cname.h"
#include "tools/opgen/rows.h"
#include "tools/opgen/schemas.h"

typedef struct writer {
    FILE *out;
    const ops_library *file;
    const row *row;
    bool gradient;
    bool wide;  /* tensors that a gradient reads are taken as f32 if they have 16 bits */
    int indent; /* of the call that is being written */
} writer;

/* ---- Expressions ----------------------------------------------------------------------------- */

static void write_expr(writer *, const expr *, const tni_param *wanted);

static void write_saved(writer *w, const char *name) {
    fprintf(w->out, w->wide ? "tnk_wide(tnk_value_saved(c, \"%s\"))" : "tnk_value_saved(c, \"%s\")",
            name);
}

static void write_argument(writer *w, const expr *e) {
    const tni_param *p = &w->row->schema.params[e->index];
    if (!w->gradient)
        fprintf(w->out, "args[%u]", e->index);
    else if (p->type == TNI_TENSOR)
        write_saved(w, p->name);
    else
        fprintf(w->out, "tnk_value_%s(c, \"%s\")", p->type == TNI_TENSORS ? "saved_list" : "arg",
                p->name);
}

static void write_literal(writer *w, const expr *e, const tni_param *wanted) {
    const tn_value v = e->value;
    switch (e->kind) {
    case EXPR_NUMBER:
        fputs(v.tag == TN_TAG_FLOAT || wanted->type == TNI_FLOAT ? "tn_float(" : "tn_int(", w->out);
        if (v.tag == TN_TAG_FLOAT)
            opgen_write_float(w->out, v.f);
        else
            opgen_write_int(w->out, v.i);
        fputc(')', w->out);
        break;
    case EXPR_BOOL:
        fprintf(w->out, "tn_bool(%s)", v.i ? "true" : "false");
        break;
    case EXPR_DTYPE:
        fprintf(w->out, "tn_value_dtype(%s)", opgen_dtype_macro(v.dtype));
        break;
    case EXPR_STR:
        fputs("tn_value_str(", w->out), opgen_write_string(w->out, v.str, v.aux),
            fprintf(w->out, ", %u)", v.aux);
        break;
    default:
        fputs("tn_value_none()", w->out);
        break;
    }
}

static const struct list_kind { /* by the type of an entry */
    tni_type item;
    const char *name, *type, *member;
} list_kinds[] = {
    [TNI_TENSORS] = {TNI_TENSOR, "tensors", "tn_tensor *const", ".tensor"},
    [TNI_INTS] = {TNI_INT, "ints", "const int64_t", ".i"},
    [TNI_FLOATS] = {TNI_FLOAT, "floats", "const double", ".f"},
    [TNI_BOOLS] = {TNI_BOOL, "bools", "const bool", ".i != 0"},
};

/* One entry of a list: the C value inside its tn_value. */
static void write_item(writer *w, const expr *e, const tni_param *wanted, const char *member) {
    if (e->kind == EXPR_NUMBER && wanted->type != TNI_TENSOR) {
        if (e->value.tag == TN_TAG_FLOAT)
            opgen_write_float(w->out, e->value.f);
        else
            opgen_write_int(w->out, e->value.i);
        return;
    }
    write_expr(w, e, wanted);
    fputs(member, w->out);
}

static void write_list(writer *w, const expr *e, const tni_param *wanted) {
    const struct list_kind *k = &list_kinds[wanted->type];
    tni_param item = *wanted;
    item.type = k->item;
    if (e->n_items == 0) {
        fprintf(w->out, "tn_value_%s((tn_%s){NULL, 0})", k->name, k->name);
        return;
    }
    fprintf(w->out, "tn_value_%s((tn_%s){(%s[]){", k->name, k->name, k->type);
    for (uint32_t i = 0; i < e->n_items; i++) {
        if (i) fputs(", ", w->out);
        write_item(w, e->items[i], &item, k->member);
    }
    fprintf(w->out, "}, %u})", e->n_items);
}

static bool has_calls(const expr *e) {
    for (uint32_t i = 0; i < e->n_items; i++)
        if (e->items[i]->kind == EXPR_CALL || has_calls(e->items[i])) return true;
    return false;
}

/* Calls within calls start a line each. */
static void write_call(writer *w, const expr *e) {
    char name[CNAME_BYTES];
    const bool lines = has_calls(e);
    fprintf(w->out, "tnk_call(&%s_ref_%s, ", w->file->stem, opgen_cname_op(e->name, name));
    fputs(e->n_items ? "(const tn_value[]){" : "NULL", w->out);
    w->indent += 4;
    for (uint32_t i = 0; i < e->n_items; i++) {
        if (i) fputs(lines ? "," : ", ", w->out);
        if (lines) fprintf(w->out, "\n%*s", w->indent, "");
        write_expr(w, e->items[i], &e->callee->params[i]);
    }
    w->indent -= 4;
    fprintf(w->out, "%s, %u)", e->n_items ? "}" : "", e->n_items);
}

static void write_expr(writer *w, const expr *e, const tni_param *wanted) {
    bool list;
    const bool number = wanted->type == TNI_TENSOR && e->kind != EXPR_NONE &&
                        e->kind != EXPR_CALL && !is_tensor_expr(w->row, e, &list);
    if (number) fputs("tnk_value_scalar(", w->out);
    switch (e->kind) {
    case EXPR_CALL:
        write_call(w, e);
        break;
    case EXPR_LIST:
        write_list(w, e, wanted);
        break;
    case EXPR_ARGUMENT:
        write_argument(w, e);
        break;
    case EXPR_GRAD:
        fprintf(w->out, w->wide ? "tnk_wide(tnk_value_grad(c, %u))" : "tnk_value_grad(c, %u)",
                e->index);
        break;
    case EXPR_RESULT:
        write_saved(w, w->row->schema.results[e->index].name);
        break;
    default:
        write_literal(w, e, wanted);
        break;
    }
    if (number) fputc(')', w->out);
}

/* ---- Functions ------------------------------------------------------------------------------- */

static void write_derivative(writer *w, const row *r) {
    char name[CNAME_BYTES];
    w->row = r, w->gradient = true, w->indent = 8;
    fprintf(w->out, "static void %s_d_%s(tn_grad_ctx *c) {\n", w->file->stem,
            opgen_cname_op(r->schema.name, name));
    bool any = false;
    for (uint32_t i = 0; i < r->schema.n_params; i++) {
        if (!r->grads[i]) continue;
        const char *arg = r->schema.params[i].name;
        any = true;
        fprintf(w->out,
                "    if (tn_plugin_ops->grad_needs(c, \"%s\"))\n        tnk_set_grad(c, \"%s\", ",
                arg, arg);
        w->wide = strcmp(r->form, "pointwise") == 0 && has_calls(r->grads[i]);
        write_expr(w, r->grads[i], &r->schema.params[i]);
        fputs(");\n", w->out);
    }
    w->wide = false;
    fputs(any ? "}\n\n" : "    (void)c;\n}\n\n", w->out);
}

static void write_decomposition(writer *w, const row *r) {
    char name[CNAME_BYTES];
    w->row = r, w->gradient = false, w->indent = 4;
    const tni_param wanted = {.type = r->schema.results[0].list ? TNI_TENSORS : TNI_TENSOR};
    fprintf(w->out,
            "static tn_status %s_is_%s(const tn_value *args, uint32_t n_args, tn_value *outs, "
            "uint32_t n_outs) {\n    (void)args, (void)n_args, (void)n_outs;\n    outs[0] = ",
            w->file->stem, opgen_cname_op(r->schema.name, name));
    write_expr(w, r->is, &wanted);
    fputs(";\n    return tn_plugin_ops->error();\n}\n\n", w->out);
}

static bool calls(const expr *e, const char *op) {
    if (!e) return false;
    bool found = e->kind == EXPR_CALL && strcmp(e->name, op) == 0;
    for (uint32_t i = 0; i < e->n_items; i++) found |= calls(e->items[i], op);
    return found;
}

static bool is_called(const ops_library *f, const char *op) {
    bool found = false;
    for (const row *r = f->rows; r; r = r->next) {
        found |= calls(r->is, op);
        for (uint32_t i = 0; i < TNI_MAX_ARGS; i++) found |= calls(r->grads[i], op);
    }
    return found;
}

static void write_refs(FILE *out, const ops_library *f) {
    char name[CNAME_BYTES];
    bool any = false;
    for (const row *r = f->rows; r; r = r->next) {
        if (!is_called(f, r->schema.name)) continue;
        fprintf(out, "static tn_op_ref %s_ref_%s = {\"%s\", 0, 0};\n", f->stem,
                opgen_cname_op(r->schema.name, name), r->schema.name);
        any = true;
    }
    if (any) fputc('\n', out);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void write_text(FILE *out, const char *field, const char *text) {
    fprintf(out, "        .%s = ", field);
    if (text)
        opgen_write_string(out, text, strlen(text));
    else
        fputs("NULL", out);
    fputs(",\n", out);
}

static void write_traits(FILE *out, uint32_t bits) {
    static const struct {
        uint32_t bit;
        const char *name;
    } traits[] = {
        {TN_OP_RANDOM, "RANDOM"},
        {TN_OP_VIEW, "VIEW"},
        {TN_OP_DYNAMIC, "DYNAMIC"},
        {TN_OP_INPLACE, "INPLACE"},
        {TN_OP_CAPTURE_SAFE, "CAPTURE_SAFE"},
        {TN_OP_WIDE, "WIDE"},
    };
    const char *before = "        .traits = ";
    for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
        if (!(bits & traits[i].bit)) continue;
        fprintf(out, "%sTN_OP_%s", before, traits[i].name);
        before = " | ";
    }
    if (bits) fputs(",\n", out);
}

static void write_keep(FILE *out, const row *r) {
    const char *before = "";
    fputs("        .keep = \"", out);
    for (uint32_t i = 0; i < r->schema.n_params; i++) {
        if (!(r->keep_args >> i & 1)) continue;
        fprintf(out, "%s%s", before, r->schema.params[i].name);
        before = ":";
        for (uint32_t k = 0; k < r->schema.n_params; k++) {
            if (!(r->readers[i] >> k & 1)) continue;
            fprintf(out, "%s%s", before, r->schema.params[k].name);
            before = "+";
        }
        before = ",";
    }
    for (uint32_t i = 0; i < r->schema.n_results; i++) {
        if (!(r->keep_results >> i & 1)) continue;
        fprintf(out, "%s%s", before, r->schema.results[i].name);
        before = ",";
    }
    fputs("\",\n", out);
}

static void write_row(FILE *out, const ops_library *f, const row *r) {
    char name[CNAME_BYTES];
    opgen_cname_op(r->schema.name, name);
    fputs("    {\n        .size = sizeof(tn_op),\n", out);
    write_traits(out, r->traits);
    write_text(out, "schema", r->schema_text);
    write_text(out, "contract", r->contract ? r->contract : "");
    write_text(out, "form", r->form);
    write_text(out, "shape_rule", r->rule);
    write_keep(out, r);
    write_text(out, "no_grad", r->none);
    write_text(out, "samples", r->samples ? r->samples : "");
    write_text(out, "doc", r->doc);
    if (r->shape_fn) fprintf(out, "        .shape = %s,\n", r->shape_fn);
    if (r->derivative_fn || r->n_grads)
        fprintf(out, "        .derivative = %s_d_%s,\n", f->stem, name);
    if (r->decompose_fn || r->is) fprintf(out, "        .decompose = %s_is_%s,\n", f->stem, name);
    fputs("    },\n", out);
}

/* Lines of the note: see tools/opgen/header.h. */
static void write_note(FILE *out, const ops_library *f) {
    fprintf(out, "TN_NOTE(%s_schemas, TN_NOTE_SCHEMAS,", f->stem);
    for (const row *r = f->rows; r; r = r->next) {
        if (r->is_use) continue;
        const char *end = r->traits & TN_OP_INPLACE ? "\tinplace\n" : "\t\n";
        fputs("\n        ", out), opgen_write_string(out, r->schema_text, strlen(r->schema_text));
        fputs(" \"\\t\" ", out), opgen_write_string(out, r->doc, strlen(r->doc));
        fputc(' ', out), opgen_write_string(out, end, strlen(end));
    }
    fputs(");\n\n", out);
}

void write_table(FILE *out, const ops_library *f) {
    writer w = {.out = out, .file = f};
    fprintf(out,
            "/* %s_table.inc - the rows of %s. Generated; do not edit. Include it once, in the "
            "file with\n"
            " * TN_PLUGIN, and register: host->add_ops(self, %s_ops, %s_ops_count, sizeof "
            "*%s_ops). */\n\n",
            f->stem, f->stem, f->stem, f->stem, f->stem);
    fputs("#pragma GCC diagnostic push\n" /* the note is one long string */
          "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n\n",
          out);
    if (f->rows_apart)
        fprintf(out, "#include \"%s_rows.h\"\n\n", f->stem);
    else
        write_rows(out, f), fputc('\n', out);
    if (!f->schemas_apart) write_schemas(out, f), fputc('\n', out);
    write_refs(out, f);
    for (const row *r = f->rows; r; r = r->next) {
        if (r->n_grads) write_derivative(&w, r);
        if (r->is) write_decomposition(&w, r);
        if (r->derivative_fn) write_derivative_adapter(out, f, r);
        if (r->decompose_fn) write_decompose_adapter(out, f, r);
    }
    fprintf(out, "static const tn_op %s_ops[] = {\n", f->stem);
    for (const row *r = f->rows; r; r = r->next)
        if (!r->is_use) write_row(out, f, r);
    fprintf(out, "};\nenum { %s_ops_count = sizeof %s_ops / sizeof *%s_ops };\n\n", f->stem,
            f->stem, f->stem);
    write_note(out, f);
    fputs("#pragma GCC diagnostic pop\n", out);
}
