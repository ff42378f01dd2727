/* layers.c - standing in calls: products in bf16, whatever the program wrote. Quoted by
 * docs/layers.md. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <tenon/layers.h>

#include <math_ops.h>

/* [autocast.begin] */
/* Factors of products become bf16; all else stays as it is. */
static tn_status cast(void *user, tn_op_ref *op, const tn_value *args, uint32_t n_args,
                      tn_value *outs, uint32_t n_outs) {
    (void)user;
    if (strcmp(op->name, "matmul") != 0) return tn_layer_pass(op, args, n_args, outs, n_outs);
    tn_value low[2];
    for (int i = 0; i < 2; i++)
        low[i] = tn_value_tensor(tn_to(args[i].tensor, TN_BF16)); /* goes to the layers below */
    return tn_layer_pass(op, low, 2, outs, n_outs);
}

static const tn_layer autocast = {
    .size = sizeof autocast, .flags = TN_LAYER_PARTS, .name = "autocast", .call = cast};
/* [autocast.end] */

int main(void) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = tn_ones(TN_INTS(2, 3), TN_F32), *w = tn_ones(TN_INTS(3, 4), TN_F32);
    tn_set_requires_grad(w, true);
    /* [use.begin] */
    tn_layer_push(&autocast);
    tn_tensor *y = tn_matmul(x, w);
    tn_layer_pop(&autocast);
    tn_backward(tn_sum(y)); /* casts are ops, and have derivatives */
    /* [use.end] */
    if (!tn_error())
        printf("y is %s, the gradient of w %s\n", tn_dtype_name(tn_dtype_of(y)),
               tn_dtype_name(tn_dtype_of(tn_grad_of(w))));
    tn_scope_pop(scope);
    if (!tn_error()) return 0;
    fprintf(stderr, "%s\n", tn_error_message());
    return 1;
}
