/* wrapper.c - one op as a static inline function: packs its arguments into tn_values and calls
 * TN_CALL.
 *
 * Arguments without default are parameters, in schema order; those with one are fields of
 * tn_NAME_opts. A zeroed field means its default: where 0 is itself a value (numbers whose
 * default is not 0, `int?`), the field is a tn_maybe_*. Where tensors are promoted together, a
 * macro over the function lets numbers stand for them. Invariant: the wrapper always passes
 * every argument of the schema it was made from.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/wrapper.h"

#include <string.h>

#include "tools/opgen/cname.h"
#include "tools/opgen/ctype.h"

/* opts structs of sgd_ and sgd are not told apart by an underscore at the end. */
static const char *opts_name(const tni_schema *s, char out[CNAME_BYTES]) {
    opgen_cname_function(s->name, out);
    const size_t n = strlen(out);
    if (n > 1 && out[n - 1] == '_') out[n - 1] = 0;
    return out;
}

static bool has_opts(const tni_schema *s) { return s->n_required < s->n_params; }

/* ---- Types ----------------------------------------------------------------------------------- */

static void write_opts(FILE *f, const tni_schema *s) {
    char name[CNAME_BYTES], field[CNAME_BYTES];
    opts_name(s, name);
    fprintf(f, "typedef struct %s_opts { /* a zeroed field means its default */\n", name);
    for (uint32_t i = s->n_required; i < s->n_params; i++)
        fprintf(f, "    %s%s;\n", opgen_option_type(&s->params[i]),
                opgen_cname(s->params[i].name, field));
    fprintf(f, "} %s_opts;\n\n", name);
}

/* "tn_sort_result": of several results. owner NULL: the header for all; else a library that uses
 * the op of another. */
static const char *result_name(const char *owner, const tni_schema *s, char out[2 * CNAME_BYTES]) {
    char name[CNAME_BYTES];
    if (owner)
        snprintf(out, (size_t)2 * CNAME_BYTES, "%.40s_%s", owner, opgen_cname_op(s->name, name));
    else
        snprintf(out, (size_t)2 * CNAME_BYTES, "%s", opgen_cname_function(s->name, name));
    return out;
}

const char *opgen_result_type(const tni_result *r) {
    return r->list ? "tn_tensors " : "tn_tensor *";
}

