/* wrapper.h - writes the wrapper of one op.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_WRAPPER_H
#define TENON_OPGEN_WRAPPER_H

#include "tools/opgen/header.h"

#include "core/dispatch/schema.h"

/* shares_opts: the struct of options stands before it already. */
void tni_write_wrapper(FILE *, const tni_header_op *, const tni_schema *, bool shares_opts);
/* Would both write the same struct of options, but for its name? */
bool tni_same_opts(const tni_schema *, const tni_schema *);

#endif
