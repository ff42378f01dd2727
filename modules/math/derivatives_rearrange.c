/* derivatives_rearrange.c - the derivative of padding.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/grads.h"

/* What was added is cut off, and what was cut off is 0. */
void math_grad_constant_pad(tn_grad_ctx *c) {
    static tn_op_ref op = {"constant_pad", 0, 0};
    const tn_value pad = arg(c, "pad");
    int64_t back[2 * TN_MAX_RANK]; /* the shape rule has bounded entries and their number */

    for (uint32_t i = 0; i < pad.aux; i++) back[i] = -pad.ints[i];
    set(c, "x",
        MATH_CALL(&op, tn_value_tensor(grad_of(c)), tn_value_ints((tn_ints){back, pad.aux}),
                  tn_int(0)));
}