void opgen_write_result(FILE *f, const char *owner, const tni_schema *s) {
    char name[2 * CNAME_BYTES], field[CNAME_BYTES];
    if (s->n_visible < 2) return;
    result_name(owner, s, name);
    fprintf(f, "typedef struct %s_result { /* NULLs on error */\n", name);
    for (uint32_t i = 0; i < s->n_visible; i++)
        fprintf(f, "    %s%s;%s\n", opgen_result_type(&s->results[i]),
                opgen_cname(s->results[i].name, field),
                s->results[i].optional ? " /* may be NULL */" : "");
    fprintf(f, "} %s_result;\n\n", name);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void write_default(FILE *f, const tni_param *p, const char *name) {
    const tn_value v = p->def;
    switch (v.tag) {
    case TN_TAG_BOOL:
        fprintf(f, "tn_bool(%s)", v.i ? "true" : "false");
        break;
    case TN_TAG_INT:
        fputs("tn_int(", f), opgen_write_int(f, v.i), fputc(')', f);
        break;
    case TN_TAG_FLOAT:
        fputs("tn_float(", f), opgen_write_float(f, v.f), fputc(')', f);
        break;
    case TN_TAG_DTYPE:
        fprintf(f, "tn_value_dtype(%s)", opgen_dtype_macro(v.dtype));
        break;
    case TN_TAG_DEVICE:
        fputs("tn_ops_cpu()", f);
        break;
    case TN_TAG_STR:
        fputs("tn_value_str(", f), opgen_write_string(f, v.str, v.aux), fprintf(f, ", %u)", v.aux);
        break;
    case TN_TAG_INTS:
        if (v.aux)
            fprintf(f, "tn_ops_ints(%s_default, %u)", name, v.aux);
        else
            fputs("tn_ops_empty(TN_TAG_INTS)", f);
        break;
    case TN_TAG_BOOLS:
        if (v.aux)
            fprintf(f, "tn_ops_bools(%s_default, %u)", name, v.aux);
        else
            fputs("tn_ops_empty(TN_TAG_BOOLS)", f);
        break;
    case TN_TAG_FLOATS:
        fputs("tn_ops_empty(TN_TAG_FLOATS)", f);
        break;
    case TN_TAG_TENSORS:
        fputs("tn_ops_empty(TN_TAG_TENSORS)", f);
        break;
    default:
        fputs(p->type == TNI_GENERATOR ? "tn_value_generator(NULL)" : "tn_value_none()", f);
    }
}

/* "opts && opts->eps.set ? tn_float(opts->eps.value) : tn_float(1e-05)" */
static void write_value(FILE *f, const tni_param *p) {
    char name[CNAME_BYTES];
    opgen_cname(p->name, name);
    const char *from = p->has_default ? "opts->" : "", *set = opgen_option_set(p),
               *make = opgen_value_maker(p);
    if (p->has_default) fputs(set ? "opts && " : "opts ", f);
    if (set) fprintf(f, "%s%s%s ", from, name, set);
    if (p->has_default || set) fputs("? ", f);
    fprintf(f, *make ? "%s(%s%s%s)" : "%s%s%s%s", make, from, name,
            opgen_option_is_maybe(p) ? ".value" : "");
    if (!p->has_default && !set) return;
    fputs(" : ", f);
    write_default(f, p, name);
}

/* ---- The function ---------------------------------------------------------------------------- */

/* owner: see result_name. */
static void write_return_type(FILE *f, const char *owner, const tni_schema *s) {
    char name[2 * CNAME_BYTES];
    if (s->n_visible == 0)
        fputs("tn_status ", f);
    else if (s->n_visible == 1)
        fputs(opgen_result_type(&s->results[0]), f);
    else
        fprintf(f, "%s_result ", result_name(owner, s, name));
}

static void write_signature(FILE *f, const tni_schema *s, const char *suffix) {
    char name[CNAME_BYTES];
    write_return_type(f, NULL, s);
    fprintf(f, "%s%s(", opgen_cname_function(s->name, name), suffix);
    for (uint32_t i = 0; i < s->n_required; i++)
        fprintf(f, "%s%s%s", i ? ", " : "", opgen_option_type(&s->params[i]),
                opgen_cname(s->params[i].name, name));
    if (has_opts(s))
        fprintf(f, "%sconst %s_opts *opts", s->n_required ? ", " : "", opts_name(s, name));
    fputs(s->n_params ? ")" : "void)", f);
}

/* "    static const int64_t shape_default[] = {1, 2};" */
static void write_default_list(FILE *f, const tni_param *p) {
    char name[CNAME_BYTES];
    const tn_value d = p->def;
    const bool ints = d.tag == TN_TAG_INTS;
    if ((!ints && d.tag != TN_TAG_BOOLS) || d.aux == 0) return;
    fprintf(f, "    static const %s %s_default[] = {", ints ? "int64_t" : "bool",
            opgen_cname(p->name, name));
    for (uint32_t k = 0; k < d.aux; k++) {
        fputs(k ? ", " : "", f);
        if (ints)
            opgen_write_int(f, d.ints[k]);
        else
            fputs(d.bools[k] ? "true" : "false", f);
    }
    fputs("};\n", f);
}

static void write_args(FILE *f, const tni_schema *s) {
    for (uint32_t i = 0; i < s->n_params; i++) write_default_list(f, &s->params[i]);
    if (s->n_params == 0) return;
    fputs("    const tn_value args[] = {\n", f);
    for (uint32_t i = 0; i < s->n_params; i++) {
        fputs("        ", f);
        write_value(f, &s->params[i]);
        fputs(",\n", f);
    }
    fputs("    };\n", f);
}

static void write_call(FILE *f, const tni_schema *s, const char *outs) {
    fprintf(f, "TN_CALL(&op, %s, %u, %s, %u)", s->n_params ? "args" : "NULL", s->n_params, outs,
            s->n_visible);
}

static void write_one_result(FILE *f, const tni_schema *s) {
    fputs("    tn_value out = tn_value_none();\n", f);
    if (!s->results[0].list) {
        fputs("    return ", f);
        write_call(f, s, "&out");
        fputs(" ? NULL : out.tensor;\n", f);
        return;
    }
    fputs("    tn_tensors result = {NULL, 0};\n    if (", f);
    write_call(f, s, "&out");
    fputs(" == TN_OK) result.ptr = out.tensors, result.n = out.aux;\n    return result;\n", f);
}

static void write_results(FILE *f, const char *owner, const tni_schema *s) {
    char name[2 * CNAME_BYTES], field[CNAME_BYTES];
    fprintf(f, "    tn_value outs[%u] = {", s->n_visible);
    for (uint32_t i = 0; i < s->n_visible; i++)
        fputs(i ? ", tn_value_none()" : "tn_value_none()", f);
    fputs("};\n", f);
    fprintf(f, "    %s_result result = {", result_name(owner, s, name));
    for (uint32_t i = 0; i < s->n_visible; i++)
        fprintf(f, "%s%s", i ? ", " : "", s->results[i].list ? "{NULL, 0}" : "NULL");
    fputs("};\n    if (", f);
    write_call(f, s, "outs");
    fputs(" != TN_OK) return result;\n", f);
    for (uint32_t i = 0; i < s->n_visible; i++) {
        opgen_cname(s->results[i].name, field);
        if (s->results[i].list)
            fprintf(f, "    result.%s.ptr = outs[%u].tensors, result.%s.n = outs[%u].aux;\n", field,
                    i, field, i);
        else
            fprintf(f, "    result.%s = outs[%u].tensor;\n", field, i);
    }
    fputs("    return result;\n", f);
}

/* The call, and what comes of it. */
static void write_outcome(FILE *f, const char *owner, const tni_schema *s) {
    if (s->n_visible == 0) {
        fputs("    return ", f);
        write_call(f, s, "NULL");
        fputs(";\n", f);
    } else if (s->n_visible == 1) {
        write_one_result(f, s);
    } else {
        write_results(f, owner, s);
    }
    fputs("}\n\n", f);
}

static void write_function(FILE *f, const tni_schema *s, const char *suffix) {
    fputs("static inline ", f);
    write_signature(f, s, suffix);
    fprintf(f, " {\n    static tn_op_ref op = {\"%s%s\", 0, 0};\n", s->name, suffix);
    write_args(f, s);
    write_outcome(f, NULL, s);
}

void opgen_write_full(FILE *f, const char *stem, const char *owner, const tni_schema *s) {
    char op[CNAME_BYTES], name[CNAME_BYTES], own[2 * CNAME_BYTES];
    const bool wide = opgen_is_wide(s);
    opgen_cname_op(s->name, op);
    fputs("static inline ", f);
    write_return_type(f, owner, s);
    fprintf(f, "op_%s(", op);
    if (wide) fprintf(f, "const %s_args *a", opgen_cname_own(stem, s->name, own));
    for (uint32_t i = 0; i < s->n_params && !wide; i++)
        fprintf(f, "%s%s%s", i ? ", " : "", opgen_full_type(&s->params[i]),
                opgen_cname(s->params[i].name, name));
    fprintf(f, ") {\n    static tn_op_ref op = {\"%s\", 0, 0};\n    const tn_value args[] = {\n",
            s->name);
    for (uint32_t i = 0; i < s->n_params; i++) {
        const char *make = opgen_full_maker(&s->params[i]);
        fprintf(f, *make ? "        %s(%s%s),\n" : "        %s%s%s,\n", make, wide ? "a->" : "",
                opgen_cname(s->params[i].name, name));
    }
    fputs("    };\n", f);
    write_outcome(f, owner, s);
}

/* ---- Numbers for tensors --------------------------------------------------------------------- */

/* The tensors an op begins with; what stands behind them may hold commas of its own. */
static uint32_t leading_tensors(const tni_schema *s) {
    uint32_t n = 0;
    while (n < s->n_required && s->params[n].type == TNI_TENSOR) n++;
    return n;
}

/* Tensor i is read, and promoted together with another: a number may stand in its place. */
static bool promotes(const tni_schema *s, uint32_t i) {
    const tni_param *p = &s->params[i];
    if (!p->variable || p->optional || p->mutated) return false;
    for (uint32_t k = leading_tensors(s); k-- > 0;)
        if (k != i && s->params[k].variable == p->variable) return true;
    return false;
}

/* base: what an op computes that writes its first argument, or NULL. The number may stand where
 * it may in base: the row of eq_ gives its arguments no type. */
static bool takes_number(const tni_schema *s, const tni_schema *base, uint32_t i) {
    if (!base) return promotes(s, i);
    return i > 0 && i < base->n_params && !s->params[i].mutated && promotes(base, i);
}

/* "#define tn_mul(a, b) tn_mul(TN_OPERAND(a), TN_OPERAND(b))" */
static void write_number_form(FILE *f, const tni_schema *s, const tni_schema *base,
                              const char *suffix) {
    const uint32_t n = leading_tensors(s);
    char name[CNAME_BYTES], op[CNAME_BYTES];
    bool any = false;
    for (uint32_t i = 0; i < n; i++) any = any || takes_number(s, base, i);
    if (!any) return;
    fprintf(f, "#define %s%s(", opgen_cname_function(s->name, op), suffix);
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%s%s", i ? ", " : "", opgen_cname(s->params[i].name, name));
    fprintf(f, "%s) %s%s(", n < s->n_params ? ", ..." : "", op, suffix);
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, takes_number(s, base, i) ? "%sTN_OPERAND(%s)" : "%s%s", i ? ", " : "",
                opgen_cname(s->params[i].name, name));
    fprintf(f, "%s)\n\n", n < s->n_params ? ", __VA_ARGS__" : "");
}

