/* cname.h - how schema names and text are spelled in C, for everything generated.
 *
 * Invariant: what is written compiles as C11 and as C++17 whatever the (parsed) schema and doc text
 * hold.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_CNAME_H
#define TENON_OPGEN_CNAME_H

#include <stdio.h>

#include "core/schema/schema.h"

enum { CNAME_BYTES = TNI_NAME_BYTES + 5 };

/* "sum.dim" -> "sum_dim", "acme::norm" -> "acme_norm": an op within other names. */
const char *opgen_cname_op(const char *op, char out[CNAME_BYTES]);
/* Of its function: "tn_sum_dim", but "acme_norm", whose namespace it has already. */
const char *opgen_cname_function(
    const char *op,
    char out[CNAME_BYTES]); /* Of its structs in a library: "wide_attention", but "acme_norm". */
const char *opgen_cname_own(const char *stem, const char *op, char out[2 * CNAME_BYTES]);
/* Name of a C parameter or field; "default" -> "default_": keywords, and what wrappers call their
 * locals. */
const char *opgen_cname(const char *name, char out[CNAME_BYTES]);

void opgen_write_upper(FILE *, const char *stem);                /* "MATH", for guards */
void opgen_write_string(FILE *, const char *text, uint64_t len); /* "..." with escapes */
void opgen_write_comment(FILE *, const char *text); /* cannot end the comment it stands in */
void opgen_write_float(FILE *, double);             /* shortest that reads back the same */
void opgen_write_int(FILE *, int64_t);              /* INT64_C(-3) only where it must */
const char *opgen_dtype_macro(tn_dtype);            /* "TN_F32" */

#endif
