/* failure.h - what went wrong: exit codes, and the one failure of a command.
 *
 * Invariant: the first failure is kept, and told once, when the command has ended; in --json it is
 * the document.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_FAILURE_H
#define TENON_COMMAND_FAILURE_H

#include <stdint.h>

enum {
    EXIT_OK = 0,
    EXIT_CHECKS = 1, /* something was checked and is not as it should be */
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3, /* device or plugin */
    EXIT_BAD_FILE = 4,
    EXIT_NO_MEMORY = 5,
    EXIT_INTERNAL = 70
};

typedef struct exit_row {
    int code;         /* EXIT_* */
    const char *kind; /* for programs: "bad_file" */
    const char *text; /* "bad input file"; NULL ends the table */
} exit_row;
extern const exit_row exit_rows[];
const char *exit_kind(int code);
int exit_code(int32_t status); /* that belongs to a tn_status */

/* Remembers what went wrong, unless something did before; returns code. */
int fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fail_memory(void);
/* The library's pending error, which it clears; returns the exit code that belongs to it. */
int fail_pending(void);

const char *failure_text(void); /* NULL: nothing failed */
int failure_code(void);

#endif
