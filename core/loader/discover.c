/* discover.c - the search order, spelled out once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/discover.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/heap.h"
#include "core/loader/advice.h"
#include "core/loader/file.h"

#ifndef TENON_PLUGIN_DIR
#define TENON_PLUGIN_DIR "/usr/local/lib/tenon/plugins"
#endif
#ifndef TENON_LIBEXEC_DIR
#define TENON_LIBEXEC_DIR "/usr/local/libexec/tenon"
#endif

enum { BUILD_TREE_DEPTH = 4, MOST_PLACES = 1024, MOST_FILES = 16384, MOST_HINTS = 16384 };

static const char beside[] = "beside libtenon";

/* ---- Lists ----------------------------------------------------------------------------------- */

static void add(tni_places *l, const char *origin, const char *path, uint32_t most) {
    if (l->failed || l->n == most) return;
    if (l->n == l->capacity) {
        uint64_t old = l->capacity * sizeof *l->items,
                 bytes = old ? 2 * old : 16 * sizeof *l->items;
        tni_place *items = tni_realloc(l->items, old, bytes);
        if (!items) {
            l->failed = ENOMEM;
            return;
        }
        l->items = items;
        l->capacity = (uint32_t)(bytes / sizeof *items);
    }
    char *copy = tni_strdup(path);
    if (!copy)
        l->failed = ENOMEM;
    else
        l->items[l->n++] = (tni_place){origin, copy};
}

/* Keeps errno if it says that something ran out: all else is an absence. */
static void ran_out(tni_places *l) {
    if (!l->failed && tni_is_shortage(errno)) l->failed = errno;
}

/* The reason stays. */
void tni_places_free(tni_places *l) {
    for (uint32_t i = 0; i < l->n; i++) tni_free(l->items[i].path);
    tni_free(l->items);
    *l = (tni_places){.failed = l->failed};
}

static bool join(char out[PATH_MAX], const char *a, const char *b) {
    int n = snprintf(out, PATH_MAX, "%s/%s", a, b);
    return n > 0 && n < PATH_MAX;
}

static void add_below(tni_places *l, const char *origin, const char *base, const char *below) {
    char folder[PATH_MAX];
    if (base && base[0] == '/' && join(folder, base, below)) add(l, origin, folder, MOST_PLACES);
}

/* Paths are long, and a thread's stack may be short. */
typedef struct path_room {
    char up[PATH_MAX], folder[PATH_MAX], real[PATH_MAX];
} path_room;

static void add_once(tni_places *l, const char *path) {
    for (uint32_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].path, path) == 0) return;
    add(l, beside, path, MOST_PLACES);
}

/* As add_below; a folder that exists is shown by its real name, and once. */
static void add_beside_folder(tni_places *l, const char *base, const char *below) {
    path_room *r = tni_alloc(sizeof *r);
    if (!r) {
        l->failed = ENOMEM;
        return;
    }
    snprintf(r->up, sizeof r->up, "%s", base);
    for (char *slash; strncmp(below, "../", 3) == 0 && (slash = strrchr(r->up, '/')) != NULL;
         below += 3)
        *slash = 0; /* base is canonical, so this is what the system would do */
    if (join(r->folder, r->up, below))
        add_once(l, realpath(r->folder, r->real) ? r->real : r->folder);
    tni_free(r);
}

/* "/a:/b": absolute items only. */
static void add_list(tni_places *l, const char *origin, const char *list) {
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ":");
        char folder[PATH_MAX];
        if (at[0] == '/' && n < sizeof folder) {
            memcpy(folder, at, n);
            folder[n] = 0;
            add(l, origin, folder, MOST_PLACES);
        }
        at += n + (at[n] == ':');
    }
}

