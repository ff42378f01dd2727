/* json.c - prints JSON. SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int print_result(const request *r, json_t *node, table *t) {
    const bool pending = tn_error() != TN_OK;
    const int code = pending ? fail_pending() : r->json ? json_print(node) : table_print(t);
    if (pending || r->json) table_free(t);
    if (pending || !r->json) json_decref(node);
    return code;
}

#if TENON_HAVE_JANSSON

int json_print(json_t *node) {
    char *text = node ? json_dumps(node, JSON_INDENT(2)) : NULL;
    json_decref(node);
    if (!text) return fail_memory();
    puts(text);
    free(text);
    return EXIT_OK;
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

json_t *json_text(const char *text) { return (void)text, NULL; }
json_t *json_number(double x) { return (void)x, NULL; }

#endif
