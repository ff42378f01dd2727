/* save.c - writes a checkpoint: a new file beside the old one, made durable, then moved over it.
 *
 * Invariant: `path` names a whole checkpoint at every moment, the old one or the new one; until the
 * rename nothing but the temporary file has been touched, and every way out removes that. Only
 * regular files are replaced, and the new one has owner and mode of the old one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/checkpoint.h>

#if TENON_HAVE_JANSSON

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/io/layout.h"
#include "modules/io/target.h"

typedef struct saving {
    const char *path;
    io_target target; /* the file it means */
    const tn_named_tensor *items;
    int64_t n;
    json_t *header, *metadata; /* metadata belongs to header */
    uint64_t header_bytes;
    int fd;
    char temp[PATH_MAX];
    io_crc crc;
} saving;

static tn_status refuse(const saving *s, const char *step, const char *why) {
    const bool linked = s->target.path[0] && strcmp(s->path, s->target.path) != 0;
    return tn_raise(TN_ERR_IO,
                    "cannot save checkpoint '%s'%s%s%s: %s%s; what was saved there before is "
                    "untouched",
                    s->path, linked ? " (a link to '" : "", linked ? s->target.path : "",
                    linked ? "')" : "", step, why);
}

static tn_status failed(const saving *s, const char *step) {
    return refuse(s, step, strerror(errno));
}

static tn_status no_memory(const saving *s) {
    return tn_raise(TN_ERR_NOMEM, "cannot save checkpoint '%s': out of memory", s->path);
}

/* ---- Header ---------------------------------------------------------------------------------- */

static tn_status check_item(const saving *s, int64_t i) {
    const char *name = s->items[i].name;
    if (tn_rank(s->items[i].tensor) < 0) return tn_error();
    if (!name || !*name || strlen(name) > IO_NAME_BYTES || strcmp(name, "__metadata__") == 0)
        return tn_raise(TN_ERR_INVALID,
                        "cannot save checkpoint '%s': tensor %" PRId64
                        " needs a name of 1 to %d bytes that is "
                        "not __metadata__",
                        s->path, i, IO_NAME_BYTES);
    if (json_object_get(s->header, name))
        return tn_raise(TN_ERR_INVALID, "cannot save checkpoint '%s': two tensors are named '%s'",
                        s->path, name);
    if (!io_dtype_name(tn_dtype_of(s->items[i].tensor)))
        return tn_raise(TN_ERR_DTYPE,
                        "cannot save checkpoint '%s': tensor '%s': the format has no dtype %s",
                        s->path, name, tn_dtype_name(tn_dtype_of(s->items[i].tensor)));
    return TN_OK;
}

static uint64_t bytes_of(tn_tensor *t) {
    return (uint64_t)tn_numel(t) * (uint64_t)tn_dtype_bytes(tn_dtype_of(t));
}

static tn_status set_crc(saving *s, const char *name, uint32_t crc) {
    char key[sizeof IO_EACH + IO_NAME_BYTES], digits[IO_CRC_DIGITS + 1];
    snprintf(key, sizeof key, "%s%s", IO_EACH, name);
    snprintf(digits, sizeof digits, "%08" PRIx32, crc);
    return json_object_set_new(s->metadata, key, json_string(digits)) ? no_memory(s) : TN_OK;
}

static tn_status add_item(saving *s, int64_t i, uint64_t *offset) {
    tn_status status = check_item(s, i);
    if (status) return status;
    tn_tensor *t = s->items[i].tensor;
    json_t *shape = json_array();
    for (int64_t d = 0; d < tn_rank(t); d++)
        json_array_append_new(shape, json_integer(tn_size(t, d)));
    const uint64_t end = *offset + bytes_of(t);
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", io_dtype_name(tn_dtype_of(t)),
                              "shape", shape, "data_offsets", (json_int_t)*offset, (json_int_t)end);
    *offset = end;
    if (json_object_set_new(s->header, s->items[i].name, entry))
        return tn_raise(TN_ERR_INVALID,
                        "cannot save checkpoint '%s': the name of tensor %" PRId64 " is not UTF-8",
                        s->path, i);
    return set_crc(s, s->items[i].name, 0);
}

