/* schemas.h - writes NAME_schemas.h: the schema of each row under a name, for the rows of kernels.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_SCHEMAS_H
#define TENON_OPGEN_SCHEMAS_H

#include <stdio.h>

#include "tools/opgen/library.h"

void write_schemas(FILE *, const ops_library *);

#endif
