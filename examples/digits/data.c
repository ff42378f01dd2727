/* data.c - parses the digits: every byte of the file is accounted for, or the file is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "examples/digits/data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/device.h>

#include <math_ops.h>

enum { MOST_BYTES = 64 << 20, BRIGHTEST = 16 };

typedef struct parser {
    const char *path, *at, *end, *line_start;
    int64_t line; /* from 1 */
} parser;

static tn_status wrong(const parser *p, const char *expected) {
    char found[24] = "the end of the file";
    if (p->at < p->end && *p->at == '\n')
        snprintf(found, sizeof found, "the line's end");
    else if (p->at<p->end && * p->at> ' ' && *p->at <= '~')
        snprintf(found, sizeof found, "'%c'", *p->at);
    else if (p->at < p->end)
        snprintf(found, sizeof found, "byte 0x%02x", (unsigned char)*p->at);
    return tn_raise(TN_ERR_FORMAT, "%s:%lld:%lld: expected %s, found %s", p->path,
                    (long long)p->line, (long long)(p->at - p->line_start) + 1, expected, found);
}

/* A decimal number of at most two digits, 0 to most. */
static tn_status number(parser *p, int most, const char *expected, int *out) {
    const char *start = p->at;
    int value = 0;
    while (p->at < p->end && p->at - start < 2 && *p->at >= '0' && *p->at <= '9')
        value = value * 10 + (*p->at++ - '0');
    if (p->at == start || value > most) {
        if (value > most) p->at = start;
        return wrong(p, expected);
    }
    *out = value;
    return TN_OK;
}

static tn_status row(parser *p, float *pixels, int64_t *label) {
    int value = 0;
    p->line_start = p->at;
    for (int i = 0; i < DIGITS_PIXELS; i++) {
        if (number(p, BRIGHTEST, "a pixel from 0 to 16", &value)) return tn_error();
        if (p->at == p->end || *p->at != ',')
            return wrong(p, "a comma (64 pixels, then the label)");
        p->at++;
        pixels[i] = (float)value / BRIGHTEST;
    }
    if (number(p, DIGITS_CLASSES - 1, "a label from 0 to 9", &value)) return tn_error();
    if (p->at < p->end && *p->at != '\n') return wrong(p, "the line's end");
    p->at += p->at < p->end;
    *label = value;
    return TN_OK;
}

/* All rows, into pixels and labels; where these are NULL, only checks. Returns the number of
 * rows. */
static int64_t rows(const char *path, const char *text, int64_t bytes, float *pixels,
                    int64_t *labels) {
    parser p = {path, text, text + bytes, text, 1};
    float unread_pixels[DIGITS_PIXELS];
    int64_t unread_label, n = 0;
    for (; p.at < p.end; p.line++, n++)
        if (row(&p, pixels ? pixels + n * DIGITS_PIXELS : unread_pixels,
                labels ? labels + n : &unread_label))
            break;
    if (n == 0)
        wrong(&p, "65 numbers per line"); /* an empty file; says nothing if row did already */
    return n;
}

/* Checked as a whole first: only what is right is worth memory. Filled in on the cpu, then moved to
 * where the program works. */
static tn_status parse(const char *path, const char *text, int64_t bytes, digits_set *out) {
    const int64_t n = rows(path, text, bytes, NULL, NULL);
    if (tn_error()) return tn_error();
    const tn_device here = tn_use_device((tn_device){TN_CPU, 0});
    digits_set set = {tn_empty(TN_INTS(n, DIGITS_PIXELS), TN_F32), tn_empty(TN_INTS(n), TN_I64), n};
    tn_use_device(here);
    if (tn_error()) return tn_error();
    rows(path, text, bytes, tn_data(set.pixels), tn_data(set.labels));
    set.pixels = tn_to_device(set.pixels, here);
    set.labels = tn_to_device(set.labels, here);
    if (!tn_error()) *out = set;
    return tn_error();
}

/* ---- The file -------------------------------------------------------------------------------- */

static tn_status read_text(int fd, const char *path, digits_set *out) {
    struct stat st;
    if (fd < 0 || fstat(fd, &st))
        return tn_raise(TN_ERR_IO, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_raise(TN_ERR_IO, "cannot read %s: it is not a regular file", path);
    if (st.st_size > MOST_BYTES)
        return tn_raise(TN_ERR_FORMAT, "%s has %lld bytes; at most %d are read", path,
                        (long long)st.st_size, MOST_BYTES);
    char *text = malloc((size_t)st.st_size + 1);
    if (!text) return tn_raise(TN_ERR_NOMEM, "cannot read %s: out of memory", path);
    int64_t bytes = 0;
    ssize_t got = 1;
    while (bytes < st.st_size && got != 0) {
        got = read(fd, text + bytes, (size_t)(st.st_size - bytes));
        if (got > 0) bytes += got;
        if (got < 0 && errno != EINTR) break;
    }
    const tn_status status = got < 0
                                 ? tn_raise(TN_ERR_IO, "cannot read %s: %s", path, strerror(errno))
                                 : parse(path, text, bytes, out);
    free(text);
    return status;
}

tn_status digits_read(const char *path, digits_set *out) {
    if (tn_error()) return tn_error();
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const tn_status status = read_text(fd, path, out);
    if (fd >= 0) close(fd);
    return status;
}
