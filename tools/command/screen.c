/* screen.c - text, tables and progress.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/screen.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/command/failure.h"

/* ---- Text ------------------------------------------------------------------------------------ */

static int window_width(int fd) {
    struct winsize w;
    return isatty(fd) && ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 1 << 20;
}

/* Characters, not bytes. */
static int width_of(const char *text, size_t bytes) {
    int n = 0;
    for (size_t i = 0; i < bytes; i++) n += (text[i] & 0xc0) != 0x80;
    return n;
}

static int width(const char *text) { return width_of(text, strlen(text)); }

/* Prints one line of text from column `at` on. A word that would end beyond `end` begins a new line
 * at column `hang`; one that is too long for that too sticks out whole. */
static void print_words(FILE *f, const char *text, int at, int hang, int end) {
    for (int column = at; *text;) {
        const size_t blanks = strspn(text, " "), bytes = strcspn(text + blanks, " ");
        const int n = width_of(text + blanks, bytes);
        const bool fits_there = hang + n <= end;
        if (blanks && column > hang && fits_there && column + (int)blanks + n > end) {
            fprintf(f, "\n%*s", hang, "");
            column = hang;
        } else {
            fprintf(f, "%*s", (int)blanks, "");
            column += (int)blanks;
        }
        fwrite(text + blanks, 1, bytes, f);
        column += n;
        text += blanks + bytes;
    }
}

static void print_line(FILE *f, const char *text, size_t bytes) {
    char *line = strndup(text, bytes);
    if (line)
        print_words(f, line, 0, (int)strspn(line, " ") + 2, window_width(fileno(f)));
    else
        fwrite(text, 1, bytes, f); /* without memory: as it is */
    free(line);
    fputc('\n', f);
}

void print_wrapped(FILE *f, const char *format, ...) {
    va_list list;
    char *text = NULL;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0) text = NULL;
    va_end(list);
    if (!text) fputs("out of memory\n", f);
    for (const char *at = text; at;) {
        const size_t n = strcspn(at, "\n");
        print_line(f, at, n);
        at = at[n] ? at + n + 1 : NULL;
    }
    free(text);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static bool colored(void) {
    const char *no = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no && *no);
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
    t->failed |= !text;
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

/* Beside narrow columns, the last one is worth being wrapped in what they leave; below that it goes
 * on in lines of its own. */
enum { LEAST_ROOM = 32, INDENT = 4 };

typedef struct layout {
    int widths[MOST_COLUMNS];
    int window, room; /* columns: of the terminal, and for the last cell of a row */
} layout;

static layout lay_out(const table *t) {
    layout l = {.window = window_width(STDOUT_FILENO)};
    for (int64_t i = 0; i < t->n; i++) {
        int *w = &l.widths[i % t->n_columns];
        if (width(t->cells[i].text) > *w) *w = width(t->cells[i].text);
    }
    l.room = l.window;
    for (int i = 0; i < t->n_columns - 1; i++) l.room -= l.widths[i] + 2;
    return l;
}

static void print_shaded(const struct cell *c, int at, int end) {
    static const char *const codes[] = {"", "\033[32m", "\033[31m", "\033[2m", "\033[1m"};
    const bool color = c->shade != PLAIN && colored();
    if (color) fputs(codes[c->shade], stdout);
    print_words(stdout, c->text, at, at, end);
    if (color) fputs("\033[0m", stdout);
}

/* Leaves a gap before the next cell, or begins a line if `need` columns are not left in this one.
 * Returns the column. */
static int begin_cell(int at, int gap, int need, int window) {
    if (at == 0 || at + gap + need <= window) {
        printf("%*s", gap, "");
        return at + gap;
    }
    printf("\n%*s", INDENT, "");
    return INDENT;
}

static void print_row(const table *t, const struct cell *row, const layout *l) {
    int n = t->n_columns, at = 0, gap = 0;
    while (n > 0 && !row[n - 1].text[0]) n--;
    for (int i = 0; i < n; i++) {
        const int w = width(row[i].text), pad = l->widths[i] - w;
        if (w == 0) {
            gap += pad + 2;
            continue;
        }
        const bool right = t->right >> i & 1, last = i == t->n_columns - 1;
        const bool wraps = last && l->room >= LEAST_ROOM;
        at = begin_cell(at, gap + (right ? pad : 0), wraps ? 0 : w, l->window);
        print_shaded(&row[i], at, last ? l->window : 1 << 20);
        at += w;
        gap = right ? 2 : pad + 2;
    }
    putchar('\n');
}

static void print_rows(const table *t) {
    const layout l = lay_out(t);
    const bool headless = !t->cells[0].text[0];
    for (int64_t i = headless ? t->n_columns : 0; i < t->n; i += t->n_columns)
        print_row(t, &t->cells[i], &l);
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
    const int most = window_width(STDERR_FILENO);
    if (!progress_wanted() || width(label) + WIDTH + width(text) + 2 >= most) return;
    fprintf(stderr, "\r%s ", label);
    for (int i = 0; i < WIDTH; i++) fputs(i < share * WIDTH ? "━" : "─", stderr);
    fprintf(stderr, " %s\033[K", text);
    fflush(stderr);
}

void progress_clear(void) {
    if (progress_wanted()) fputs("\r\033[K", stderr);
}
