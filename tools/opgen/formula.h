/* formula.h - the scalar meaning of elementwise rows: `f: x > 0 ? x : 0`.
 *
 * C's operators over the row's arguments, numbers and the functions of functions.inc, read into a
 * tree and written as C again. Invariant: what is written is defined for every value. Integers wrap
 * around, and no function of theirs is partial; so + - * << >> of integers become calls.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_FORMULA_H
#define TENON_OPGEN_FORMULA_H

#include <stdio.h>

#include "tools/opgen/library.h"

/* The tree, with every name resolved; NULL after a message. It ends where no operator follows. */
formula *parse_formula(ops_library *, tni_lex *, const row *);
/* May floats, or else integers, be computed by it? False after a message. */
bool check_formula(ops_library *, const formula *, const row *, bool floats);
void write_formula(FILE *, const formula *, const row *, bool floats);

#endif