/* ---- Names in a folder, sorted --------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const tni_place *)a)->path, ((const tni_place *)b)->path);
}

static bool ends_in_so(const char *name) {
    size_t n = strlen(name);
    return n > 3 && name[0] != '.' && strcmp(name + n - 3, ".so") == 0;
}

/* Adds folder/NAME for all plugins in it (or for all entries but hidden ones), sorted. */
static void add_entries(tni_places *l, const char *origin, const char *folder, bool plugins,
                        uint32_t most) {
    DIR *dir = opendir(folder);
    if (!dir) {
        ran_out(l);
        return;
    }
    uint32_t first = l->n;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[PATH_MAX];
        bool wanted = plugins ? ends_in_so(e->d_name) : e->d_name[0] != '.';
        if (wanted && join(path, folder, e->d_name)) add(l, origin, path, most);
    }
    closedir(dir);
    if (l->n > first) qsort(l->items + first, l->n - first, sizeof *l->items, by_name);
}

/* ---- Beside libtenon ------------------------------------------------------------------------- */

static const char anchor =
    0; /* an address inside libtenon, or inside the program it is linked into */

static const char *user_env(const tni_search *s, const char *name) {
    const char *value = s->safe_mode ? NULL : secure_getenv(name);
    return value && value[0] == '/' ? value : NULL;
}

static bool object_path(char out[PATH_MAX]) {
    Dl_info info;
    struct link_map *map = NULL;
    if (dladdr1(&anchor, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || !map) return false;
    const char *name = map->l_name[0] ? map->l_name : "/proc/self/exe";
    return realpath(name, out) != NULL;
}

bool tni_home(const tni_search *s, char *out, uint64_t capacity) {
    char path[PATH_MAX];
    const char *given = user_env(s, "TENON_HOME");
    if (given) return (uint64_t)snprintf(out, capacity, "%s", given) < capacity;
    if (!object_path(path)) return false;
    char *slash = strrchr(path, '/');
    slash[slash == path] = 0;
    return (uint64_t)snprintf(out, capacity, "%s", path) < capacity;
}

/* One line of plugins.path: a folder relative to the file, or FOLDER/ and a star for all folders in
 * it. */
static void add_hint(tni_places *l, const char *base, char *line) {
    char folder[PATH_MAX];
    line[strcspn(line, "#\r")] = 0;
    size_t n = strlen(line);
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t')) line[--n] = 0;
    if (n == 0 || line[0] == '/' || !join(folder, base, line)) return;
    size_t len = strlen(folder);
    if (len < 2 || strcmp(folder + len - 2, "/*") != 0) {
        add_beside_folder(l, base, line);
        return;
    }
    char real[PATH_MAX];
    folder[len - 2] = 0;
    if (realpath(folder, real)) add_entries(l, beside, real, false, MOST_PLACES);
}

typedef struct hints { /* a file plugins.path */
    tni_file file;
    char path[PATH_MAX], text[MOST_HINTS];
} hints;

/* Its text, if it is as trustworthy as a plugin has to be. */
static bool read_hints(tni_places *l, hints *h) {
    char ignored[8];
    errno = 0;
    if (tni_file_open(&h->file, h->path, ignored, sizeof ignored) != TN_OK) {
        ran_out(l);
        return false;
    }
    ssize_t n = -1;
    if (tni_file_trusted(&h->file, ignored, sizeof ignored, ignored, sizeof ignored))
        n = pread(h->file.fd, h->text, sizeof h->text - 1, 0);
    tni_file_close(&h->file);
    if (n >= 0) h->text[n] = 0;
    return n >= 0;
}

/* The folders that base/plugins.path names. False if there is none to believe. */
static bool add_hints(tni_places *l, const char *base) {
    hints *h = tni_alloc(sizeof *h);
    if (!h) l->failed = ENOMEM;
    const bool found = h && join(h->path, base, "plugins.path") && read_hints(l, h);
    if (found) {
        *strrchr(h->file.path, '/') = 0; /* the real file: links into a build tree lead there */
        char *rest = h->text;
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) add_hint(l, h->file.path, line);
    }
    tni_free(h);
    return found;
}

