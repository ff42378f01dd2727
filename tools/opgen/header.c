/* header.c - the frame of NAME_ops.h: guard, one wrapper per op; and the way from a note.
 *
 * Invariant: ops are checked (schema, C names distinct) before the first byte is written.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/header.h"

#include <stdlib.h>
#include <string.h>

#include "tools/opgen/cname.h"
#include "tools/opgen/wrapper.h"

static bool valid_stem(const char *stem) {
    if (!stem || !*stem || (*stem >= '0' && *stem <= '9')) return false;
    for (; *stem; stem++)
        if (!((*stem >= 'a' && *stem <= 'z') || (*stem >= '0' && *stem <= '9') || *stem == '_'))
            return false;
    return true;
}

static void write_guard(FILE *f, const char *stem) {
    fputs("TENON_OPS_", f);
    opgen_write_upper(f, stem);
    fputs("_H\n", f);
}

/* ---- Checks ---------------------------------------------------------------------------------- */

typedef struct name_list { /* all function and type names the header will define */
    char (*names)[CNAME_BYTES + 8];
    uint32_t n;
} name_list;

static tn_status add_name(name_list *l, const char *op, const char *suffix, char *why,
                          uint64_t capacity) {
    char name[CNAME_BYTES];
    snprintf(l->names[l->n], sizeof l->names[0], "%s%s", opgen_cname_function(op, name), suffix);
    for (uint32_t i = 0; i < l->n; i++) {
        if (strcmp(l->names[i], l->names[l->n]) != 0) continue;
        snprintf(why, capacity, "op %s: the C name %s is taken by an op before it; rename one", op,
                 l->names[i]);
        return TN_ERR_INVALID;
    }
    l->n++;
    return TN_OK;
}

static tn_status check_fields(const tni_schema *s, char *why, uint64_t capacity) {
    char a[CNAME_BYTES], b[CNAME_BYTES];
    const uint32_t n = s->n_params + s->n_visible;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = i + 1; k < n; k++) {
            const char *x = i < s->n_params ? s->params[i].name : s->results[i - s->n_params].name;
            const char *y = k < s->n_params ? s->params[k].name : s->results[k - s->n_params].name;
            if (strcmp(opgen_cname(x, a), opgen_cname(y, b)) != 0) continue;
            snprintf(why, capacity, "op %s: %s and %s have the same C name %s; rename one", s->name,
                     x, y, a);
            return TN_ERR_INVALID;
        }
    }
    return TN_OK;
}

static tn_status check_inplace(const tni_schema *s, char *why, uint64_t capacity) {
    const char *cause =
        strchr(s->name, '.')                   ? "an overload has no in-place twin"
        : strlen(s->name) + 2 > TNI_NAME_BYTES ? "its name leaves no room for an underscore"
        : s->n_params == 0 || s->params[0].type != TNI_TENSOR ? "its first argument is not a Tensor"
        : s->params[0].optional                               ? "its first argument is optional"
        : s->mutates                                          ? "it changes an argument already"
        : s->n_visible != 1 || s->results[0].list || s->results[0].optional || s->results[0].alias
            ? "it does not have exactly one visible Tensor result of its own"
            : NULL;
    if (!cause) return TN_OK;
    snprintf(why, capacity, "op %s cannot be inplace: %s", s->name, cause);
    return TN_ERR_INVALID;
}

/* Row i is the in-place form, NAME_, of a row NAME before it, and takes the same options. */
static bool shares_opts(const opgen_header_op *ops, uint32_t i, const tni_schema *s) {
    tni_schema base;
    char why[256];
    const size_t n = strlen(s->name) - 1;
    if (s->n_required == s->n_params || s->name[n] != '_') return false;
    for (uint32_t k = 0; k < i; k++) {
        if (strncmp(ops[k].schema, s->name, n) != 0 || ops[k].schema[n] != '(') continue;
        return tni_schema_parse(ops[k].schema, &base, why, sizeof why) == TN_OK &&
               opgen_same_opts(&base, s);
    }
    return false;
}

static tn_status check_op(const opgen_header_op *ops, uint32_t i, name_list *names, tni_schema *s,
                          char *why, uint64_t capacity) {
    const opgen_header_op *op = &ops[i];
    char text[256], opts[TNI_NAME_BYTES];
    tn_status status = tni_schema_parse(op->schema, s, text, sizeof text);
    if (status) {
        snprintf(why, capacity, "schema '%.60s': %s", op->schema ? op->schema : "", text);
        return status;
    }
    memcpy(opts, s->name, sizeof opts);
    const size_t n = strlen(opts);
    if (n > 1 && opts[n - 1] == '_') opts[n - 1] = 0;
    if ((status = check_fields(s, why, capacity))) return status;
    if (op->inplace && (status = check_inplace(s, why, capacity))) return status;
    if ((status = add_name(names, s->name, "", why, capacity))) return status;
    if (op->inplace && (status = add_name(names, s->name, "_", why, capacity))) return status;
    if (s->n_required < s->n_params && !shares_opts(ops, i, s) &&
        (status = add_name(names, opts, "_opts", why, capacity)))
        return status;
    return s->n_visible > 1 ? add_name(names, s->name, "_result", why, capacity) : TN_OK;
}

