/* load.c - reads a checkpoint.
 *
 * Invariant: every number of the file is checked before it is used, nothing is allocated that the
 * file's real size or the program's own tensors do not justify, and no tensor changes before all of
 * the file has been read and found right.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/checkpoint.h>

#if TENON_HAVE_JANSSON

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/abi_text.h>

#include "modules/io/layout.h"
#include "modules/io/target.h"

enum { MOST_TEXT = 300 };

typedef struct entry {   /* one tensor of the file, in the order of the program's list */
    uint64_t begin, end; /* in the data part */
    uint32_t crc;
} entry;

typedef struct loading {
    const char *path;
    const tn_named_tensor *items;
    int64_t n;
    int fd;
    uint64_t file_bytes, header_bytes, data_bytes;
    char *text; /* the header, NUL-terminated */
    json_t *header;
    json_t *metadata; /* of header; NULL if it has none */
    json_t *names;    /* of items: an object, for its hash */
    bool checksums;
    entry *entries;
    unsigned char *data;
    io_crc crc;
} loading;

/* Is there a generation before the file, and where? */
static bool find_previous(const loading *l, char out[PATH_MAX]) {
    io_target target;
    if (io_target_find(&target, l->path)) return false;
    const int n = snprintf(out, PATH_MAX, "%s.prev", target.path);
    return n > 0 && n < PATH_MAX && access(out, R_OK) == 0;
}

/* FORMAT, with the way out if there is one. */
__attribute__((format(printf, 2, 3))) static tn_status bad(const loading *l, const char *format,
                                                           ...) {
    char text[MOST_TEXT], previous[PATH_MAX];
    va_list list;
    va_start(list, format);
    tn_vtext(text, sizeof text, format, list);
    va_end(list);
    if (find_previous(l, previous))
        return tn_raise(TN_ERR_FORMAT,
                        "checkpoint '%s' is damaged or is none: %s; the one before it is '%s'",
                        l->path, text, previous);
    return tn_raise(TN_ERR_FORMAT, "checkpoint '%s' is damaged or is none: %s", l->path, text);
}

