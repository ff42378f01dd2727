/* kit_c11.c - the kit alone, as C11 without extensions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/kit.h>
/* after it, so that kit.h is seen to need nothing else */
#include <tenon/kit_ops.h>

int64_t kit_c11(tn_call *c);
int64_t kit_c11(tn_call *c) { return tnk_fail(c, TN_ERR_INVALID, "%d", 1) + tnk_min(1, 2); }
