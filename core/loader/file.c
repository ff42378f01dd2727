/* file.c - opening a plugin file, and the check of owners and modes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/text.h"

bool tni_file_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

void tni_file_close(tni_file *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

static tn_status refuse(tni_file *f, tn_status code, char *why, uint64_t capacity,
                        const char *cause) {
    tni_file_close(f);
    tni_text_format(why, capacity, "%s", cause);
    return code;
}

tn_status tni_file_open(tni_file *f, const char *path, char *why, uint64_t capacity) {
    f->fd = -1;
    f->path[0] = 0;
    if (!path || path[0] == 0) return refuse(f, TN_ERR_INVALID, why, capacity, "the path is empty");
    if (strlen(path) >= PATH_MAX)
        return refuse(f, TN_ERR_INVALID, why, capacity, "the path is too long");
    if (!realpath(path, f->path)) {
        bool absent = errno == ENOENT || errno == ENOTDIR;
        return refuse(f, absent ? TN_ERR_NOTFOUND : TN_ERR_IO, why, capacity,
                      absent ? "there is no such file" : strerror(errno));
    }
    if (!tni_text_valid(f->path, strlen(f->path)))
        return refuse(f, TN_ERR_INVALID, why, capacity, "the path is not printable text");
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0) return refuse(f, TN_ERR_IO, why, capacity, strerror(errno));
    if (fstat(f->fd, &f->st) != 0) return refuse(f, TN_ERR_IO, why, capacity, strerror(errno));
    if (!S_ISREG(f->st.st_mode))
        return refuse(f, TN_ERR_FORMAT, why, capacity, "not a regular file");
    return TN_OK;
}

/* ---- Who could have changed it --------------------------------------------------------------- */

enum { UNMAPPED_UID = 65534 }; /* how root looks from inside a user namespace */

static bool ours(const struct stat *st) { return st->st_uid == 0 || st->st_uid == geteuid(); }

typedef struct verdict {
    char *why, *fix;
    uint64_t capacity, fix_capacity;
} verdict;

static bool doubt(const verdict *v, const char *what, const char *path, const struct stat *st) {
    if (!ours(st)) {
        tni_text_format(v->why, v->capacity, "the %s '%s' belongs to user %u, not to you or root",
                        what, path, (unsigned)st->st_uid);
        tni_text_format(v->fix, v->fix_capacity, "copy the plugin into a folder of your own");
    } else {
        tni_text_format(v->why, v->capacity, "the %s '%s' can be changed by %s", what, path,
                        st->st_mode & S_IWOTH ? "everybody" : "its group");
        tni_text_format(v->fix, v->fix_capacity, "chmod go-w '%s'%s", path,
                        st->st_mode & S_ISVTX ? ", or move the plugin into a folder of your own"
                                              : "");
    }
    return false;
}

/* In the folder itself others could put files; further up it is enough that they cannot swap
 * folders. */
static bool folder_trusted(const verdict *v, const char *path, bool nearest) {
    struct stat st;
    if (stat(path, &st) != 0)
        return doubt(v, "folder", path, &(struct stat){.st_uid = UNMAPPED_UID});
    bool open_to_others = (st.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if (nearest) return (ours(&st) && !open_to_others) || doubt(v, "folder", path, &st);
    if (open_to_others && !(st.st_mode & S_ISVTX)) return doubt(v, "folder", path, &st);
    return ours(&st) || st.st_uid == UNMAPPED_UID || doubt(v, "folder", path, &st);
}

bool tni_file_trusted(const tni_file *f, char *why, uint64_t capacity, char *fix,
                      uint64_t fix_capacity) {
    const verdict v = {why, fix, capacity, fix_capacity};
    if (!ours(&f->st) || (f->st.st_mode & (S_IWGRP | S_IWOTH)))
        return doubt(&v, "file", f->path, &f->st);
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", f->path);
    for (bool nearest = true;; nearest = false) {
        char *slash = strrchr(folder, '/');
        if (!slash) return true;
        slash[slash == folder] = 0;
        if (!folder_trusted(&v, folder, nearest)) return false;
        if (slash == folder) return true;
    }
}