bool opgen_same_opts(const tni_schema *a, const tni_schema *b) {
    const uint32_t n = a->n_params - a->n_required;
    if (n != b->n_params - b->n_required) return false;
    for (uint32_t i = 0; i < n; i++) {
        const tni_param *p = &a->params[a->n_required + i], *q = &b->params[b->n_required + i];
        if (strcmp(p->name, q->name) != 0 ||
            strcmp(opgen_option_type(p), opgen_option_type(q)) != 0)
            return false;
    }
    return true;
}

void opgen_write_wrapper(FILE *f, const opgen_header_op *op, const tni_schema *s,
                         const tni_schema *base, bool shares_opts) {
    char name[CNAME_BYTES];
    if (has_opts(s) && !shares_opts) write_opts(f, s);
    opgen_write_result(f, NULL, s);
    fputs("/* ", f);
    if (op->doc && op->doc[0]) opgen_write_comment(f, op->doc), fputs("\n * ", f);
    opgen_write_comment(f, op->schema);
    fputs(" */\n", f);
    write_function(f, s, "");
    write_number_form(f, s, base, "");
    if (!op->inplace) return;
    fprintf(f, "/* %s, written into %s, which is returned. */\n",
            opgen_cname_function(s->name, name), s->params[0].name);
    write_function(f, s, "_");
    write_number_form(f, s, s, "_");
}

