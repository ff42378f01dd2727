/* verdict.c - the cache file: one line of text per verdict, newest last.
 *
 *   1 DEVICE INODE SIZE MTIME CTIME BUILD_ID CORE_BUILD_ID ok|bad TEXT
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/verdict.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/note.h"
#include "core/report.h"

enum { MOST_BYTES = 1 << 18, KEY_BYTES = 384 };

/* ---- Where ----------------------------------------------------------------------------------- */

/* The folder; with make, made if absent. False if this process has none. */
static bool folder_path(char out[PATH_MAX], bool make) {
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    int n = -1;
    if (cache && cache[0] == '/')
        n = snprintf(out, PATH_MAX, "%s", cache);
    else if (home && home[0] == '/')
        n = snprintf(out, PATH_MAX, "%s/.cache", home);
    if (n <= 0 || n >= PATH_MAX - 32) return false;
    if (make) mkdir(out, 0700);
    memcpy(out + n, "/tenon", sizeof("/tenon"));
    if (make) mkdir(out, 0700);
    return true;
}

static uint64_t key_text(char out[KEY_BYTES], const struct stat *st, const char *build_id,
                         bool whole) {
    int n = snprintf(out, KEY_BYTES, "1 %llx %llx ", (unsigned long long)st->st_dev,
                     (unsigned long long)st->st_ino);
    if (!whole) return (uint64_t)n;
    return (uint64_t)snprintf(out, KEY_BYTES, "1 %llx %llx %llx %lld.%09ld %lld.%09ld %s %s ",
                              (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                              (unsigned long long)st->st_size, (long long)st->st_mtim.tv_sec,
                              st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec,
                              st->st_ctim.tv_nsec, build_id[0] ? build_id : "-",
                              tni_core_build_id());
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* The cache as text, or NULL. One that others can write is not ours to believe. */
static char *load(const char *folder) {
    char path[PATH_MAX + 16];
    struct stat st;
    char *text = NULL;
    snprintf(path, sizeof(path), "%s/verdicts", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        !(st.st_mode & (S_IWGRP | S_IWOTH)) && st.st_size <= MOST_BYTES)
        text = tni_alloc((uint64_t)st.st_size + 1);
    if (text && read(fd, text, (size_t)st.st_size) != st.st_size) {
        tni_free(text);
        text = NULL;
    }
    close(fd);
    return text;
}

static bool line_parse(const char *line, uint64_t key_bytes, tni_verdict *out) {
    const char *at = line + key_bytes;
    bool ok = strncmp(at, "ok ", 3) == 0, bad = strncmp(at, "bad ", 4) == 0;
    at += ok ? 3 : 4;
    if ((!ok && !bad) || strlen(at) >= sizeof(out->text) || !tni_text_valid(at, strlen(at)))
        return false;
    out->ok = ok;
    snprintf(out->text, sizeof(out->text), "%s", at);
    return true;
}

/* File times move in ticks of some milliseconds: two versions of a file written within one cannot be
 * told apart, so what was written just now is not let in on an old verdict. */
static bool is_too_new(const struct stat *st) {
    enum { SETTLED_SECONDS = 2 };
    return time(NULL) - st->st_ctim.tv_sec < SETTLED_SECONDS;
}

bool tni_verdict_get(const struct stat *st, const char *build_id, tni_verdict *out) {
    char folder[PATH_MAX], key[KEY_BYTES];
    char *text = folder_path(folder, false) ? load(folder) : NULL;
    uint64_t n = key_text(key, st, build_id, true);
    bool found = false;
    char *rest = text;
    for (char *line; !found && (line = strsep(&rest, "\n")) != NULL;)
        found = strncmp(line, key, n) == 0 && line_parse(line, n, out);
    tni_free(text);
    return found && !(out->ok && is_too_new(st));
}

/* ---- Writing --------------------------------------------------------------------------------- */

static bool well_formed(const char *line) {
    return strncmp(line, "1 ", 2) == 0 && (strstr(line, " ok ") || strstr(line, " bad ")) &&
           tni_text_valid(line, strlen(line));
}

/* The lines of old that stay: well-formed, and about other files. The oldest go when there are too
 * many. */
static void write_others(FILE *f, char *old, const char *key, uint64_t key_bytes) {
    char *rest = old;
    uint64_t len = old ? strlen(old) : 0;
    if (len > MOST_BYTES / 2) {
        rest = strchr(old + len - MOST_BYTES / 2, '\n');
        if (rest) rest++;
    }
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (well_formed(line) && strncmp(line, key, key_bytes) != 0) fprintf(f, "%s\n", line);
}

static bool write_all(int fd, char *old, const struct stat *st, const char *build_id,
                      const tni_verdict *v) {
    char key[KEY_BYTES];
    FILE *f = fdopen(fd, "w");
    if (f == NULL) {
        close(fd);
        return false;
    }
    write_others(f, old, key, key_text(key, st, build_id, false));
    key_text(key, st, build_id, true);
    fprintf(f, "%s%s %s\n", key, v->ok ? "ok" : "bad", v->text);
    bool ok = !ferror(f);
    return fclose(f) == 0 && ok;
}

/* A rename would not ask: what is no regular file (a link, a pipe) is not ours to replace. */
static bool may_replace(const char *path) {
    struct stat st;
    return lstat(path, &st) != 0 || S_ISREG(st.st_mode);
}

void tni_verdict_put(const struct stat *st, const char *build_id, const tni_verdict *v) {
    char folder[PATH_MAX], path[PATH_MAX + 16], temp[PATH_MAX + 32];
    if (!folder_path(folder, true)) return;
    snprintf(path, sizeof(path), "%s/verdicts", folder);
    if (!may_replace(path)) return;
    snprintf(temp, sizeof(temp), "%s/verdicts.XXXXXX", folder);
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) return;
    tni_verdict clean = *v;
    tni_text_clean(clean.text);
    char *old = load(folder);
    bool ok = write_all(fd, old, st, build_id, &clean);
    tni_free(old);
    if (!ok || rename(temp, path) != 0) unlink(temp);
}