/* All checksums are zero yet; filling them in does not change the length. */
static tn_status make_header(saving *s) {
    uint64_t offset = 0;
    s->header = json_object();
    s->metadata = json_object();
    if (json_object_set_new(s->header, "__metadata__", s->metadata) ||
        json_object_set_new(s->metadata, IO_WHOLE, json_string("00000000")) ||
        json_object_set_new(s->metadata, IO_FORMAT, json_string("1")))
        return no_memory(s);
    for (int64_t i = 0; i < s->n; i++) {
        const tn_status status = add_item(s, i, &offset);
        if (status) return status;
    }
    return TN_OK;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static bool write_all(int fd, const void *data, uint64_t bytes) {
    for (const char *p = data; bytes > 0;) {
        const ssize_t n = write(fd, p, bytes > SSIZE_MAX ? SSIZE_MAX : bytes);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) p += n, bytes -= (uint64_t)n;
    }
    return true;
}

static tn_status too_long(const saving *s, uint64_t bytes) {
    return tn_raise(TN_ERR_INVALID,
                    "cannot save checkpoint '%s': its header would have %" PRIu64
                    " bytes, the format allows %d; save fewer tensors, or give them shorter names",
                    s->path, bytes, IO_HEADER_BYTES);
}

/* Writes length and header at the file's current position, which is 0. */
static tn_status write_header(saving *s) {
    char *text = json_dumps(s->header, JSON_COMPACT);
    if (!text) return no_memory(s);
    const uint64_t bytes = strlen(text), padded = (bytes + 7) / 8 * 8;
    if (padded > IO_HEADER_BYTES) return free(text), too_long(s, padded);
    char *line = realloc(text, padded + 1);
    if (!line) return free(text), no_memory(s);
    memset(line + bytes, ' ', padded - bytes);
    char digits[IO_CRC_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08" PRIx32, io_header_crc(&s->crc, line, padded));
    memcpy(line + sizeof IO_START - 1, digits, IO_CRC_DIGITS);
    unsigned char length[IO_LENGTH_BYTES];
    io_put_length(length, padded);
    const bool ok = write_all(s->fd, length, sizeof length) && write_all(s->fd, line, padded);
    free(line);
    return ok ? TN_OK : failed(s, "writing: ");
}

static tn_status write_item(saving *s, const tn_named_tensor *item) {
    const uint64_t bytes = bytes_of(item->tensor);
    if (bytes == 0) return TN_OK;
    void *copy = NULL;
    const void *data = NULL;
    if (tn_is_contiguous(item->tensor) && tn_device_of(item->tensor).kind == TN_CPU) {
        data = tn_data(item->tensor);
        if (!data) return tn_error();
    } else {
        data = copy = malloc(bytes);
        if (!copy) return no_memory(s);
        if (tn_read(item->tensor, copy, bytes)) return free(copy), tn_error();
    }
    const uint32_t crc = io_crc_add(&s->crc, 0, data, bytes);
    const bool ok = write_all(s->fd, data, bytes);
    const int why = errno;
    free(copy);
    errno = why;
    return ok ? set_crc(s, item->name, crc) : failed(s, "writing: ");
}

/* ---- The file -------------------------------------------------------------------------------- */

/* What cannot be written stays: a rename would not ask. */
static tn_status find_target(saving *s) {
    const char *why = io_target_find(&s->target, s->path);
    if (why) return refuse(s, "", why);
    if (s->target.exists && faccessat(AT_FDCWD, s->target.path, W_OK, AT_EACCESS))
        return failed(s, "writing over it: ");
    return TN_OK;
}

/* "PATH.tmp-PID-NUMBER", for no one else. False + ENAMETOOLONG. */
static bool name_beside(char out[PATH_MAX], const char *path) {
    static unsigned counter;
    const unsigned number = __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
    const int n = snprintf(out, PATH_MAX, "%s.tmp-%ld-%u", path, (long)getpid(), number);
    if (n > 0 && n < PATH_MAX) return true;
    errno = ENAMETOOLONG;
    return false;
}

static tn_status create_temp(saving *s) {
    const mode_t mode = s->target.exists ? 0600 : 0666; /* nobody sees more than of the old one */
    for (int attempt = 0; attempt < 100; attempt++) {
        if (!name_beside(s->temp, s->target.path)) break;
        s->fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (s->fd >= 0) return TN_OK;
        if (errno != EEXIST) break;
    }
    s->temp[0] = 0; /* not ours to remove */
    return failed(s, "creating a new file beside it: ");
}

/* Before a byte is in it. What runs as its owner (set-user-ID) is no checkpoint: those bits go. */
static tn_status keep_owner_and_mode(const saving *s) {
    const struct stat *old = &s->target.st;
    const mode_t mode = old->st_mode & 0777;
    struct stat made;
    if (fstat(s->fd, &made)) return failed(s, "looking at the new file: ");
    const bool same_owner = made.st_uid == old->st_uid && made.st_gid == old->st_gid;
    if (!same_owner && fchown(s->fd, old->st_uid, old->st_gid))
        return failed(s, "keeping its owner and group (remove it first, or save under another "
                         "name): ");
    if ((made.st_mode & 07777) != mode && fchmod(s->fd, mode))
        return failed(s, "giving the new file its mode: ");
    return TN_OK;
}

static tn_status write_temp(saving *s) {
    tn_status status = create_temp(s);
    if (!status && s->target.exists) status = keep_owner_and_mode(s);
    if (!status) status = write_header(s);
    for (int64_t i = 0; i < s->n && !status; i++) status = write_item(s, &s->items[i]);
    if (!status && lseek(s->fd, 0, SEEK_SET) < 0) status = failed(s, "writing the checksums: ");
    if (!status) status = write_header(s);
    if (!status && fsync(s->fd)) status = failed(s, "flushing to the disk: ");
    if (s->fd >= 0 && close(s->fd) && !status) status = failed(s, "closing: ");
    s->fd = -1;
    return status;
}

/* The generation before stays reachable as path.prev. Where that cannot be, a good new file is
 * still better than none, and what is there stays. */
static void keep_previous(const saving *s) {
    char previous[PATH_MAX], temp[PATH_MAX];
    bool exists;
    struct stat st;
    const int n = snprintf(previous, sizeof previous, "%s.prev", s->target.path);
    if (n < 0 || n >= (int)sizeof previous || !s->target.exists) return;
    if (io_target_look(previous, &exists, &st) || !name_beside(temp, previous)) return;
    if (link(s->target.path, temp)) return;
    (void)!rename(temp, previous);
    unlink(temp); /* if that failed, or both are one file already */
}

static tn_status sync_folder(const saving *s) {
    char folder[PATH_MAX];
    const char *path = s->target.path, *slash = strrchr(path, '/');
    const int n = slash ? (int)(slash - path) + 1 : 2;
    snprintf(folder, sizeof folder, "%.*s", n, slash ? path : "./");
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool ok = fd >= 0 && fsync(fd) == 0;
    const int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    if (ok) return TN_OK;
    return tn_raise(
        TN_ERR_IO,
        "checkpoint '%s' is written, but its folder could not be flushed (%s): it may not "
        "survive a power loss",
        s->path, strerror(errno));
}

/* Writing took its time: what is there now is looked at once more. */
static tn_status replace(saving *s) {
    struct stat now;
    const char *why = io_target_look(s->target.path, &s->target.exists, &now);
    if (why) return refuse(s, "moving the new file into place: ", why);
    keep_previous(s);
    if (rename(s->temp, s->target.path)) return failed(s, "moving the new file into place: ");
    s->temp[0] = 0;
    return sync_folder(s);
}

tn_status tn_checkpoint_save(const char *path, const tn_named_tensor *items, int64_t n) {
    if (tn_error()) return tn_error();
    if (!path || !*path || n < 0 || (n > 0 && !items))
        return tn_raise(TN_ERR_INVALID,
                        "tn_checkpoint_save needs a path, and a list if n is not 0");
    saving *s = calloc(1, sizeof *s);
    if (!s) return tn_raise(TN_ERR_NOMEM, "cannot save checkpoint '%s': out of memory", path);
    s->path = path, s->items = items, s->n = n, s->fd = -1;
    io_crc_make(&s->crc);
    tn_status status = make_header(s);
    if (!status) status = find_target(s);
    if (!status) status = write_temp(s);
    if (!status) status = replace(s);
    if (s->temp[0]) unlink(s->temp);
    json_decref(s->header);
    free(s);
    return status;
}

#else

tn_status tn_checkpoint_save(const char *path, const tn_named_tensor *items, int64_t n) {
    (void)items, (void)n;
    return tn_raise(TN_ERR_UNSUPPORTED,
                    "cannot save checkpoint '%s': built without jansson; install libjansson-dev "
                    "and build again",
                    path ? path : "");
}

#endif
