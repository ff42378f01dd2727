/* wrapper.h - writes the wrapper of one op, and how it is called.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_WRAPPER_H
#define TENON_OPGEN_WRAPPER_H

#include "tools/opgen/header.h"

#include "core/schema/schema.h"

/* base: of a row NAME_, that of NAME, or NULL. shares_opts: the struct of options stands before it
 * already. */
void opgen_write_wrapper(FILE *, const opgen_header_op *, const tni_schema *,
                         const tni_schema *base, bool shares_opts);
const char *opgen_result_type(const tni_result *); /* "tn_tensor *" */
/* The struct of an op's two results or more: tn_NAME_result, or OWNER_NAME_result of a library that
 * uses the op of another (owner not NULL). */
void opgen_write_result(FILE *, const char *owner, const tni_schema *);
/* op_NAME, which takes every argument: for calls within library STEM. OWNER has the struct of its
 * results. */
void opgen_write_full(FILE *, const char *stem, const char *owner, const tni_schema *);
/* Would both write the same struct of options, but for its name? */
bool opgen_same_opts(const tni_schema *, const tni_schema *);

/* One op for people, each text of whole lines, possibly none: */
void opgen_write_prototype(FILE *, const tni_schema *);
void opgen_write_types(FILE *, const tni_schema *); /* structs of options and results */
void opgen_write_samples(FILE *,
                         const tni_schema *); /* calls without and with options, if it has any */

#endif
