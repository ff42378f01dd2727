/* file.h - a plugin file, its links resolved, held open while it is checked; and who could have
 * changed it.
 *
 * Invariant: what is checked is what the open descriptor shows, never what a name shows later.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_FILE_H
#define TENON_LOADER_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <tenon/abi.h>

typedef struct tni_file {
    int fd; /* -1 when closed */
    struct stat st;
    char path[PATH_MAX]; /* canonical */
} tni_file;

/* Opens a regular file without blocking on what is none. NOTFOUND, IO, INVALID or FORMAT with
 * why. */
tn_status tni_file_open(tni_file *, const char *path, char *why, uint64_t capacity);
void tni_file_close(tni_file *);
bool tni_file_same(const struct stat *a, const struct stat *b); /* device and inode */

/* Owned by root or us, and neither file nor folder can be changed by anybody else. False: why says
 * who could. fix: a command. */
bool tni_file_trusted(const tni_file *, char *why, uint64_t capacity, char *fix,
                      uint64_t fix_capacity);

#endif
