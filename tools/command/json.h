/* json.h - results for programs: one document on stdout, {"schema":"tenon.<command>/1", ...}.
 *
 * Built with jansson. Without it every node is NULL, and printing one explains what is missing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_JSON_H
#define TENON_COMMAND_JSON_H

#include "tools/command/command.h"
#include "tools/command/screen.h"

#if TENON_HAVE_JANSSON
#include <jansson.h>
#else
typedef struct json_t json_t;
static inline json_t *json_pack(const char *format, ...) { return (void)format, (json_t *)0; }
static inline json_t *json_array(void) { return (json_t *)0; }
static inline void json_array_append_new(json_t *to, json_t *node) { (void)to, (void)node; }
static inline void json_decref(json_t *node) { (void)node; }
#endif

/* The end of a command's work: prints one of the two, or the library's pending error; frees
 * both. Returns an exit code. */
int print_result(const request *, json_t *, table *);
/* Takes over the document, and keeps it for json_end; NULL says that memory ran out. Returns an
 * exit code. */
int json_print(json_t *);
/* From here to json_end stdout is the document's alone. */
void json_begin(void);
/* Prints the document, or the failure if there is one: one document, whatever happened. */
void json_end(void);
json_t *json_failure(int code, const char *text); /* what "error" holds; text NULL = null */
json_t *json_text(const char *text); /* bytes that are no UTF-8 become '?'; NULL becomes null */
json_t *json_number(double);         /* null if it is not finite */

#endif
