/* ops.c - `tenon ops`: the ops that are registered, and who computes them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/inspect.h>

#include "tools/command/ccall.h"
#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/screen.h"
#include "tools/command/suggest.h"

enum { MOST_PROVIDERS = MOST_COLUMNS - 2, NAME_BYTES = 96 }; /* of the matrix; of "plugin/name" */

/* How its gradient comes about, in a word. */
static const char *gradient(const tn_op_info *op) {
    return op->has_derivative      ? "yes"
           : op->no_grad           ? "none"
           : op->has_decomposition ? "composed"
                                   : "none";
}

/* In place of a provider's name where there is none. */
static const char *otherwise(const tn_op_info *op) {
    if (op->traits & TN_OP_VIEW) return "(a view: no bytes move)";
    return op->has_decomposition ? "(composed)" : "(nobody)";
}

static const char *providers(const tn_op_info *op) {
    const char *list = tn_op_providers(op->name, "cpu");
    return list ? list : "";
}

/* Takes the next name off a list "a,b"; false at its end. */
static bool next_name(const char **list, char name[NAME_BYTES]) {
    const size_t n = strcspn(*list, ",");
    if (n == 0) return false;
    snprintf(name, NAME_BYTES, "%.*s", (int)n, *list);
    *list += n + ((*list)[n] != 0);
    return true;
}

static json_t *names_json(const char *list) {
    json_t *names = json_array();
    for (char name[NAME_BYTES]; next_name(&list, name);)
        json_array_append_new(names, json_text(name));
    return names;
}

static json_t *c_json(const tn_op_info *op) {
    c_call c;
    char header[NAME_BYTES + 8];
    if (!c_call_make(op->schema, &c)) return NULL;
    snprintf(header, sizeof header, "%s_ops.h", op->plugin);
    json_t *node = json_pack("{s:o, s:o, s:o, s:o}", "header", json_text(header), "prototype",
                             json_text(c.prototype), "types", json_text(c.types), "samples",
                             json_text(c.samples));
    c_call_free(&c);
    return node;
}

static json_t *op_json(const tn_op_info *op) {
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:b, s:{s:o}, s:o, s:o}", "name",
                     json_text(op->name), "schema", json_text(op->schema), "doc",
                     json_text(op->doc), "plugin", json_text(op->plugin), "gradient", gradient(op),
                     "no_gradient_because", json_text(op->no_grad), "decomposes",
                     op->has_decomposition, "providers", "cpu", names_json(providers(op)),
                     "samples", json_text(op->samples), "c", c_json(op));
}

/* ---- The matrix ------------------------------------------------------------------------------ */

typedef struct columns { /* providers, in the order they turn up */
    char names[MOST_PROVIDERS][NAME_BYTES];
    int n;
} columns;

static int column(columns *c, const char *name, bool add) {
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->names[i], name) == 0) return i;
    if (!add || c->n == MOST_PROVIDERS) return -1;
    snprintf(c->names[c->n], NAME_BYTES, "%s", name);
    return c->n++;
}

/* Bit i: provider i has a kernel for the op. */
static uint32_t provider_bits(columns *c, const tn_op_info *op, bool add) {
    const char *list = providers(op);
    uint32_t bits = 0;
    for (char name[NAME_BYTES]; next_name(&list, name);) {
        const int i = column(c, name, add);
        if (i >= 0) bits |= 1u << i;
    }
    return bits;
}

static bool op_at(int64_t i, tn_op_info *op) {
    *op = (tn_op_info){.size = sizeof *op};
    return tn_op_at(i, op) == TN_OK;
}

/* `abs_`, which came with `abs`: `tenon plugins` counts them as one op, and so does the sum. */
static bool is_twin(const tn_op_info *op) {
    char base[NAME_BYTES * 2];
    tn_op_info found = {.size = sizeof found};
    const size_t n = strlen(op->name);
    if (n < 2 || n >= sizeof base || op->name[n - 1] != '_') return false;
    snprintf(base, sizeof base, "%.*s", (int)n - 1, op->name);
    const bool there = tn_op_find(base, &found) == TN_OK;
    tn_clear_error();
    return there && (found.traits & TN_OP_INPLACE);
}

