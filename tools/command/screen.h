/* screen.h - what a person sees: text, tables, colour, progress.
 *
 * Colour is used only on a terminal and without NO_COLOR. On a terminal, text that is wider than
 * the window goes on in the next line, between words: nothing is cut, and a word (a path, say)
 * stays in one piece, so that it can be copied. In a pipe a row is a line.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_SCREEN_H
#define TENON_COMMAND_SCREEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Lines of text, and an end of line. What does not fit is indented two columns more. */
void print_wrapped(FILE *, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef enum shade { PLAIN, GOOD, BAD, DIM, BOLD } shade;

enum { MOST_COLUMNS = 12 };

typedef struct table {
    int n_columns;
    uint32_t right; /* bit i: column i is aligned to the right */
    struct cell {
        char *text;
        shade shade;
    } * cells;
    int64_t n, capacity;
    bool failed; /* out of memory */
} table;

/* titles: NULL-ended; *title may be "" in all columns for a table without a head. */
table table_new(const char *const *titles);
void table_cell(table *, shade, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Prints to stdout, and frees. Returns EXIT_OK or EXIT_NO_MEMORY. */
int table_print(table *);
void table_free(table *);

/* A line on stderr that replaces itself; nothing where stderr is no terminal. */
bool progress_wanted(void);
void progress_bar(const char *label, double share, const char *text);
void progress_clear(void);

#endif
