/* plugins.c - `tenon plugins`: what is there, where, and why one does not work.
 *
 * Invariant: list and info map no plugin; only `why` and --probe do.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <tenon/inspect.h>

#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/locate.h"
#include "tools/command/screen.h"

static const char *state_name(const tn_plugin_info *p) {
    static const char *const names[] = {"not tried", "ready", "refused", "unusable"};
    if (p->state == TN_PLUGIN_NOT_TRIED && p->facts[0]) return "usable"; /* the last verdict */
    return p->state >= 0 && p->state <= TN_PLUGIN_UNUSABLE ? names[p->state] : "unknown";
}

static shade state_shade(const tn_plugin_info *p) {
    return p->state == TN_PLUGIN_READY ? GOOD : p->state == TN_PLUGIN_NOT_TRIED ? PLAIN : BAD;
}

static json_t *plugin_json(const tn_plugin_info *p) {
    const bool ready = p->state == TN_PLUGIN_READY; /* kernels are known once they are registered */
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:o, s:o, s:o}", "id",
                     json_text(p->id), "version", json_text(p->version), "abi", json_text(p->abi),
                     "kinds", json_text(p->kinds), "licence", json_text(p->licence), "path",
                     json_text(p->path), "origin", json_text(p->origin), "status", state_name(p),
                     "ops", (int)p->n_ops, "kernels",
                     ready ? json_pack("i", (int)p->n_kernels) : json_text(NULL), "facts",
                     json_text(p->facts), "why", json_text(p->why));
}

/* ---- Folders --------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int print_paths(const request *r) {
    tn_scope scope = tn_scope_push();
    const char *const titles[] = {"ORIGIN", "THERE", "FOLDER", NULL};
    table t = table_new(titles);
    json_t *list = json_array();
    char *lines = strdup(tn_plugin_paths()), *rest = lines;
    for (char *line; lines && (line = strsep(&rest, "\n")) != NULL;) {
        char *folder = strchr(line, '\t');
        if (!folder) continue;
        *folder++ = 0;
        const bool exists = is_folder(folder);
        table_cell(&t, PLAIN, "%s", line);
        table_cell(&t, exists ? GOOD : DIM, "%s", exists ? "yes" : "no");
        table_cell(&t, exists ? PLAIN : DIM, "%s", folder);
        json_array_append_new(list, json_pack("{s:o, s:o, s:b}", "origin", json_text(line),
                                              "folder", json_text(folder), "exists", exists));
    }
    t.failed |= !lines;
    free(lines);
    tn_scope_pop(scope);
    json_t *all = json_pack("{s:s, s:o}", "schema", "tenon.plugin_paths/1", "folders", list);
    return print_result(r, all, &t);
}

/* ---- The list -------------------------------------------------------------------------------- */

static void ignore(void *user, const char *stage, bool ok, const char *detail) {
    (void)user, (void)stage, (void)ok, (void)detail;
}

/* Loads what is not loaded yet. A refusal is a result, not an error. */
static void probe_all(void) {
    int64_t n = 0;
    tn_init(NULL);
    tn_clear_error();
    if (tn_plugin_scan(&n)) return;
    char **paths = calloc((size_t)n + 1, sizeof *paths);
    for (int64_t i = 0; paths && i < n; i++) {
        tn_plugin_info p = {.size = sizeof p};
        if (tn_plugin_at(i, &p) == TN_OK && p.state != TN_PLUGIN_READY) paths[i] = strdup(p.path);
    }
    for (int64_t i = 0; paths && i < n; i++) {
        if (paths[i]) tn_plugin_why(paths[i], ignore, NULL);
        tn_clear_error();
        free(paths[i]);
    }
    free(paths);
}

static int print_list(const request *r, int64_t n) {
    const char *const titles[] = {"KIND",    "NAME",   "VERSION", "ABI", "OPS",
                                  "KERNELS", "STATUS", "",        NULL};
    table t = table_new(titles);
    t.right = 1u << 4 | 1u << 5;
    json_t *list = json_array();
    int problems = 0;
    for (int64_t i = 0; i < n; i++) {
        tn_plugin_info p = {.size = sizeof p};
        if (tn_plugin_at(i, &p)) break;
        const bool bad = p.state == TN_PLUGIN_REFUSED || p.state == TN_PLUGIN_UNUSABLE;
        problems += bad;
        json_array_append_new(list, plugin_json(&p));
        table_cell(&t, PLAIN, "%s", p.kinds[0] ? p.kinds : "?");
        table_cell(&t, PLAIN, "%s", p.id);
        table_cell(&t, PLAIN, "%s", p.version[0] ? p.version : "-");
        table_cell(&t, PLAIN, "%s", p.abi[0] ? p.abi : "-");
        table_cell(&t, PLAIN, p.n_ops ? "%u" : "-", p.n_ops);
        table_cell(&t, PLAIN, p.n_kernels ? "%u" : "-", p.n_kernels);
        table_cell(&t, state_shade(&p), "%s", state_name(&p));
        table_cell(&t, DIM, "%s", p.why[0] ? p.why : p.facts);
    }
    json_t *all = json_pack("{s:s, s:o, s:i}", "schema", "tenon.plugins/1", "plugins", list,
                            "problems", problems);
    const int code = print_result(r, all, &t);
    if (code || r->json) return code;
    if (n == 0)
        print_wrapped(stderr, "no plugin found; `tenon plugins --paths` shows where they are "
                              "looked for");
    if (problems)
        print_wrapped(stderr, "%d problem%s: `tenon plugins why NAME` explains each step", problems,
                      problems > 1 ? "s" : "");
    return code;
}