/* ---- One call, for people -------------------------------------------------------------------- */

/* A number that is not 0: the default, if it is one. */
static void write_sample_number(FILE *f, const tni_param *p) {
    if (p->type == TNI_FLOAT)
        opgen_write_float(f, p->def.tag == TN_TAG_FLOAT && p->def.f != 0 ? p->def.f : 0.5);
    else
        opgen_write_int(f, p->def.tag == TN_TAG_INT && p->def.i != 0 ? p->def.i : 1);
}

/* What an option may be set to. Tensors and streams have the option's name. */
static void write_sample_value(FILE *f, const tni_param *p) {
    char name[CNAME_BYTES];
    opgen_cname(p->name, name);
    const tn_value d = p->def;
    switch (p->type) {
    case TNI_INT:
    case TNI_FLOAT:
        write_sample_number(f, p);
        break;
    case TNI_BOOL:
        fputs(d.tag == TN_TAG_BOOL && d.i ? "false" : "true", f);
        break;
    case TNI_INTS:
        fputs("TN_INTS(", f);
        for (uint32_t i = 0; d.tag == TN_TAG_INTS && i < d.aux; i++)
            fputs(i ? ", " : "", f), opgen_write_int(f, d.ints[i]);
        fputs(d.tag == TN_TAG_INTS && d.aux ? ")" : "0)", f);
        break;
    case TNI_BOOLS:
        fputs("TN_BOOLS(", f);
        for (int32_t i = 0; i < (p->count > 0 ? p->count : 1); i++) fputs(i ? ", true" : "true", f);
        fputs(")", f);
        break;
    case TNI_FLOATS:
        fputs("{(const double[]){1}, 1}", f);
        break;
    case TNI_STR:
        if (d.tag == TN_TAG_STR)
            opgen_write_string(f, d.str, d.aux);
        else
            fputs("\"\"", f);
        break;
    case TNI_DTYPE:
        fputs(d.tag == TN_TAG_DTYPE ? opgen_dtype_macro(d.dtype) : "TN_F32", f);
        break;
    case TNI_DEVICE:
        fputs("{TN_CPU, 0}", f);
        break;
    case TNI_SCALAR:
        fputs("tn_float(1)", f);
        break;
    case TNI_TENSORS:
        fprintf(f, "TN_TENSORS(%s)", name);
        break;
    default:
        fputs(name, f);
    }
}

