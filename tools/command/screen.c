/* screen.c - messages, tables and progress.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/screen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/command/command.h"

/* ---- Messages -------------------------------------------------------------------------------- */

int fail(int code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return code;
}

int fail_memory(void) { return fail(EXIT_NO_MEMORY, "out of memory"); }

int exit_code(int32_t status) {
    switch (status) {
    case TN_OK:
        return EXIT_OK;
    case TN_ERR_FORMAT:
    case TN_ERR_IO:
        return EXIT_BAD_FILE;
    case TN_ERR_NOMEM:
        return EXIT_NO_MEMORY;
    case TN_ERR_DEVICE:
    case TN_ERR_NOTFOUND:
    case TN_ERR_PLUGIN:
    case TN_ERR_UNSUPPORTED:
        return EXIT_UNAVAILABLE;
    default:
        return EXIT_INTERNAL;
    }
}

int fail_pending(void) {
    const int code = exit_code(tn_error());
    fail(code, "%s", tn_error_message());
    tn_clear_error();
    return code;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static bool colored(void) {
    const char *no = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no && *no);
}

static int window_width(int fd) {
    struct winsize w;
    return isatty(fd) && ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 1 << 20;
}

static void add(table *t, shade s, char *text) {
    if (t->n == t->capacity) {
        const int64_t capacity = t->capacity ? 2 * t->capacity : 64;
        struct cell *cells = realloc(t->cells, (size_t)capacity * sizeof *cells);
        if (!cells) {
            free(text);
            t->failed = true;
            return;
        }
        t->cells = cells, t->capacity = capacity;
    }
    t->cells[t->n++] = (struct cell){text, s};
    t->failed |= text == NULL;
}

table table_new(const char *const *titles) {
    table t = {0};
    while (titles[t.n_columns] && t.n_columns < MOST_COLUMNS) t.n_columns++;
    for (int i = 0; i < t.n_columns; i++) add(&t, BOLD, strdup(titles[i]));
    return t;
}

void table_cell(table *t, shade s, const char *format, ...) {
    va_list list;
    char *text = NULL;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0) text = NULL;
    va_end(list);
    for (char *at = text; at && *at; at++)
        if (*at == '\n' || *at == '\t') *at = ' '; /* a row is a line */
    add(t, s, text);
}

/* Characters, not bytes. */
static int width(const char *text) {
    int n = 0;
    for (; *text; text++) n += (*text & 0xc0) != 0x80;
    return n;
}

/* Prints at most `room` characters; three dots stand for the rest. */
static void print_cut(const char *text, int room) {
    if (width(text) <= room) {
        fputs(text, stdout);
        return;
    }
    for (int n = 0; *text && (n += (*text & 0xc0) != 0x80) <= room - 3; text++) putchar(*text);
    fputs("...", stdout);
}

/* last: nothing follows in this row, so nothing is padded. */
static void print_cell(const table *t, const struct cell *c, int column, int pad, int room,
                       bool last) {
    static const char *const codes[] = {"", "\033[32m", "\033[31m", "\033[2m", "\033[1m"};
    const bool right = t->right >> column & 1, color = c->shade != PLAIN && colored();
    if (right) printf("%*s", pad, "");
    if (color) fputs(codes[c->shade], stdout);
    print_cut(c->text, column == t->n_columns - 1 && room > 8 ? room : width(c->text));
    if (color) fputs("\033[0m", stdout);
    if (!last) printf("%*s", right ? 2 : pad + 2, "");
}

static void print_row(const table *t, const struct cell *row, const int *widths, int room) {
    int n = t->n_columns;
    while (n > 0 && !row[n - 1].text[0]) n--;
    for (int i = 0; i < n; i++)
        print_cell(t, &row[i], i, widths[i] - width(row[i].text), room, i == n - 1);
    putchar('\n');
}

static void print_rows(const table *t) {
    int widths[MOST_COLUMNS] = {0}, room = window_width(STDOUT_FILENO);
    for (int64_t i = 0; i < t->n; i++) {
        int *w = &widths[i % t->n_columns];
        if (width(t->cells[i].text) > *w) *w = width(t->cells[i].text);
    }
    for (int i = 0; i < t->n_columns - 1; i++) room -= widths[i] + 2;
    const bool headless = !t->cells[0].text[0];
    for (int64_t i = headless ? t->n_columns : 0; i < t->n; i += t->n_columns)
        print_row(t, &t->cells[i], widths, room);
}

void table_free(table *t) {
    for (int64_t i = 0; i < t->n; i++) free(t->cells[i].text);
    free(t->cells);
    *t = (table){0};
}

int table_print(table *t) {
    const bool failed = t->failed;
    if (!failed) print_rows(t);
    table_free(t);
    return failed ? fail_memory() : EXIT_OK;
}

/* ---- Progress -------------------------------------------------------------------------------- */

bool progress_wanted(void) { return isatty(STDERR_FILENO); }

void progress_bar(const char *label, double share, const char *text) {
    enum { WIDTH = 24 };
    if (!progress_wanted() || window_width(STDERR_FILENO) < 72) return;
    fprintf(stderr, "\r%s ", label);
    for (int i = 0; i < WIDTH; i++) fputs(i < share * WIDTH ? "━" : "─", stderr);
    fprintf(stderr, " %s\033[K", text);
    fflush(stderr);
}

void progress_clear(void) {
    if (progress_wanted()) fputs("\r\033[K", stderr);
}