static tn_status no_memory(const loading *l) {
    return tn_raise(TN_ERR_NOMEM, "cannot load checkpoint '%s': out of memory", l->path);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static tn_status read_at(const loading *l, uint64_t offset, void *out, uint64_t bytes) {
    for (char *p = out; bytes > 0;) {
        const ssize_t n = pread(l->fd, p, bytes > SSIZE_MAX ? SSIZE_MAX : bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return tn_raise(TN_ERR_IO, "cannot read checkpoint '%s' at byte %" PRIu64 ": %s",
                            l->path, offset, strerror(errno));
        if (n == 0)
            return bad(l, "it ends at byte %" PRIu64 ", inside what was being read", offset);
        p += n, offset += (uint64_t)n, bytes -= (uint64_t)n;
    }
    return TN_OK;
}

/* Looks before it opens, too: opening is all that some devices need to act. */
static tn_status open_file(loading *l) {
    struct stat st;
    bool ok = stat(l->path, &st) == 0;
    if (ok && S_ISREG(st.st_mode)) {
        l->fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        ok = l->fd >= 0 && fstat(l->fd, &st) == 0;
    }
    if (!ok)
        return tn_raise(TN_ERR_IO, "cannot open checkpoint '%s': %s", l->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_raise(TN_ERR_IO, "cannot open checkpoint '%s': it is not a regular file",
                        l->path);
    l->file_bytes = (uint64_t)st.st_size;
    return TN_OK;
}

static tn_status read_header(loading *l) {
    unsigned char length[IO_LENGTH_BYTES];
    if (l->file_bytes < sizeof length)
        return bad(l, "it has %" PRIu64 " bytes, at least 8 are needed", l->file_bytes);
    tn_status status = read_at(l, 0, length, sizeof length);
    if (status) return status;
    l->header_bytes = io_get_length(length);
    if (l->header_bytes > l->file_bytes - sizeof length || l->header_bytes > IO_HEADER_BYTES)
        return bad(l,
                   "byte 0: the header's length is %" PRIu64 ", but %" PRIu64
                   " bytes follow (and the limit is %d)",
                   l->header_bytes, l->file_bytes - sizeof length, IO_HEADER_BYTES);
    l->data_bytes = l->file_bytes - sizeof length - l->header_bytes;
    l->text = malloc(l->header_bytes + 1);
    if (!l->text) return no_memory(l);
    l->text[l->header_bytes] = 0;
    return read_at(l, sizeof length, l->text, l->header_bytes);
}

static tn_status parse_header(loading *l) {
    json_error_t error;
    if (l->text[0] != '{') return bad(l, "byte 8: the header must start with '{'");
    l->header = json_loadb(l->text, l->header_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!l->header && json_error_code(&error) == json_error_out_of_memory) return no_memory(l);
    if (!l->header) return bad(l, "byte %d: %s", error.position + IO_LENGTH_BYTES, error.text);
    l->metadata = json_object_get(l->header, "__metadata__");
    if (l->metadata && !json_is_object(l->metadata))
        return bad(l, "field __metadata__ is not an object");
    return TN_OK;
}

/* ---- Checksums ------------------------------------------------------------------------------- */

static bool parse_crc(const json_t *value, uint32_t *out) {
    const char *digits = json_string_value(value);
    if (!digits || strlen(digits) != IO_CRC_DIGITS ||
        strspn(digits, "0123456789abcdef") != IO_CRC_DIGITS)
        return false;
    *out = (uint32_t)strtoul(digits, NULL, 16);
    return true;
}

/* One key of ours makes all of them due: damage to a key cannot pass for a stranger's file. */
static tn_status check_header_crc(loading *l) {
    const char *key;
    json_t *value;
    uint32_t crc = 0;
    json_object_foreach(l->metadata, key, value) {
        if (!json_is_string(value)) return bad(l, "field __metadata__.%.80s is not a string", key);
        if (strncmp(key, "tenon.", 6) == 0) l->checksums = true;
    }
    if (!l->checksums) return TN_OK;
    if (l->header_bytes < sizeof IO_START - 1 + IO_CRC_DIGITS ||
        memcmp(l->text, IO_START, sizeof IO_START - 1) != 0 ||
        !parse_crc(json_object_get(l->metadata, IO_WHOLE), &crc))
        return bad(l, "byte 8: the header's checksum is missing or malformed");
    const uint32_t is = io_header_crc(&l->crc, l->text, l->header_bytes);
    if (is != crc)
        return bad(l,
                   "bytes 0 to %" PRIu64 ": the header's checksum is %08" PRIx32
                   ", its bytes give %08" PRIx32,
                   l->header_bytes + IO_LENGTH_BYTES, crc, is);
    return TN_OK;
}

static tn_status check_data(const loading *l, int64_t i) {
    const entry *e = &l->entries[i];
    const uint64_t first = e->begin + l->header_bytes + IO_LENGTH_BYTES, bytes = e->end - e->begin;
    if (l->checksums) {
        const uint32_t is = io_crc_add(&l->crc, 0, l->data + e->begin, bytes);
        if (is != e->crc)
            return bad(l,
                       "tensor '%.80s', bytes %" PRIu64 " to %" PRIu64
                       ": the checksum is %08" PRIx32 ", the bytes give %08" PRIx32,
                       l->items[i].name, first, first + bytes, e->crc, is);
    }
    if (!tn_dtype_is(tn_dtype_of(l->items[i].tensor), TN_BOOL)) return TN_OK;
    for (uint64_t k = 0; k < bytes; k++)
        if (l->data[e->begin + k] > 1)
            return bad(l, "tensor '%.80s', byte %" PRIu64 ": %d is not a bool", l->items[i].name,
                       first + k, l->data[e->begin + k]);
    return TN_OK;
}

/* ---- Fields ---------------------------------------------------------------------------------- */

static void shape_text(char out[MOST_TEXT], tn_dtype dtype, const int64_t *sizes, int64_t rank) {
    int at = snprintf(out, MOST_TEXT, "%s[", tn_dtype_name(dtype));
    for (int64_t d = 0; d < rank && at < MOST_TEXT - 24; d++)
        at += snprintf(out + at, (size_t)(MOST_TEXT - at), "%s%" PRId64, d ? "," : "", sizes[d]);
    snprintf(out + at, (size_t)(MOST_TEXT - at), "]");
}

static tn_status read_shape(const loading *l, const char *name, const json_t *field, int64_t *sizes,
                            int64_t *rank) {
    const json_t *shape = json_object_get(field, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > TN_MAX_RANK)
        return bad(l, "field %.80s.shape is not a list of at most %d sizes", name, TN_MAX_RANK);
    *rank = (int64_t)json_array_size(shape);
    for (int64_t d = 0; d < *rank; d++) {
        const json_t *size = json_array_get(shape, (size_t)d);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return bad(l, "field %.80s.shape[%" PRId64 "] is not a size", name, d);
        sizes[d] = json_integer_value(size);
    }
    return TN_OK;
}

static tn_status read_offsets(const loading *l, const char *name, const json_t *field,
                              uint64_t bytes, entry *e) {
    const json_t *offsets = json_object_get(field, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin) ||
        (uint64_t)json_integer_value(end) > l->data_bytes)
        return bad(
            l, "field %.80s.data_offsets is not [begin, end] within the %" PRIu64 " bytes of data",
            name, l->data_bytes);
    e->begin = (uint64_t)json_integer_value(begin), e->end = (uint64_t)json_integer_value(end);
    if (e->end - e->begin != bytes)
        return bad(
            l, "field %.80s.data_offsets spans %" PRIu64 " bytes, dtype and shape need %" PRIu64,
            name, e->end - e->begin, bytes);
    return TN_OK;
}

/* Is it the program's tensor? Well-formed, but different, is not FORMAT. */
static tn_status compare(const loading *l, int64_t i, tn_dtype dtype, const int64_t *sizes,
                         int64_t rank) {
    tn_tensor *t = l->items[i].tensor;
    bool same = rank == tn_rank(t);
    for (int64_t d = 0; same && d < rank; d++) same = sizes[d] == tn_size(t, d);
    const bool same_dtype = tn_dtype_is(dtype, tn_dtype_of(t));
    if (same && same_dtype) return TN_OK;
    char in_file[MOST_TEXT], here[MOST_TEXT];
    shape_text(in_file, dtype, sizes, rank);
    shape_text(here, tn_dtype_of(t), tn_sizes(t), tn_rank(t));
    return tn_raise(same ? TN_ERR_DTYPE : TN_ERR_SHAPE,
                    "checkpoint '%s': tensor '%s' is %s in the file and %s in the program", l->path,
                    l->items[i].name, in_file, here);
}

static tn_status read_entry(const loading *l, int64_t i, const json_t *field) {
    const char *name = l->items[i].name,
               *dtype_name = json_string_value(json_object_get(field, "dtype"));
    entry *e = &l->entries[i];
    tn_dtype dtype;
    int64_t sizes[TN_MAX_RANK], rank = 0;
    uint64_t bytes = 0;
    if (!dtype_name || !io_dtype_by_name(dtype_name, &dtype))
        return bad(l, "field %.80s.dtype is '%.20s', no dtype known here", name,
                   dtype_name ? dtype_name : "");
    tn_status status = read_shape(l, name, field, sizes, &rank);
    if (status) return status;
    if (!io_bytes(sizes, rank, dtype, &bytes)) return bad(l, "field %.80s.shape overflows", name);
    if ((status = read_offsets(l, name, field, bytes, e))) return status;
    if (l->checksums) {
        char key[sizeof IO_EACH + IO_NAME_BYTES];
        snprintf(key, sizeof key, "%s%s", IO_EACH, name);
        if (!parse_crc(json_object_get(l->metadata, key), &e->crc))
            return bad(l, "field __metadata__.%.80s is missing or malformed", key);
    }
    return compare(l, i, dtype, sizes, rank);
}

/* ---- The whole ------------------------------------------------------------------------------- */

static int by_begin(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Tensors must tile the data: a gap would be bytes that no checksum covers. */
static tn_status check_tiling(const loading *l) {
    uint64_t at = 0;
    entry *sorted = malloc((size_t)l->n * sizeof *sorted + 1);
    if (!sorted) return no_memory(l);
    if (l->n > 0) memcpy(sorted, l->entries, (size_t)l->n * sizeof *sorted);
    qsort(sorted, (size_t)l->n, sizeof *sorted, by_begin);
    int64_t i = 0;
    for (; i < l->n && sorted[i].begin == at; i++) at = sorted[i].end;
    free(sorted);
    if (i == l->n && at == l->data_bytes) return TN_OK;
    return bad(l, "byte %" PRIu64 ": data_offsets leave a gap or overlap",
               at + l->header_bytes + IO_LENGTH_BYTES);
}

/* The program's list must hold exactly the file's tensors. */
static tn_status find_stranger(const loading *l) {
    const char *key;
    json_t *value;
    json_object_foreach(l->header, key, value) {
        if (strcmp(key, "__metadata__") == 0 || json_object_get(l->names, key)) continue;
        if (!json_is_string(json_object_get(value, "dtype")))
            return bad(l, "field %.80s is not a tensor", key);
        return tn_raise(TN_ERR_NOTFOUND,
                        "checkpoint '%s' has a tensor '%.80s' that the program has not", l->path,
                        key);
    }
    return TN_OK;
}

static tn_status read_entries(loading *l) {
    l->entries = calloc((size_t)l->n + 1, sizeof *l->entries);
    if (!l->entries) return no_memory(l);
    tn_status status = find_stranger(l);
    for (int64_t i = 0; i < l->n && !status; i++) {
        const json_t *field = json_object_get(l->header, l->items[i].name);
        if (!field)
            return tn_raise(TN_ERR_NOTFOUND, "checkpoint '%s' has no tensor '%s'", l->path,
                            l->items[i].name);
        status = read_entry(l, i, field);
    }
    return status ? status : check_tiling(l);
}

static tn_status read_data(loading *l) {
    l->data = malloc(l->data_bytes + 1);
    if (!l->data) return no_memory(l);
    tn_status status = read_at(l, l->header_bytes + IO_LENGTH_BYTES, l->data, l->data_bytes);
    for (int64_t i = 0; i < l->n && !status; i++) status = check_data(l, i);
    return status;
}

/* What tn_write would refuse is refused before anything changes. */
static tn_status check_writable(const loading *l, int64_t i) {
    tn_tensor *t = l->items[i].tensor;
    const int64_t rank = tn_rank(t);
    if (rank < 0) return tn_error();
    for (int64_t d = 0; d < rank; d++)
        if (tn_size(t, d) > 1 && tn_strides(t)[d] == 0)
            return tn_raise(TN_ERR_INVALID,
                            "cannot load checkpoint '%s': elements of tensor '%s' share memory "
                            "(it is expanded); load into the tensor it was expanded from",
                            l->path, l->items[i].name);
    if (tn_is_leaf(t) || !tn_grad_enabled()) return tn_error();
    return tn_raise(TN_ERR_GRAD,
                    "cannot load checkpoint '%s': tensor '%s' was computed from one that requires "
                    "grad; load into a leaf, or call tn_set_grad_enabled(false) first",
                    l->path, l->items[i].name);
}

static tn_status add_name(const loading *l, int64_t i) {
    const char *name = l->items[i].name;
    if (!name || !*name || strlen(name) > IO_NAME_BYTES)
        return tn_raise(TN_ERR_INVALID,
                        "cannot load checkpoint '%s': tensor %" PRId64
                        " needs a name of 1 to %d bytes",
                        l->path, i, IO_NAME_BYTES);
    const tn_status status = check_writable(l, i);
    if (status) return status;
    if (json_object_get(l->names, name))
        return tn_raise(TN_ERR_INVALID, "cannot load checkpoint '%s': two tensors are named '%s'",
                        l->path, name);
    /* A name that is no UTF-8 is in no file, and is told so later. */
    return json_object_set_new_nocheck(l->names, name, json_true()) ? no_memory(l) : TN_OK;
}

static tn_status check_items(loading *l) {
    l->names = json_object();
    tn_status status = l->names ? TN_OK : no_memory(l);
    for (int64_t i = 0; i < l->n && !status; i++) status = add_name(l, i);
    return status;
}

static tn_status write_tensors(const loading *l) {
    tn_status status = TN_OK;
    const bool grad = tn_set_grad_enabled(false); /* all has been asked */
    for (int64_t i = 0; i < l->n && !status; i++)
        status = tn_write(l->items[i].tensor, l->data + l->entries[i].begin,
                          l->entries[i].end - l->entries[i].begin);
    tn_set_grad_enabled(grad);
    return status;
}

tn_status tn_checkpoint_load(const char *path, const tn_named_tensor *items, int64_t n) {
    if (tn_error()) return tn_error();
    if (!path || !*path || n < 0 || (n > 0 && !items))
        return tn_raise(TN_ERR_INVALID,
                        "tn_checkpoint_load needs a path, and a list if n is not 0");
    loading *l = calloc(1, sizeof *l);
    if (!l) return tn_raise(TN_ERR_NOMEM, "cannot load checkpoint '%s': out of memory", path);
    l->path = path, l->items = items, l->n = n, l->fd = -1;
    io_crc_make(&l->crc);
    tn_status status = check_items(l);
    if (!status) status = open_file(l);
    if (!status) status = read_header(l);
    if (!status) status = parse_header(l);
    if (!status) status = check_header_crc(l);
    if (!status) status = read_entries(l);
    if (!status) status = read_data(l);
    if (!status) status = write_tensors(l);
    if (l->fd >= 0) close(l->fd);
    json_decref(l->header);
    json_decref(l->names);
    free(l->text);
    free(l->entries);
    free(l->data);
    free(l);
    return status;
}

#else

tn_status tn_checkpoint_load(const char *path, const tn_named_tensor *items, int64_t n) {
    (void)items, (void)n;
    return tn_raise(TN_ERR_UNSUPPORTED,
                    "cannot load checkpoint '%s': built without jansson; install libjansson-dev "
                    "and build again",
                    path ? path : "");
}

#endif
