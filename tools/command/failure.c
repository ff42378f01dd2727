/* failure.c - exit codes, and the one failure of a command.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/failure.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <tenon/tenon.h>

const exit_row exit_rows[] = {
    {EXIT_OK, "ok", "ok"},
    {EXIT_CHECKS, "checks", "a check failed"},
    {EXIT_USAGE, "usage", "usage"},
    {EXIT_UNAVAILABLE, "unavailable", "device or plugin unavailable"},
    {EXIT_BAD_FILE, "bad_file", "bad input file"},
    {EXIT_NO_MEMORY, "no_memory", "out of memory"},
    {EXIT_INTERNAL, "internal", "internal error"},
    {0},
};

const char *exit_kind(int code) {
    for (const exit_row *r = exit_rows; r->text; r++)
        if (r->code == code) return r->kind;
    return "internal";
}

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

static char failure[8192]; /* "": nothing failed; no memory is asked for, as there may be none */
static int code_kept;

int fail(int code, const char *format, ...) {
    if (failure[0]) return code;
    va_list list;
    va_start(list, format);
    vsnprintf(failure, sizeof failure, format, list);
    va_end(list);
    return code_kept = code;
}

int fail_memory(void) { return fail(EXIT_NO_MEMORY, "out of memory"); }

int fail_pending(void) {
    const int code = exit_code(tn_error());
    fail(code, "%s", tn_error_message());
    tn_clear_error();
    return code;
}

const char *failure_text(void) { return failure[0] ? failure : NULL; }

int failure_code(void) { return code_kept; }
