/* cname.c - C spelling of names, strings and numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/cname.h"

#include <stdlib.h>
#include <string.h>

/* Keywords of C11 and C++17 that schema names can spell, macros of gnu modes, and locals of
 * wrappers. */
static const char *const taken[] = {
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "args",
    "asm",
    "atomic_cancel",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "constexpr",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "errno",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "import",
    "inline",
    "int",
    "linux",
    "long",
    "module",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "op",
    "operator",
    "opts",
    "or",
    "or_eq",
    "out",
    "outs",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "result",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unix",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
};

const char *opgen_cname_op(const char *op, char out[CNAME_BYTES]) {
    size_t n = 0;
    for (; *op && n + 1 < CNAME_BYTES; op += 1 + (strncmp(op, "::", 2) == 0))
        out[n++] = *op == '.' || *op == ':' ? '_' : *op;
    out[n] = 0;
    return out;
}

const char *opgen_cname_function(const char *op, char out[CNAME_BYTES]) {
    char name[CNAME_BYTES];
    snprintf(out, CNAME_BYTES, "%s%.*s", strstr(op, "::") ? "" : "tn_", TNI_NAME_BYTES,
             opgen_cname_op(op, name));
    return out;
}

const char *opgen_cname_own(const char *stem, const char *op, char out[2 * CNAME_BYTES]) {
    char name[CNAME_BYTES];
    opgen_cname_op(op, name);
    if (strstr(op, "::"))
        snprintf(out, (size_t)2 * CNAME_BYTES, "%s", name);
    else
        snprintf(out, (size_t)2 * CNAME_BYTES, "%.40s_%s", stem, name);
    return out;
}

const char *opgen_cname(const char *name, char out[CNAME_BYTES]) {
    bool clash = strncmp(name, "tn_", 3) == 0 || strncmp(name, "__", 2) == 0;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) clash |= strcmp(name, taken[i]) == 0;
    snprintf(out, CNAME_BYTES, "%s%s", name, clash ? "_" : "");
    return out;
}

void opgen_write_upper(FILE *f, const char *stem) {
    for (; *stem; stem++) fputc(*stem >= 'a' && *stem <= 'z' ? *stem - 'a' + 'A' : *stem, f);
}

void opgen_write_string(FILE *f, const char *text, uint64_t len) {
    fputc('"', f);
    for (uint64_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '\t')
            fputs("\\t", f);
        else if (c == '\n')
            fputs("\\n", f);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\%03o", c);
        else if (c == '"' || c == '\\' || c == '?')
            fprintf(f, "\\%c", c); /* "??=" is a trigraph */
        else
            fputc(c, f);
    }
    fputc('"', f);
}

void opgen_write_comment(FILE *f, const char *text) {
    for (size_t i = 0; text[i]; i++) {
        const unsigned char c = (unsigned char)text[i];
        fputc(c < 0x20 || c == 0x7f || c == '\\' ? ' ' : c, f);
        if ((c == '*' && text[i + 1] == '/') || (c == '/' && text[i + 1] == '*')) fputc(' ', f);
    }
}

void opgen_write_float(FILE *f, double x) {
    char text[40];
    if (x != x || x - x != 0) {
        fputs(x != x ? "__builtin_nan(\"\")" : x < 0 ? "-__builtin_inf()" : "__builtin_inf()", f);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    fprintf(f, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

void opgen_write_int(FILE *f, int64_t i) {
    if (i == INT64_MIN)
        fputs("INT64_MIN", f);
    else if (i < INT32_MIN || i > INT32_MAX)
        fprintf(f, "INT64_C(%lld)", (long long)i);
    else
        fprintf(f, "%lld", (long long)i);
}

const char *opgen_dtype_macro(tn_dtype d) {
#define ROW(index, NAME, text, ctype, class_) "TN_" #NAME,
    static const char *const macros[] = {TN_DTYPE_LIST(ROW)};
#undef ROW
    const int i = tn_dtype_index(d);
    return i < 0 ? "TN_F32" : macros[i];
}
