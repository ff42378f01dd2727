/* verdict.c - the cache file: one line of text per verdict, newest last.
 *
 *   2 DEVICE INODE SIZE MTIME CTIME BUILD_ID CORE_BUILD_ID SURROUNDINGS SECONDS ok|bad|late NUMBER CAUSES TEXT
 *
 * The key ends with SURROUNDINGS. A verdict counts if NUMBER is still what CAUSES amount to, so
 * one file may have several: one for each way it was used.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/verdict.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/base/heap.h"
#include "core/base/text.h"
#include "core/loader/causes.h"
#include "core/loader/note.h"

enum { MOST_BYTES = 1 << 18, KEY_BYTES = 416, MOST_PER_FILE = 16, LATE_SECONDS = 3600 };

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

static uint64_t key_text(char out[KEY_BYTES], const tni_subject *of, bool whole) {
    const struct stat *st = of->st;
    int n = snprintf(out, KEY_BYTES, "2 %llx %llx ", (unsigned long long)st->st_dev,
                     (unsigned long long)st->st_ino);
    if (!whole) return (uint64_t)n;
    return (uint64_t)snprintf(out, KEY_BYTES, "2 %llx %llx %llx %lld.%09ld %lld.%09ld %s %s %llx ",
                              (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                              (unsigned long long)st->st_size, (long long)st->st_mtim.tv_sec,
                              st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec,
                              st->st_ctim.tv_nsec, of->build_id[0] ? of->build_id : "-",
                              tni_core_build_id(), (unsigned long long)of->surroundings);
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* The cache as text, or NULL. One that others can write is not ours to believe. */
static char *load(const char *folder) {
    char path[PATH_MAX + 16];
    struct stat st;
    char *text = NULL;
    snprintf(path, sizeof path, "%s/verdicts", folder);
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

typedef struct record { /* a line behind its key, borrowed from it */
    long long seconds;
    bool ok, late;
    unsigned long long number;
    const char *causes; /* up to a blank; "-" = none */
    const char *text;
} record;

static bool record_parse(const char *at, record *r) {
    char state[5];
    int causes = 0, text = 0;
    if (!tni_text_valid(at, strlen(at)) ||
        sscanf(at, "%lld %4s %llx %n%*s%n", &r->seconds, state, &r->number, &causes, &text) != 3 ||
        causes == 0 || text == 0 || at[text] != ' ')
        return false;
    r->ok = strcmp(state, "ok") == 0;
    r->late = strcmp(state, "late") == 0;
    r->causes = at + causes;
    r->text = at + text + 1;
    return (r->ok || r->late || strcmp(state, "bad") == 0) && strlen(r->text) < TNI_VERDICT_TEXT;
}

/* File times move in ticks of some milliseconds: two versions of a file written within one
 * cannot be told apart, so what was written just now is not let in on an old verdict. */
static bool is_too_new(const struct stat *st) {
    enum { SETTLED_SECONDS = 2 };
    return time(NULL) - st->st_ctim.tv_sec < SETTLED_SECONDS;
}

/* Is what the record was found with still so? Cuts the line behind the causes. */
static bool holds(record *r, const tni_subject *of) {
    bool settled = true;
    const long long age = (long long)time(NULL) - r->seconds;
    char *causes = (char *)(uintptr_t)r->causes;
    causes[strcspn(causes, " ")] = 0;
    if (r->late && (age < 0 || age > LATE_SECONDS)) return false;
    const uint64_t now = tni_causes_number(strcmp(causes, "-") ? causes : "", of->id, &settled);
    return now == r->number && !(r->ok && (!settled || is_too_new(of->st)));
}

bool tni_verdict_get(const tni_subject *of, tni_verdict *out) {
    char folder[PATH_MAX], key[KEY_BYTES];
    char *text = folder_path(folder, false) ? load(folder) : NULL;
    const uint64_t n = key_text(key, of, true);
    bool found = false;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        record r;
        if (strncmp(line, key, n) != 0 || !record_parse(line + n, &r) || !holds(&r, of)) continue;
        *out = (tni_verdict){.ok = r.ok, .late = r.late};
        snprintf(out->text, sizeof out->text, "%s", r.text);
        found = true; /* the last of them counts: it was written last */
    }
    tni_free(text);
    return found;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* A line's record, or false if it is none. The key has nine words. */
static bool line_parse(const char *line, record *r) {
    if (strncmp(line, "2 ", 2) != 0) return false;
    for (int i = 0; i < 9; i++) {
        line = strchr(line, ' ');
        if (line++ == NULL) return false;
    }
    return record_parse(line, r);
}

static uint32_t count_lines(const char *text, const char *begin, uint64_t n) {
    uint32_t count = 0;
    for (const char *at = text; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
        count += strncmp(at, begin, n) == 0;
    return count;
}

/* The lines of old that stay: not about another state of the same file, not what the new one says
 * anew, and not too many about one file or in all: the oldest go. */
static void write_others(FILE *f, char *old, const tni_subject *of, uint64_t number) {
    char file[KEY_BYTES], key[KEY_BYTES];
    const uint64_t n_file = key_text(file, of, false), n_key = key_text(key, of, true);
    uint64_t n_state = n_key - 1; /* without SURROUNDINGS */
    while (key[n_state - 1] != ' ') n_state--;
    char *rest = old;
    uint64_t len = old ? strlen(old) : 0;
    if (len > MOST_BYTES / 2) {
        rest = strchr(old + len - MOST_BYTES / 2, '\n');
        if (rest) rest++;
    }
    uint32_t ours = rest ? count_lines(rest, key, n_state) : 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        record r;
        const bool state = strncmp(line, key, n_state) == 0;
        if (!line_parse(line, &r) || (!state && strncmp(line, file, n_file) == 0)) continue;
        if (state && ours-- >= MOST_PER_FILE) continue;
        if (strncmp(line, key, n_key) == 0 && r.number == number) continue;
        fprintf(f, "%s\n", line);
    }
}

static bool write_all(int fd, char *old, const tni_subject *of, const tni_verdict *v,
                      const char *causes) {
    char key[KEY_BYTES];
    bool ignored;
    FILE *f = fdopen(fd, "w");
    if (!f) {
        close(fd);
        return false;
    }
    const uint64_t number = tni_causes_number(causes, of->id, &ignored);
    write_others(f, old, of, number);
    key_text(key, of, true);
    fprintf(f, "%s%lld %s %llx %s %s\n", key, (long long)time(NULL),
            v->ok     ? "ok"
            : v->late ? "late"
                      : "bad",
            (unsigned long long)number, causes[0] ? causes : "-", v->text);
    bool ok = !ferror(f);
    return fclose(f) == 0 && ok;
}

/* A rename would not ask: what is no regular file (a link, a pipe) is not ours to replace. */
static bool may_replace(const char *path) {
    struct stat st;
    return lstat(path, &st) != 0 || S_ISREG(st.st_mode);
}

/* Past the limit of a file's size a write kills the program, by a signal that is the program's. */
static bool may_grow(void) {
    struct rlimit r;
    return getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur >= MOST_BYTES;
}

void tni_verdict_put(const tni_subject *of, const tni_verdict *v, const char *causes) {
    char folder[PATH_MAX], path[PATH_MAX + 16], temp[PATH_MAX + 32];
    if (!may_grow() || !folder_path(folder, true)) return;
    snprintf(path, sizeof path, "%s/verdicts", folder);
    if (!may_replace(path)) return;
    snprintf(temp, sizeof temp, "%s/verdicts.XXXXXX", folder);
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) return;
    tni_verdict clean = *v;
    tni_text_clean(clean.text);
    char *old = load(folder);
    bool ok = write_all(fd, old, of, &clean, causes);
    tni_free(old);
    if (!ok || rename(temp, path) != 0) unlink(temp);
}
