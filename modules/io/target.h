/* target.h - which file a path means: links are followed to the file they lead to.
 *
 * A checkpoint is replaced by a rename, which asks neither what a name stands for nor to whom the
 * old file belongs. So that is asked here first: a link stays a link, and what is not a regular
 * file (a pipe, a device, a folder) is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_IO_TARGET_H
#define TENON_IO_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

typedef struct io_target {
    char path[PATH_MAX]; /* at the end of all links */
    bool exists;         /* else it is yet to be made */
    struct stat st;      /* if it exists: a regular file's */
} io_target;

/* NULL, or why path names no file that could be written; strerror's text, or one that lives on. */
const char *io_target_find(io_target *out, const char *path);
/* The same for a path that is no link any more, or must not be one. */
const char *io_target_look(const char *path, bool *exists, struct stat *st);

#endif