static int print_matrix(void) {
    columns c = {0};
    tn_op_info op;
    const char *titles[MOST_PROVIDERS + 3] = {"OP"};
    int counts[MOST_PROVIDERS] = {0}, n_ops = 0;
    for (int64_t i = 0; i < tn_op_count() && op_at(i, &op); i++) provider_bits(&c, &op, true);
    for (int i = 0; i < c.n; i++) titles[i + 1] = c.names[i];
    titles[c.n + 1] = "COMPOSED";
    table t = table_new(titles);
    for (int64_t i = 0; i < tn_op_count() && op_at(i, &op); i++) {
        const uint32_t bits = provider_bits(&c, &op, false);
        const bool counted = !is_twin(&op);
        n_ops += counted;
        table_cell(&t, PLAIN, "%s", op.name);
        for (int k = 0; k < c.n; k++) {
            counts[k] += counted && (bits >> k & 1);
            table_cell(&t, GOOD, "%s", bits >> k & 1 ? "yes" : "");
        }
        table_cell(&t, DIM, "%s", op.has_decomposition ? "yes" : "");
    }
    table_cell(&t, BOLD, "%d ops, without in-place twins", n_ops);
    for (int k = 0; k < c.n; k++) table_cell(&t, BOLD, "%d", counts[k]);
    table_cell(&t, PLAIN, "%s", "");
    return table_print(&t);
}

/* ---- The list -------------------------------------------------------------------------------- */

static int print_list(void) {
    const char *const titles[] = {"OP", "GRADIENT", "PROVIDERS", "", NULL};
    table t = table_new(titles);
    tn_op_info op;
    for (int64_t i = 0; i < tn_op_count() && op_at(i, &op); i++) {
        const char *list = providers(&op);
        table_cell(&t, PLAIN, "%s", op.name);
        table_cell(&t, PLAIN, "%s", gradient(&op));
        table_cell(&t, PLAIN, "%s", list[0] ? list : otherwise(&op));
        table_cell(&t, DIM, "%s", op.doc ? op.doc : "");
    }
    return table_print(&t);
}

static int print_json(void) {
    json_t *list = json_array();
    tn_op_info op;
    for (int64_t i = 0; i < tn_op_count() && op_at(i, &op); i++)
        json_array_append_new(list, op_json(&op));
    return json_print(json_pack("{s:s, s:o}", "schema", "tenon.ops/1", "ops", list));
}

int run_ops_list(const request *r) {
    if (tn_init(NULL)) return fail_pending();
    tn_scope scope = tn_scope_push();
    const int code = r->json                      ? print_json()
                     : request_value(r, "matrix") ? print_matrix()
                                                  : print_list();
    tn_scope_pop(scope);
    return tn_error() ? fail_pending() : code;
}

/* ---- One ------------------------------------------------------------------------------------- */

static int unknown_op(const char *name) {
    suggestion s = suggest(name);
    tn_op_info op;
    tn_clear_error();
    for (int64_t i = 0; i < tn_op_count() && op_at(i, &op); i++) suggest_name(&s, op.name);
    return fail(EXIT_USAGE, "there is no op '%s'%s\n  see: tenon ops", name, suggest_text(&s));
}

/* One row for each line; the label stands before the first. */
static void add_lines(table *t, const char *label, const char *text) {
    for (const char *at = text; at && *at; label = "") {
        const size_t n = strcspn(at, "\n");
        table_cell(t, DIM, "%s", label);
        table_cell(t, PLAIN, "%.*s", (int)n, at);
        at += n + (at[n] != 0);
    }
}

static int print_op(const tn_op_info *op) {
    const char *list = providers(op);
    const char *const titles[] = {"", "", NULL};
    c_call c;
    if (!c_call_make(op->schema, &c)) return failure_code();
    table t = table_new(titles);
    const char *yes = op->has_derivative ? "yes" : op->no_grad ? NULL : gradient(op);
    add_lines(&t, "schema", op->schema);
    add_lines(&t, "does", op->doc);
    add_lines(&t, "from", op->plugin);
    table_cell(&t, DIM, "header");
    table_cell(&t, PLAIN, "#include <%s_ops.h>", op->plugin);
    add_lines(&t, "C call", c.prototype);
    add_lines(&t, "types", c.types);
    add_lines(&t, "for example", c.samples);
    add_lines(&t, "gradient", yes);
    add_lines(&t, "no gradient", op->no_grad);
    if (op->has_decomposition)
        add_lines(&t, "composed", "of other ops, where no provider takes the call");
    add_lines(&t, "on cpu", list[0] ? list : otherwise(op));
    add_lines(&t, "samples", op->samples);
    c_call_free(&c);
    return table_print(&t);
}

int run_ops_info(const request *r) {
    if (tn_init(NULL)) return fail_pending();
    tn_op_info op = {.size = sizeof op};
    if (tn_op_find(r->argument, &op))
        return tn_error() == TN_ERR_NOTFOUND ? unknown_op(r->argument) : fail_pending();
    tn_scope scope = tn_scope_push();
    const int code =
        r->json ? json_print(json_pack("{s:s, s:o}", "schema", "tenon.op/1", "op", op_json(&op)))
                : print_op(&op);
    tn_scope_pop(scope);
    return tn_error() ? fail_pending() : code;
}
