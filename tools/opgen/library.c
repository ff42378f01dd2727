/* library.c - reads NAME.ops: comments out, lines to rows, messages with file:line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/library.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ops_error(ops_library *f, const char *at, const char *format, ...) {
    va_list list;
    fprintf(stderr, "%s:", f->path);
    if (at) {
        int line = 1;
        for (const char *p = f->text; p < at; p++)
            line += *p == '\n' || *p == 0; /* rows end with NUL */
        fprintf(stderr, "%d:", line);
    }
    fputc(' ', stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    f->n_errors++;
    return false;
}

void *ops_alloc(ops_library *f, size_t bytes) {
    arena_block *b = calloc(1, sizeof *b + bytes);
    if (!b) {
        ops_error(f, NULL, "out of memory for %zu bytes", bytes);
        return NULL;
    }
    b->next = f->blocks;
    f->blocks = b;
    return b->data;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

char *ops_copy(ops_library *f, const char *text, size_t n) {
    char *out = ops_alloc(f, n + 1);
    size_t used = 0;
    bool quoted = false;
    for (size_t i = 0; out && i < n; i++) {
        const char c = is_space(text[i]) && !quoted ? ' ' : text[i];
        if (c == '"') quoted = !quoted;
        if (c == ' ' && !quoted && (used == 0 || out[used - 1] == ' ')) continue;
        out[used++] = c;
    }
    while (used > 0 && out[used - 1] == ' ') used--;
    if (out) out[used] = 0;
    return out;
}

row *ops_find(const ops_library *f, const char *op) {
    for (row *r = f->rows; r; r = r->next)
        if (strcmp(r->schema.name, op) == 0) return r;
    return NULL;
}

/* ---- The text -------------------------------------------------------------------------------- */

static bool load(ops_library *f) {
    FILE *in = fopen(f->path, "rb");
    if (!in) return ops_error(f, NULL, "cannot open: %s", strerror(errno));
    enum { LIMIT = 16 << 20 };
    uint64_t capacity = 1 << 16;
    f->text = malloc(capacity);
    while (f->text && f->bytes < LIMIT) {
        f->bytes += fread(f->text + f->bytes, 1, capacity - f->bytes - 1, in);
        if (f->bytes < capacity - 1) break;
        capacity *= 2;
        char *more = realloc(f->text, capacity);
        if (!more) free(f->text);
        f->text = more;
    }
    const bool failed = ferror(in) != 0;
    fclose(in);
    if (!f->text)
        return ops_error(f, NULL, "out of memory for its %llu bytes", (unsigned long long)capacity);
    f->text[f->bytes] = 0;
    if (failed) return ops_error(f, NULL, "cannot read: %s", strerror(errno));
    if (f->bytes >= LIMIT) return ops_error(f, NULL, "is larger than %d bytes", LIMIT);
    if (memchr(f->text, 0, f->bytes)) return ops_error(f, NULL, "is not text: it holds a NUL byte");
    return true;
}

static void blank_comments(char *p) {
    bool quoted = false, comment = false;
    for (; *p; p++) {
        if (*p == '\n')
            quoted = comment = false;
        else if (comment)
            *p = ' ';
        else if (*p == '"')
            quoted = !quoted;
        else if (*p == '#' && !quoted)
            comment = true, *p = ' ';
    }
}

/* The line at p has something in its first column. */
static bool starts_row(const char *p) { return *p && !is_space(*p); }

static char *next_line(char *p) {
    char *end = strchr(p, '\n');
    return end ? end + 1 : p + strlen(p);
}

/* Ends every row with NUL before it is parsed, so that no column can run into the next row. */
static void parse_rows(ops_library *f) {
    char *p = f->text;
    bool first = true;
    while (*p) {
        char *line = p;
        p = next_line(p);
        if (!starts_row(line)) {
            size_t n = strspn(line, " \t\r\n");
            if (first && line + n < p && line[n])
                ops_error(f, line, "the first row must start in column 1");
            continue;
        }
        first = false;
        while (*p && !starts_row(p)) p = next_line(p);
        if (p[-1] == '\n') p[-1] = 0;
        parse_row(f, line);
    }
}

static bool set_stem(ops_library *f) {
    const char *slash = strrchr(f->path, '/'), *name = slash ? slash + 1 : f->path;
    const char *dot = strrchr(name, '.');
    const size_t n = dot ? (size_t)(dot - name) : strlen(name);
    char *stem = ops_copy(f, name, n);
    if (!stem) return false;
    f->stem = stem;
    bool ok = n > 0 && !(stem[0] >= '0' && stem[0] <= '9');
    for (size_t i = 0; stem[i]; i++)
        ok &= (stem[i] >= 'a' && stem[i] <= 'z') || (stem[i] >= '0' && stem[i] <= '9') ||
              stem[i] == '_';
    return ok ||
           ops_error(f, NULL, "the file name becomes a C name, so it may hold only a-z, 0-9 and _");
}

bool ops_read(ops_library *f, const char *path) {
    memset(f, 0, sizeof *f);
    f->path = path;
    f->last = &f->rows;
    if (!set_stem(f) || !load(f)) return false;
    blank_comments(f->text);
    parse_rows(f);
    if (f->n_errors == 0 && f->n_rows == 0) return ops_error(f, NULL, "has no rows");
    return f->n_errors == 0;
}

void ops_free(ops_library *f) {
    while (f->blocks) {
        arena_block *b = f->blocks;
        f->blocks = b->next;
        free(b);
    }
    free(f->text);
}