static void write_sample_call(FILE *f, const tni_schema *s, bool options) {
    char name[CNAME_BYTES];
    fprintf(f, "%s(", opgen_cname_function(s->name, name));
    for (uint32_t i = 0; i < s->n_required; i++)
        fprintf(f, "%s%s", i ? ", " : "", opgen_cname(s->params[i].name, name));
    fputs(s->n_required ? ", " : "", f);
    if (options) fprintf(f, "&(%s_opts){", opts_name(s, name));
    for (uint32_t i = s->n_required; i < s->n_params && options; i++) {
        const bool maybe = opgen_option_is_maybe(&s->params[i]);
        fprintf(f, "%s.%s = %s", i > s->n_required ? ", " : "",
                opgen_cname(s->params[i].name, name), maybe ? "TN_SET(" : "");
        write_sample_value(f, &s->params[i]);
        fputs(maybe ? ")" : "", f);
    }
    fputs(options ? "})\n" : "NULL)\n", f);
}

void opgen_write_prototype(FILE *f, const tni_schema *s) {
    write_signature(f, s, "");
    fputs(";\n", f);
}

void opgen_write_types(FILE *f, const tni_schema *s) {
    if (has_opts(s)) write_opts(f, s);
    opgen_write_result(f, NULL, s);
}

void opgen_write_samples(FILE *f, const tni_schema *s) {
    if (!has_opts(s)) return;
    write_sample_call(f, s, false);
    write_sample_call(f, s, true);
}