int run_plugins_list(const request *r) {
    int64_t n = 0;
    if (request_value(r, "paths")) return print_paths(r);
    if (request_value(r, "probe")) probe_all();
    return tn_plugin_scan(&n) ? fail_pending() : print_list(r, n);
}

/* ---- One ------------------------------------------------------------------------------------- */

int run_plugins_info(const request *r) {
    tn_plugin_info p;
    const int code = plugin_find(r->argument, &p);
    if (code) return code;
    if (r->json)
        return json_print(
            json_pack("{s:s, s:o}", "schema", "tenon.plugin/1", "plugin", plugin_json(&p)));
    const struct {
        const char *name, *text;
    } rows[] = {{"name", p.id},      {"version", p.version},     {"kinds", p.kinds},
                {"abi", p.abi},      {"licence", p.licence},     {"file", p.path},
                {"found", p.origin}, {"status", state_name(&p)}, {"says of itself", p.facts},
                {"why", p.why}};
    const char *const titles[] = {"", "", NULL};
    table t = table_new(titles);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].text[0]) continue;
        table_cell(&t, DIM, "%s", rows[i].name);
        table_cell(&t, PLAIN, "%s", rows[i].text);
    }
    if (p.n_ops) table_cell(&t, DIM, "ops"), table_cell(&t, PLAIN, "%u", p.n_ops);
    if (p.n_kernels) table_cell(&t, DIM, "kernels"), table_cell(&t, PLAIN, "%u", p.n_kernels);
    return table_print(&t);
}

/* ---- Why ------------------------------------------------------------------------------------- */

typedef struct stages {
    table table;
    json_t *list;
    int n;
    char failed[1200]; /* "probe: crashed; fix: ...", or "" */
} stages;

static void stage(void *user, const char *name, bool ok, const char *detail) {
    stages *s = user;
    s->n++;
    if (!ok) snprintf(s->failed, sizeof s->failed, "%s: %s", name, detail);
    table_cell(&s->table, DIM, "%d", s->n);
    table_cell(&s->table, PLAIN, "%s", name);
    table_cell(&s->table, ok ? GOOD : BAD, "%s", ok ? "ok" : "FAILED");
    table_cell(&s->table, PLAIN, "%s", detail);
    json_array_append_new(s->list, json_pack("{s:s, s:b, s:o}", "stage", name, "ok", ok, "detail",
                                             json_text(detail)));
}

/* Not even the first stage was reached. */
static int no_stages(const char *name, bool file) {
    tn_plugin_info p;
    if (file || tn_error() != TN_ERR_NOTFOUND) return fail_pending();
    tn_clear_error();
    const int code = plugin_find(name, &p);
    return code ? code : fail(EXIT_UNAVAILABLE, "plugin '%s' cannot be examined", name);
}

int run_plugins_why(const request *r) {
    const char *const titles[] = {"", "", "", "", NULL};
    stages s = {.table = table_new(titles), .list = json_array()};
    char room[PATH_MAX];
    const char *path = plugin_file(r->argument, room);
    tn_init(
        NULL); /* what it needs is loaded before it; a failure here will show in its own stages */
    tn_clear_error();
    tn_plugin_why(path ? path : r->argument, stage, &s);
    if (s.n == 0) {
        json_decref(s.list);
        table_free(&s.table);
        return no_stages(r->argument, path != NULL);
    }
    const bool usable = tn_error() == TN_OK && !s.failed[0];
    tn_clear_error(); /* the stages have said it */
    json_t *error = json_failure(EXIT_UNAVAILABLE, usable ? NULL : s.failed);
    json_t *all =
        json_pack("{s:s, s:o, s:b, s:o, s:o}", "schema", "tenon.plugin_why/1", "plugin",
                  json_text(r->argument), "usable", usable, "stages", s.list, "error", error);
    const int code = print_result(r, all, &s.table);
    return code ? code : usable ? EXIT_OK : EXIT_UNAVAILABLE;
}