static tn_status check_ops(const char *stem, const opgen_header_op *ops, uint32_t n_ops, char *why,
                           uint64_t capacity) {
    tni_schema schema;
    tn_status status = TN_OK;
    if (!valid_stem(stem)) {
        snprintf(why, capacity, "'%s' cannot name a header; use a-z, 0-9 and _", stem ? stem : "");
        return TN_ERR_INVALID;
    }
    name_list names = {calloc((size_t)n_ops * 4 + 1, sizeof *names.names), 0};
    if (!names.names) {
        snprintf(why, capacity, "out of memory for the names of %u ops", n_ops);
        return TN_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < n_ops && !status; i++)
        status = check_op(ops, i, &names, &schema, why, capacity);
    free(names.names);
    return status;
}

/* ---- The file -------------------------------------------------------------------------------- */

/* The row that an in-place one of the name NAME_ computes; false if there is none. */
static bool find_base(const opgen_header_op *ops, uint32_t n_ops, const tni_schema *s,
                      tni_schema *base) {
    const size_t n = strlen(s->name);
    char why[256];
    if (n < 2 || s->name[n - 1] != '_') return false;
    for (uint32_t i = 0; i < n_ops; i++)
        if (strncmp(ops[i].schema, s->name, n - 1) == 0 && ops[i].schema[n - 1] == '(')
            return tni_schema_parse(ops[i].schema, base, why, sizeof why) == TN_OK;
    return false;
}

tn_status opgen_write_header(FILE *out, const char *stem, const opgen_header_op *ops,
                             uint32_t n_ops, char *why, uint64_t capacity) {
    char none[1];
    if (!why || capacity == 0) why = none, capacity = sizeof none;
    why[0] = 0;
    tn_status status = check_ops(stem, ops, n_ops, why, capacity);
    if (status) return status;
    fprintf(
        out,
        "/* %s_ops.h - the ops of %s as C functions. Generated from their schemas; do not edit.\n",
        stem, stem);
    fputs(" *\n * Results belong to the current scope; NULL means that an error is pending. In a "
          "program, include\n"
          " * <tenon/tenon.h> before this.\n * SPDX-License-Identifier: Apache-2.0 */\n#ifndef ",
          out);
    write_guard(out, stem);
    fputs("#define ", out);
    write_guard(out, stem);
    fputs("\n#include <tenon/ops.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n", out);
    for (uint32_t i = 0; i < n_ops; i++) {
        tni_schema schema, base;
        if ((status = tni_schema_parse(ops[i].schema, &schema, why, capacity))) return status;
        const bool written = find_base(ops, n_ops, &schema, &base);
        opgen_write_wrapper(out, &ops[i], &schema, written ? &base : NULL,
                            shares_opts(ops, i, &schema));
    }
    fputs("#ifdef __cplusplus\n}\n#endif\n#endif\n", out);
    if (fflush(out) == 0 && !ferror(out)) return TN_OK;
    snprintf(why, capacity, "writing %s_ops.h failed", stem);
    return TN_ERR_IO;
}

/* ---- From a note ----------------------------------------------------------------------------- */

/* Cuts text at its next `end`; returns what follows, or NULL if there was none. */
static char *cut(char *text, char end) {
    char *p = text ? strchr(text, end) : NULL;
    if (!p) return NULL;
    *p = 0;
    return p + 1;
}

static bool has_word(const char *list, const char *word) {
    const size_t n = strlen(word);
    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == 0 || p[n] == ',')) return true;
    return false;
}

tn_status opgen_write_header_from_note(FILE *out, const char *stem, const char *note,
                                       uint64_t bytes, char *why, uint64_t capacity) {
    uint64_t length = 0, lines = 1;
    for (; length < bytes && length < TN_NOTE_MAX && note[length]; length++)
        lines += note[length] == '\n';
    char *text = malloc(length + 1);
    opgen_header_op *ops = calloc(lines, sizeof *ops);
    tn_status status = TN_ERR_NOMEM;
    uint32_t n = 0;
    if (!text || !ops) {
        if (why && capacity)
            snprintf(why, capacity, "out of memory for %llu ops", (unsigned long long)lines);
        goto done;
    }
    if (length > 0) memcpy(text, note, length);
    text[length] = 0;
    for (char *line = text, *next; line && *line; line = next) {
        next = cut(line, '\n');
        char *doc = cut(line, '\t'), *flags = cut(doc, '\t');
        cut(flags, '\t');
        ops[n++] = (opgen_header_op){line, doc ? doc : "", has_word(flags, "inplace")};
    }
    status = opgen_write_header(out, stem, ops, n, why, capacity);
done:
    free(ops);
    free(text);
    return status;
}