/* Tries use(base/.., below), use(base/../.., below), ...: a program deep in a build tree. */
static bool climb(const char *base, const char *below, bool (*use)(void *, const char *),
                  void *arg) {
    char path[PATH_MAX], up[PATH_MAX];
    snprintf(up, sizeof up, "%s", base);
    for (int i = 0; i < BUILD_TREE_DEPTH && strlen(up) > 1; i++) {
        char *slash = strrchr(up, '/');
        slash[slash == up] = 0;
        if (join(path, up, below) && use(arg, path)) return true;
    }
    return false;
}

static bool use_hints(void *list, const char *base) { return add_hints(list, base); }

static void add_beside(const tni_search *s, tni_places *l) {
    char home[PATH_MAX];
    if (!tni_home(s, home, sizeof home)) return;
    add_beside_folder(l, home, "tenon/plugins");
    add_beside_folder(l, home, "../lib/tenon/plugins");
    if (!add_hints(l, home)) climb(home, "core", use_hints, l);
}

/* ---- The order ------------------------------------------------------------------------------- */

bool tni_places_make(const tni_search *s, tni_places *out) {
    *out = (tni_places){0};
    if (!s->safe_mode) {
        add_list(out, "given", s->plugin_path);
        add_list(out, "TENON_PLUGIN_PATH", secure_getenv("TENON_PLUGIN_PATH"));
        const char *data = user_env(s, "XDG_DATA_HOME");
        if (data)
            add_below(out, "user", data, "tenon/plugins");
        else
            add_below(out, "user", user_env(s, "HOME"), ".local/share/tenon/plugins");
    }
    add_beside(s, out);
    add(out, "built in", TENON_PLUGIN_DIR, MOST_PLACES);
    if (!out->failed) return true;
    tni_places_free(out);
    return false;
}

bool tni_places_files(const tni_places *places, tni_places *out) {
    *out = (tni_places){0};
    for (uint32_t i = 0; i < places->n; i++)
        add_entries(out, places->items[i].origin, places->items[i].path, true, MOST_FILES);
    if (!out->failed) return true;
    tni_places_free(out);
    return false;
}

/* ---- The probe ------------------------------------------------------------------------------- */

typedef struct found { /* a program */
    char path[PATH_MAX];
    int lacking; /* errno, if one could not be looked at for want of something */
} found;

static bool use_program(void *out, const char *path) {
    found *program = out;
    char ignored[8];
    tni_file f;
    errno = 0;
    if (tni_file_open(&f, path, ignored, sizeof ignored) != TN_OK) {
        if (tni_is_shortage(errno)) program->lacking = errno;
        return false;
    }
    bool ok = tni_file_trusted(&f, ignored, sizeof ignored, ignored, sizeof ignored) &&
              access(f.path, X_OK) == 0;
    tni_file_close(&f);
    if (ok) memcpy(program->path, f.path, strlen(f.path) + 1);
    return ok;
}

/* As the installation has it, or the build tree. */
static bool search_program(const tni_search *s, found *out) {
    char home[PATH_MAX], path[PATH_MAX];
    if (tni_home(s, home, sizeof home) &&
        ((join(path, home, "tenon-probe") && use_program(out, path)) ||
         (join(path, home, "../libexec/tenon/tenon-probe") && use_program(out, path)) ||
         climb(home, "tools/probe/tenon-probe", use_program, out)))
        return true;
    return use_program(out, TENON_LIBEXEC_DIR "/tenon-probe");
}

bool tni_probe_find(const tni_search *s, char *out, uint64_t capacity) {
    found program = {.lacking = 0};
    const char *given = user_env(s, "TENON_PROBE");
    if (given)
        return (uint64_t)snprintf(out, capacity, "%s", given) < capacity &&
               access(given, X_OK) == 0;
    const bool ok = search_program(s, &program);
    errno = program.lacking;
    return ok && (uint64_t)snprintf(out, capacity, "%s", program.path) < capacity;
}
