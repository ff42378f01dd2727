/* json.c - prints JSON.
 *
 * Invariant: a command prints one document. SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int print_result(const request *r, json_t *node, table *t) {
    const bool pending = tn_error() != TN_OK;
    const int code = pending ? fail_pending() : r->json ? json_print(node) : table_print(t);
    if (pending || r->json) table_free(t);
    if (pending || !r->json) json_decref(node);
    return code;
}

/* Without jansson, and where it has no memory. */
static void print_quoted(const char *text) {
    putchar('"');
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ')
            printf("\\u%04x", c);
        else
            putchar(c & 0x80 ? '?' : c);
    }
    putchar('"');
}

static void print_failure(void) {
    printf(
        "{\"schema\": \"tenon.error/1\", \"error\": {\"exit\": %d, \"kind\": \"%s\", \"message\": ",
        failure_code(), exit_kind(failure_code()));
    print_quoted(failure_text());
    puts("}}");
}

/* What plugins print goes to stderr meanwhile. */
static int saved_stdout = -1;

void json_begin(void) {
    saved_stdout = dup(STDOUT_FILENO);
    if (saved_stdout >= 0) dup2(STDERR_FILENO, STDOUT_FILENO);
}

static void take_stdout_back(void) {
    if (saved_stdout < 0) return;
    fflush(stdout);
    dup2(saved_stdout, STDOUT_FILENO);
    close(saved_stdout);
}

#if TENON_HAVE_JANSSON

static json_t *document;

int json_print(json_t *node) {
    json_decref(document);
    document = node;
    return node ? EXIT_OK : fail_memory();
}

json_t *json_failure(int code, const char *text) {
    if (!text) return json_null();
    return json_pack("{s:i, s:s, s:o}", "exit", code, "kind", exit_kind(code), "message",
                     json_text(text));
}

void json_end(void) {
    take_stdout_back();
    if (failure_text())
        json_print(json_pack("{s:s, s:o}", "schema", "tenon.error/1", "error",
                             json_failure(failure_code(), failure_text())));
    char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    if (document && !text) fail_memory();
    if (text)
        puts(text);
    else if (failure_text())
        print_failure();
    json_decref(document);
    free(text);
}

json_t *json_text(const char *text) {
    json_t *node = text ? json_string(text) : json_null();
    if (node) return node;
    char *copy = strdup(text);
    for (char *at = copy; at && *at; at++)
        if (*at & 0x80) *at = '?';
    node = copy ? json_string(copy) : NULL;
    free(copy);
    return node;
}

json_t *json_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

#else

int json_print(json_t *node) {
    (void)node;
    return fail(EXIT_UNAVAILABLE,
                "--json: this tenon was built without jansson\n  fix: install libjansson-dev, "
                "and build again");
}

void json_end(void) {
    take_stdout_back();
    if (failure_text()) print_failure();
}

json_t *json_failure(int code, const char *text) { return (void)code, (void)text, NULL; }
json_t *json_text(const char *text) { return (void)text, NULL; }
json_t *json_number(double x) { return (void)x, NULL; }

#endif
