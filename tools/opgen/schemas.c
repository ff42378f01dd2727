/* schemas.c - see schemas.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/schemas.h"

#include <string.h>

#include "tools/opgen/cname.h"

void write_schemas(FILE *f, const ops_library *l) {
    fprintf(f,
            "/* %s_schemas.h - the ops of %s as their kernels know them (tn_kernel.schema). "
            "Generated; do not\n * edit. SPDX-License-Identifier: Apache-2.0 */\n#ifndef "
            "TENON_SCHEMAS_",
            l->stem, l->stem);
    opgen_write_upper(f, l->stem);
    fputs("_H\n#define TENON_SCHEMAS_", f);
    opgen_write_upper(f, l->stem);
    fputs("_H\n\n", f);
    for (const row *r = l->rows; r; r = r->next) {
        char name[CNAME_BYTES];
        if (r->is_use) continue;
        fputs("#define ", f);
        opgen_write_upper(f, l->stem);
        fprintf(f, "_SCHEMA_%s ", opgen_cname_op(r->schema.name, name));
        opgen_write_string(f, r->schema_text, strlen(r->schema_text));
        fputc('\n', f);
    }
    fputs("\n#endif\n", f);
}
