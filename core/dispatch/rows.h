/* rows.h - what holds of one row by itself; registry.c adds what holds of all together.
 *
 * Invariant: a refusal names row, field, cause and, where there is one, the fix.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_ROWS_H
#define TENON_DISPATCH_ROWS_H

#include "core/base/text.h"
#include "core/dispatch/registry.h"

/* "row, field: cause" into the problem's text; returns code. row NULL: "a row"; field "": none. */
tn_status tni_row_refuse(const tni_problem *, tn_status code, const char *row, const char *field,
                         const char *cause);
/* Fills op (zeroed) from its row, checked. On failure what was made is freed. */
tn_status tni_op_parse(tni_op *op, const tn_op *row, const tni_problem *);
/* add -> add_: the first argument becomes mutated, the result aliases it. NULL: no memory, or the
 * name is too long. */
tni_op *tni_op_twin(const tni_op *base);
void tni_op_free(tni_op *); /* NULL is fine */
/* Fills what follows from a kernel's row, checked, whatever its op is; plugin is set. */
tn_status tni_kernel_parse(tni_provider *, const tn_kernel *row, const tni_problem *);
/* Could such a kernel ever run for this op? */
tn_status tni_kernel_fits(const tni_provider *, const tni_op *, const tni_problem *);
/* Is the op what the kernel was written for? Its schema may have more arguments now. */
bool tni_kernel_knows(const tni_provider *, const tni_op *, const tni_problem *);

#endif
