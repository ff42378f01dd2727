/* table.h - writes NAME_table.inc: derivatives, decompositions, the tn_op rows and the note of
 * schemas.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_TABLE_H
#define TENON_OPGEN_TABLE_H

#include <stdio.h>

#include "tools/opgen/library.h"

void write_table(FILE *, const ops_library *);

#endif
