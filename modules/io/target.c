/* target.c - see target.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/io/target.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LINKS = 40 }; /* as many as the kernel follows */

static const char not_regular[] = "it is not a regular file";

const char *io_target_look(const char *path, bool *exists, struct stat *st) {
    *exists = lstat(path, st) == 0;
    if (!*exists) return errno == ENOENT ? NULL : strerror(errno);
    return S_ISREG(st->st_mode) ? NULL : not_regular;
}

/* What the link says takes the place of its name. */
static const char *follow(char path[PATH_MAX]) {
    char to[PATH_MAX];
    const ssize_t n = readlink(path, to, sizeof to - 1);
    if (n < 0) return strerror(errno);
    to[n] = 0;
    const char *slash = strrchr(path, '/');
    const size_t folder = slash && to[0] != '/' ? (size_t)(slash - path) + 1 : 0;
    if (folder + (size_t)n >= PATH_MAX) return strerror(ENAMETOOLONG);
    memcpy(path + folder, to, (size_t)n + 1);
    return NULL;
}

/* The kernel goes the same way once: it knows which links must not be followed, and which of its
 * own lead to a file that no name leads to. */
const char *io_target_find(io_target *out, const char *path) {
    struct stat seen;
    const bool there = stat(path, &seen) == 0;
    if (!there && errno != ENOENT) return strerror(errno);
    if (there && !S_ISREG(seen.st_mode)) return not_regular;
    if (strlen(path) >= sizeof out->path) return strerror(ENAMETOOLONG);
    strcpy(out->path, path);
    for (int links = 0;; links++) {
        const char *why = io_target_look(out->path, &out->exists, &out->st);
        if (!out->exists || !S_ISLNK(out->st.st_mode)) {
            if (why) return why;
            break;
        }
        if (links == MOST_LINKS) return strerror(ELOOP);
        if ((why = follow(out->path))) return why;
    }
    const bool same = out->exists == there &&
                      (!there || (out->st.st_ino == seen.st_ino && out->st.st_dev == seen.st_dev));
    return same ? NULL : "it leads to a file that has no name";
}
