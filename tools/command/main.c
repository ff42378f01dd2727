/* main.c - the command `tenon`: its table, and the way in.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/screen.h"

const option common_options[] = {
    {"json", NULL, "print one JSON document, with a versioned schema", 0},
    {"plugin-path", "DIRS", "look for plugins there first (folders joined by ':')", 0},
    {"help", NULL, "say how to use it", 'h'},
    {0},
};

const command commands[] = {
    {"demo",
     "train the digits classifier on every provider and compare them",
     {{"", NULL, NULL, run_demo}},
     {{"seeds", "N", "runs per provider, with seeds 0 to N-1 (default 5)", 0},
      {"provider", "NAME|FILE", "only this provider of kernels", 0},
      {"device", "NAME", "train there (default cpu:0)", 0},
      {"data", "FILE", "another file of digits, as CSV", 0},
      {"checkpoint", "FILE", "keep the weights of the last run there", 0}}},
    {"plugins",
     "which plugins there are, where they lie, and why one does not work",
     {{"list", NULL, "all that are found; loads none of them", run_plugins_list},
      {"info", "NAME|FILE", "everything known about one; loads nothing", run_plugins_info},
      {"why", "NAME|FILE", "load it, and show each stage; exit 3 if it cannot be used",
       run_plugins_why}},
     {{"paths", NULL, "list the folders that are searched, in order", 0},
      {"probe", NULL, "try to load each plugin before listing", 0}}},
    {"devices", "which devices there are", {{"", NULL, NULL, run_devices}}, {{0}}},
    {"ops",
     "which ops there are, and who computes them",
     {{"list", NULL, "all ops, with their providers", run_ops_list},
      {"info", "NAME", "schema, C call, gradient, providers and samples of one", run_ops_info}},
     {{"matrix", NULL, "a table of ops against providers", 0}}},
    {"bindgen",
     "write the C header of an op library, from its file alone",
     {{"", "NAME|FILE", NULL, run_bindgen}},
     {{"output", "FILE", "write there instead of stdout", 'o'}}},
    {"help", "how to use a command", {{"", "[COMMAND]", NULL, run_help}}, {{0}}},
    {"version",
     "versions of command, library and plugin border",
     {{"", NULL, NULL, run_version}},
     {{0}}},
    {0},
};

/* Makes the library search `dirs` first, in this process; it wants absolute folders. */
static int use_plugin_path(const char *dirs) {
    char *list = strdup(dirs), *rest = list;
    char joined[8 * PATH_MAX] = "";
    size_t n = 0;
    if (!list) return fail_memory();
    for (char *dir; (dir = strsep(&rest, ":")) != NULL;) {
        char path[PATH_MAX];
        if (!realpath(dir, path)) {
            const int code = fail(EXIT_USAGE, "--plugin-path: '%s': %s", dir, strerror(errno));
            free(list);
            return code;
        }
        n += (size_t)snprintf(joined + n, sizeof joined - n, "%s%s", n ? ":" : "", path);
        if (n >= sizeof joined) break;
    }
    free(list);
    if (n >= sizeof joined) return fail(EXIT_USAGE, "--plugin-path is too long");
    const char *old = getenv("TENON_PLUGIN_PATH");
    if (old && *old) n += (size_t)snprintf(joined + n, sizeof joined - n, ":%s", old);
    if (n >= sizeof joined) return fail(EXIT_USAGE, "--plugin-path is too long");
    return setenv("TENON_PLUGIN_PATH", joined, 1) ? fail_memory() : EXIT_OK;
}

static int run(const request *r) {
    if (!r->command) return print_help(NULL);
    if (r->help && !r->json) return print_help(r->command);
    const char *dirs = request_value(r, "plugin-path");
    const int code = dirs ? use_plugin_path(dirs) : EXIT_OK;
    if (code) return code;
    return r->help ? run_help(r) : r->form->run(r);
}

/* To a person in any case, and to a program that asked for JSON. */
static void tell_failure(void) {
    if (!failure_text()) return;
    fflush(stdout);
    print_wrapped(stderr, "error: %s", failure_text());
}

int main(int argc, char **argv) {
    /* OpenMP threads of a vendor library would otherwise spin between calls, on cores others
     * need. */
    setenv("OMP_WAIT_POLICY", "passive", 0);
    request r;
    int code = request_parse(argc, argv, &r);
    if (r.json) json_begin();
    if (!code) code = run(&r);
    if (r.json) json_end();
    tell_failure();
    if (failure_text()) code = failure_code();
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "error: the results could not be written: %s\n", strerror(errno));
        return code ? code : EXIT_CHECKS;
    }
    return code;
}
