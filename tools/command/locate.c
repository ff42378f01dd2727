/* locate.c - a plugin as the command line names it. SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/locate.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tenon/inspect.h>

#include "tools/command/failure.h"
#include "tools/command/suggest.h"

/* Names have no dot, so `acme.so` is a file also where it is none yet. */
const char *plugin_file(const char *name, char room[PATH_MAX]) {
    if (strchr(name, '/')) return name;
    const bool file = strstr(name, ".so") || (strchr(name, '.') && access(name, F_OK) == 0);
    if (!file || snprintf(room, PATH_MAX, "./%s", name) >= PATH_MAX) return NULL;
    return room;
}

static int unknown(const char *name) {
    suggestion s = suggest(name);
    int64_t n = 0;
    tn_clear_error();
    if (tn_plugin_scan(&n)) return fail_pending();
    for (int64_t i = 0; i < n; i++) {
        tn_plugin_info p = {.size = sizeof p};
        if (tn_plugin_at(i, &p)) return fail_pending();
        suggest_name(&s, p.id);
    }
    return fail(EXIT_UNAVAILABLE, "there is no plugin '%s'%s\n  see: tenon plugins", name,
                suggest_text(&s));
}

int plugin_find(const char *name, tn_plugin_info *out) {
    char room[PATH_MAX];
    const char *path = plugin_file(name, room);
    *out = (tn_plugin_info){.size = sizeof *out};
    if (tn_plugin_find(path ? path : name, out) == TN_OK) return EXIT_OK;
    return path || tn_error() != TN_ERR_NOTFOUND ? fail_pending() : unknown(name);
}
