/* rows.h - writes NAME_rows.h, what the C files of an op library share: prototypes of the functions
 * that rows name, with arguments and results as C has them, and calls of ops in full.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_ROWS_H
#define TENON_OPGEN_ROWS_H

#include <stdio.h>

#include "tools/opgen/library.h"

void write_rows(FILE *, const ops_library *);
/* From what the core calls to those functions; for NAME_table.inc. */
void write_derivative_adapter(FILE *, const ops_library *, const row *);
void write_decompose_adapter(FILE *, const ops_library *, const row *);

#endif
