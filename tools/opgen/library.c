/* library.c - reads .ops files: comments out, lines to rows, messages with file:line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/library.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ops_source *source_of(const ops_library *l, const char *at) {
    for (const ops_source *s = l->sources; at && s; s = s->next)
        if (s->text && at >= s->text && at <= s->text + s->bytes) return s;
    return l->source;
}

bool ops_error(ops_library *l, const char *at, const char *format, ...) {
    const ops_source *source = source_of(l, at);
    va_list list;
    if (source) fprintf(stderr, "%s:", source->path);
    if (at) {
        int line = 1;
        for (const char *p = source->text; p < at; p++)
            line += *p == '\n' || *p == 0; /* rows end with NUL */
        fprintf(stderr, "%d:", line);
    }
    if (source) fputc(' ', stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    l->n_errors++;
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

static bool load(ops_library *l, ops_source *f) {
    FILE *in = fopen(f->path, "rb");
    if (!in) return ops_error(l, NULL, "cannot open: %s", strerror(errno));
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
        return ops_error(l, NULL, "out of memory for its %llu bytes", (unsigned long long)capacity);
    f->text[f->bytes] = 0;
    if (failed) return ops_error(l, NULL, "cannot read: %s", strerror(errno));
    if (f->bytes >= LIMIT) return ops_error(l, NULL, "is larger than %d bytes", LIMIT);
    if (memchr(f->text, 0, f->bytes)) return ops_error(l, NULL, "is not text: it holds a NUL byte");
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
static void parse_rows(ops_library *l, char *p) {
    bool first = true;
    while (*p) {
        char *line = p;
        p = next_line(p);
        if (!starts_row(line)) {
            size_t n = strspn(line, " \t\r\n");
            if (first && line + n < p && line[n])
                ops_error(l, line, "the first row must start in column 1");
            continue;
        }
        first = false;
        while (*p && !starts_row(p)) p = next_line(p);
        if (p[-1] == '\n') p[-1] = 0;
        parse_row(l, line);
    }
}

static bool valid_stem(const char *stem) {
    bool ok = stem[0] && !(stem[0] >= '0' && stem[0] <= '9');
    for (size_t i = 0; stem[i]; i++)
        ok &= (stem[i] >= 'a' && stem[i] <= 'z') || (stem[i] >= '0' && stem[i] <= '9') ||
              stem[i] == '_';
    return ok;
}

static bool set_stem(ops_library *l, const char *stem) {
    if ((l->stem = stem))
        return valid_stem(stem) ||
               ops_error(l, NULL, "a name becomes a C name, so it may hold only a-z, 0-9 and _");
    const char *path = l->source->path, *slash = strrchr(path, '/'),
               *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    l->stem = ops_copy(l, name, dot ? (size_t)(dot - name) : strlen(name));
    if (!l->stem) return false;
    return valid_stem(l->stem) ||
           ops_error(l, NULL, "the file name becomes a C name, so it may hold only a-z, 0-9 and _");
}

static bool read_source(ops_library *l) {
    const uint32_t before = l->n_rows;
    if (!load(l, l->source)) return false;
    blank_comments(l->source->text);
    parse_rows(l, l->source->text);
    if (l->n_errors == 0 && l->n_rows == before) return ops_error(l, NULL, "has no rows");
    return l->n_errors == 0;
}

bool ops_read(ops_library *l, const char *stem, char *const *paths, uint32_t n_paths) {
    bool ok = true;
    memset(l, 0, sizeof *l);
    l->last = &l->rows;
    ops_source **last = &l->sources;
    for (uint32_t i = 0; i < n_paths; i++) {
        ops_source *s = ops_alloc(l, sizeof *s);
        if (!s) return false;
        s->path = paths[i];
        *last = l->source = s, last = &s->next;
        if (i == 0 && !set_stem(l, stem)) return false;
        ok = read_source(l) && ok;
    }
    return ok;
}

void ops_free(ops_library *l) {
    for (ops_source *s = l->sources; s; s = s->next) free(s->text);
    while (l->blocks) {
        arena_block *b = l->blocks;
        l->blocks = b->next;
        free(b);
    }
}
