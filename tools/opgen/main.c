/* opgen - from the .ops files of a library to NAME_ops.h (wrappers), NAME_rows.h (what its C files
 * share), NAME_table.inc (registration), NAME_schemas.h (what kernels are written for) and
 * NAME_formulas.inc (what elementwise rows compute).
 *
 * All are written in memory first and appear together under their names, or not at all.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/opgen/formulas.h"
#include "tools/opgen/header.h"
#include "tools/opgen/library.h"
#include "tools/opgen/rows.h"
#include "tools/opgen/schemas.h"
#include "tools/opgen/table.h"

typedef struct output {
    const char *path; /* NULL: not wanted */
    char *temporary;
    char *text;
    size_t bytes;
} output;

static bool complain(const char *path, const char *what) {
    fprintf(stderr, "%s: %s: %s\n", path, what, strerror(errno));
    return false;
}

static bool make_header(const ops_library *f, FILE *out) {
    char why[256] = "out of memory";
    opgen_header_op *ops = calloc(f->n_rows, sizeof *ops);
    uint32_t n = 0;
    for (const row *r = f->rows; ops && r; r = r->next)
        if (!r->is_use)
            ops[n++] = (opgen_header_op){r->schema_text, r->doc, (r->traits & TN_OP_INPLACE) != 0};
    const tn_status status =
        ops ? opgen_write_header(out, f->stem, ops, n, why, sizeof why) : TN_ERR_NOMEM;
    if (status) fprintf(stderr, "%s: %s\n", f->sources->path, why);
    free(ops);
    return status == TN_OK;
}

static bool make_rows(const ops_library *f, FILE *out) {
    write_rows(out, f);
    return true;
}

static bool make_table(const ops_library *f, FILE *out) {
    write_table(out, f);
    return true;
}

static bool make_schemas(const ops_library *f, FILE *out) {
    write_schemas(out, f);
    return true;
}

static bool make_formulas(const ops_library *f, FILE *out) {
    write_formulas(out, f);
    return true;
}

static bool make(const ops_library *f, output *o, bool (*write)(const ops_library *, FILE *)) {
    if (!o->path) return true;
    FILE *memory = open_memstream(&o->text, &o->bytes);
    if (!memory) return complain(o->path, "cannot make it in memory");
    const bool ok = write(f, memory), failed = ferror(memory) != 0;
    if (fclose(memory) || failed) return complain(o->path, "cannot make it in memory");
    return ok;
}

/* A rename would not ask: what is no regular file (a link, a pipe, a device) stays. */
static bool may_replace(const char *path) {
    struct stat st;
    if (lstat(path, &st) || S_ISREG(st.st_mode)) return true;
    fprintf(stderr, "%s: cannot write: it is not a regular file\n", path);
    return false;
}

static bool save_temporary(output *o) {
    if (!o->path) return true;
    if (!may_replace(o->path)) return false;
    const size_t n = strlen(o->path) + sizeof ".part";
    o->temporary = malloc(n);
    if (!o->temporary) return complain(o->path, "cannot write");
    snprintf(o->temporary, n, "%s.part", o->path);
    FILE *out = fopen(o->temporary, "wb");
    if (!out) return complain(o->temporary, "cannot open for writing");
    const bool written = fwrite(o->text, 1, o->bytes, out) == o->bytes;
    if (fclose(out) != 0 || !written) return complain(o->temporary, "cannot write");
    return true;
}

static bool publish(output *o) {
    if (!o->path) return true;
    if (rename(o->temporary, o->path)) return complain(o->path, "cannot rename onto it");
    free(o->temporary);
    o->temporary = NULL;
    return true;
}

static void discard(output *o) {
    if (o->temporary) remove(o->temporary);
    free(o->temporary);
    free(o->text);
}

typedef struct request {
    const char *name; /* of the library, or NULL */
    char **paths;
    uint32_t n_paths;
    output header, rows, table, schemas, formulas;
} request;

static bool run(request *q) {
    ops_library l;
    bool ok = ops_read(&l, q->name, q->paths, q->n_paths) && ops_check(&l);
    l.rows_apart = q->rows.path != NULL;
    l.schemas_apart = q->schemas.path != NULL;
    ok = ok && make(&l, &q->header, make_header) && make(&l, &q->rows, make_rows) &&
         make(&l, &q->table, make_table) && make(&l, &q->schemas, make_schemas) &&
         make(&l, &q->formulas, make_formulas);
    output *const outputs[] = {&q->header, &q->rows, &q->table, &q->schemas, &q->formulas};
    enum { N = sizeof outputs / sizeof *outputs };
    for (int i = 0; i < N; i++) ok = ok && save_temporary(outputs[i]);
    for (int i = 0; i < N; i++) ok = ok && publish(outputs[i]);
    for (int i = 0; i < N; i++) discard(outputs[i]);
    ops_free(&l);
    return ok;
}

/* Paths are moved to the front of argv. */
static bool parse_arguments(request *q, int argc, char **argv) {
    const struct {
        const char *flag, **value;
    } options[] = {
        {"--name", &q->name},
        {"--header", &q->header.path},
        {"--rows", &q->rows.path},
        {"--table", &q->table.path},
        {"--schemas", &q->schemas.path},
        {"--formulas", &q->formulas.path},
    };
    q->paths = argv;
    for (int i = 1; i < argc; i++) {
        const char **value = NULL;
        for (size_t k = 0; k < sizeof options / sizeof *options; k++)
            if (strcmp(argv[i], options[k].flag) == 0) value = options[k].value;
        if (value && i + 1 < argc)
            *value = argv[++i];
        else if (argv[i][0] != '-')
            argv[q->n_paths++] = argv[i];
        else
            return false;
    }
    return q->n_paths == 1 || (q->n_paths > 1 && q->name);
}

int main(int argc, char **argv) {
    request q = {0};
    if (!parse_arguments(&q, argc, argv)) {
        fputs("usage: opgen [--name NAME] [--header OUT.h] [--rows OUT.h] [--table OUT.inc]\n"
              "             [--schemas OUT.h] [--formulas OUT.inc] IN.ops...\n"
              "       Several files are one library, in the order given; they need a name.\n",
              stderr);
        return 1;
    }
    return run(&q) ? 0 : 1;
}
