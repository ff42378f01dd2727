/* ccall.c - how an op is called from C, from the writer of the generated headers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/command/ccall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command/failure.h"
#include "tools/opgen/wrapper.h"

/* What `write` writes, without the end of its last line; NULL if memory ran out. */
static char *text_of(void (*write)(FILE *, const tni_schema *), const tni_schema *s) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return NULL;
    write(f, s);
    if (fclose(f)) return free(text), NULL;
    while (bytes > 0 && text[bytes - 1] == '\n') text[--bytes] = 0;
    return text;
}

bool c_call_make(const char *schema, c_call *out) {
    tni_schema s;
    char why[256];
    *out = (c_call){0};
    if (tni_schema_parse(schema, &s, why, sizeof why)) {
        fail(EXIT_INTERNAL, "%s: %s", schema, why);
        return false;
    }
    out->prototype = text_of(opgen_write_prototype, &s);
    out->types = text_of(opgen_write_types, &s);
    out->samples = text_of(opgen_write_samples, &s);
    if (out->prototype && out->types && out->samples) return true;
    c_call_free(out);
    fail_memory();
    return false;
}

void c_call_free(c_call *c) {
    free(c->prototype);
    free(c->types);
    free(c->samples);
    *c = (c_call){0};
}
