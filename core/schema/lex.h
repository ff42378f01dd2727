/* lex.h - the few tokens that schemas, contracts, samples and op rows are made of.
 *
 * Owns nothing: a tni_lex walks over borrowed, NUL-terminated text. Invariants: p never moves past
 * the NUL, nothing is allocated, no result depends on the locale, and the first failure leaves its
 * text in why.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_SCHEMA_LEX_H
#define TENON_SCHEMA_LEX_H

#include <tenon/abi.h>

typedef struct tni_lex {
    const char *text;  /* start: columns count from here */
    const char *p;     /* next byte */
    const char *at;    /* where it failed, or NULL */
    char *why;         /* (optional: no text wanted) */
    uint64_t capacity; /* of why */
    bool no_columns;   /* leave "column N: " out of why: the caller knows a better place */
} tni_lex;

/* Both return false. The first failure wins: "column 7: expected a name, found '+'". */
bool tni_lex_fail(tni_lex *, const char *at, const char *expected);
bool tni_lex_failf(tni_lex *, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Space, tab and line end may stand before every token. */
void tni_lex_skip(tni_lex *);
bool tni_lex_end(tni_lex *);                     /* nothing is left; never fails */
bool tni_lex_take(tni_lex *, const char *token); /* takes it if it is next; never fails */
bool tni_lex_need(tni_lex *, const char *token); /* ... or fails */
bool tni_lex_word(tni_lex *, const char *word);  /* takes a whole word if it is next; never fails */
/* [A-Za-z_][A-Za-z0-9_]*; with `lower`, no capitals. Fails if there is none or it does not fit. */
bool tni_lex_name(tni_lex *, char *out, uint64_t capacity, bool lower, const char *expected);
/* After a name: what "::name" and ".overload" add to it, if they follow. */
bool tni_lex_qualify(tni_lex *, char *name, uint64_t capacity);
bool tni_lex_at_number(tni_lex *); /* a number is next; never fails */
/* INT, or FLOAT when it has a point, an exponent, or is inf or nan. Exact: what a correctly rounded
 * decimal conversion gives, or an error (more than 2^53 or 10^22 would need a big-number
 * algorithm). */
bool tni_lex_number(tni_lex *, tn_value *out);
bool tni_lex_int(tni_lex *, int64_t *out, const char *expected);
bool tni_lex_ints(tni_lex *, int64_t *out, uint32_t capacity, uint32_t *n); /* "[1, 2]" */
bool tni_lex_bools(tni_lex *, bool *out, uint32_t capacity, uint32_t *n);   /* [true, false] */
bool tni_lex_string(tni_lex *, tn_value *out); /* "..." without escapes; STR into the text */

bool tni_dtype_by_name(const char *name, tn_dtype *out);

#endif
