/* formulas.h - writes NAME_formulas.inc: what elementwise rows compute, for backends to expand.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_FORMULAS_H
#define TENON_OPGEN_FORMULAS_H

#include <stdio.h>

#include "tools/opgen/library.h"

void write_formulas(FILE *, const ops_library *);

#endif
