/* bindgen.c - `tenon bindgen NAME|FILE`: the C header of an op library, from the note in its file.
 *
 * Invariant: the library is read, never mapped, so its header can be had where it cannot run.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/inspect.h>

#include "core/loader/note.h"
#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/locate.h"
#include "tools/command/screen.h"
#include "tools/opgen/header.h"

/* Is it a shared object with ops? On EXIT_OK the note is the caller's. */
static int read_note(const char *path, tni_note *note) {
    char why[256] = "";
    struct stat st;
    tni_elf elf;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    if (!ok) snprintf(why, sizeof why, "%s", strerror(errno));
    if (ok && !S_ISREG(st.st_mode)) {
        snprintf(why, sizeof why, "it is not a regular file");
        ok = false;
    }
    ok = ok && tni_elf_open(&elf, fd, (uint64_t)st.st_size, why, sizeof why) &&
         tni_note_read(&elf, note, why, sizeof why);
    if (fd >= 0) close(fd);
    if (!ok)
        return fail(EXIT_BAD_FILE, "%s: %s\n  fix: give the .so file of an op library", path, why);
    if (note->schemas) return EXIT_OK;
    fail(EXIT_BAD_FILE, "%s: plugin %s has no ops (kinds: %s), so it needs no header", path,
         note->id, note->kinds);
    tni_note_free(note);
    return EXIT_BAD_FILE;
}

/* The header as text, to be freed; NULL after saying why. */
static char *make_header(const char *path, const tni_note *note, int *code) {
    char *text = NULL, why[256] = "";
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return *code = fail_memory(), NULL;
    const tn_status status = opgen_write_header_from_note(out, note->id, note->schemas,
                                                          strlen(note->schemas), why, sizeof why);
    const bool whole = fclose(out) == 0;
    if (status == TN_OK && whole) return *code = EXIT_OK, text;
    free(text);
    *code = status == TN_ERR_NOMEM || status == TN_OK ? fail_memory()
                                                      : fail(EXIT_BAD_FILE, "%s: %s", path, why);
    return NULL;
}

static int write_file(const char *path, const char *text) {
    FILE *out = fopen(path, "we");
    const bool written = out && fputs(text, out) >= 0;
    const bool closed = out && fclose(out) == 0;
    return written && closed ? EXIT_OK
                             : fail(EXIT_BAD_FILE, "cannot write %s: %s", path, strerror(errno));
}

/* Where the library lies. A name is one of `tenon plugins`. */
static int find_library(const char *name, char out[PATH_MAX]) {
    tn_plugin_info p;
    const char *path = plugin_file(name, out);
    if (path == out) return EXIT_OK;
    const int code = path ? EXIT_OK : plugin_find(name, &p);
    if (code) return code;
    if (snprintf(out, PATH_MAX, "%s", path ? path : p.path) < PATH_MAX) return EXIT_OK;
    return fail(EXIT_USAGE, "the path of the library is too long");
}

int run_bindgen(const request *r) {
    tni_note note;
    char library[PATH_MAX];
    const char *path = request_value(r, "output");
    int code = find_library(r->argument, library);
    if (!code) code = read_note(library, &note);
    if (code) return code;
    char *text = make_header(library, &note, &code);
    if (text && path) code = write_file(path, text);
    if (text && !code && r->json)
        code = json_print(json_pack("{s:s, s:s, s:s, s:i, s:o, s:o}", "schema", "tenon.bindgen/1",
                                    "plugin", note.id, "version", note.version, "ops",
                                    (int)note.n_schemas, "file", json_text(path), "header",
                                    json_text(path ? NULL : text)));
    else if (text && !code && !path)
        fputs(text, stdout);
    free(text);
    tni_note_free(&note);
    return code;
}
