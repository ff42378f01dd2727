/* forms.h - the geometry that kernels see: broadcast, coalesced, reduced dims gathered.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_FORMS_H
#define TENON_DISPATCH_FORMS_H

#include "core/dispatch/signature.h"

/* Do tensors and results have shapes the op's form can show? Raises SHAPE, or INTERNAL. */
bool tni_form_check(const tni_signature *, const tni_invocation *);
/* After the check: how operands and outputs lie, and which operands are copied. Raises. */
bool tni_form_apply(tni_draft *, const tni_invocation *);
bool tni_form_contiguous(const tni_geometry *);
/* Makes operand k a contiguous temporary with dims in the order `permutation` (NULL: as they
 * are). */
void tni_form_copy(tni_draft *, uint32_t k, const tn_tensor *, const int8_t *permutation);
/* Makes operand k a temporary whose dims, which stay as they are, lie in memory in this order,
 * outermost first; NULL: row-major. */
void tni_form_lay(tni_draft *, uint32_t k, const tn_tensor *, const int8_t *order);

#endif
