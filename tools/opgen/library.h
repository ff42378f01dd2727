/* library.h - the .ops files of one op library in memory: rows, their columns and expressions.
 *
 * Owns all memory of a run in one arena. Invariant: after ops_read and ops_check succeeded
 * every name is resolved, every column is valid text for its parser in the core, and every
 * expression has the types its op's schema asks for; the writers (table.c, header.c) need not
 * check.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_LIBRARY_H
#define TENON_OPGEN_LIBRARY_H

#include "core/schema/lex.h"
#include "core/schema/schema.h"

typedef enum expr_kind {
    EXPR_NUMBER,
    EXPR_BOOL,
    EXPR_STR,
    EXPR_DTYPE,
    EXPR_NONE,     /* value */
    EXPR_GRAD,     /* index: of the result */
    EXPR_ARGUMENT, /* index: of the parameter */
    EXPR_RESULT,   /* index: of the result */
    EXPR_LIST,     /* items */
    EXPR_CALL      /* name, items; callee once checked */
} expr_kind;

typedef struct expr {
    expr_kind kind;
    const char *at; /* where it stands in the file */
    tn_value value;
    uint32_t index;
    char name[TNI_NAME_BYTES];
    const tni_schema *callee;
    uint32_t n_items;
    struct expr *items[TNI_MAX_ARGS];
} expr;

typedef struct formula formula; /* formula.h */

typedef struct row {
    const char *at;
    bool is_use;             /* a `use` line: an op of another library; schema only */
    const char *schema_text; /* one line */
    tni_schema schema;
    uint32_t traits;
    const char *form, *rule;                             /* rule NULL: shape_fn, or none */
    const char *shape_fn, *derivative_fn, *decompose_fn; /* NULL = not given */
    const char *keep, *none, *contract, *samples, *doc;  /* NULL = not given */
    uint32_t keep_args, keep_results;                    /* bit i: named in keep */
    uint32_t readers[TNI_MAX_ARGS]; /* of kept argument i: for whose gradients; 0 = all */
    expr *grads[TNI_MAX_ARGS];      /* d_NAME, or NULL */
    bool no_grad[TNI_MAX_ARGS];     /* d_NAME: none */
    uint32_t n_grads;               /* d_ columns, `none` included */
    expr *is;                       /* is:, or NULL */
    formula *f, *f_int, *f_bool;    /* NULL = not given */
    formula *refuse;                /* NULL, or where integers have no result; */
    const char *refuse_why;         /* and why not */
    struct row *next;
} row;

typedef struct arena_block {
    struct arena_block *next;
    max_align_t data[];
} arena_block;

typedef struct ops_source { /* one file */
    const char *path;
    char *text; /* comments blanked; rows end with NUL instead of a line end */
    uint64_t bytes;
    struct ops_source *next;
} ops_source;

typedef struct ops_library {
    const char *stem;             /* "math": how everything generated begins */
    ops_source *sources, *source; /* in the order given; the one that is being read */
    row *rows, **last;            /* in file order */
    uint32_t n_rows;              /* without use lines */
    uint32_t n_errors;
    bool rows_apart;    /* NAME_rows.h is a file; else the table holds what stands in it */
    bool schemas_apart; /* so is NAME_schemas.h */
    arena_block *blocks;
} ops_library;

/* Prints "file:line: message", counts it, returns false. at: in the text of some source; NULL: no
 * line, and the file is the one that is being read. */
bool ops_error(ops_library *, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void *ops_alloc(ops_library *, size_t bytes);              /* zeroed; NULL + message */
char *ops_copy(ops_library *, const char *text, size_t n); /* whitespace outside strings squeezed */

/* stem NULL: from the name of the one file. False after messages. */
bool ops_read(ops_library *, const char *stem, char *const *paths, uint32_t n_paths);
bool ops_check(ops_library *); /* across all rows: calls, types, columns that belong together */
void ops_free(ops_library *);

row *ops_find(const ops_library *, const char *op); /* also use lines; NULL if absent */
bool parse_row(ops_library *, char *text);          /* row.c */
expr *parse_expr(ops_library *, tni_lex *, const row *,
                 bool gradient);                 /* expr.c; NULL after a message */
bool check_formulas(ops_library *, const row *); /* formulas.c */
bool check_expr(ops_library *, expr *, const row *, const tni_param *wanted,
                int32_t present); /* types.c */
bool is_tensor_expr(const row *, const expr *, bool *list);

#endif
