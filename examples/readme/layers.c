/* layers.c - standing in calls: products in bf16, whatever the program wrote; and a step that is
 * captured and replayed. Quoted by docs/layers.md. SPDX-License-Identifier: Apache-2.0 */
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

static void products_in_bf16(void) {
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
}

/* [replay.begin] */
/* One step down the gradient of the mean of (w x - y)^2; returns that mean. */
static tn_tensor *step(tn_tensor *w, tn_tensor *x, tn_tensor *y) {
    tn_tensor *loss = tn_mse_loss(tn_matmul(x, w), y, NULL);
    tn_backward(loss);
    tn_tensor *grad = tn_grad_of(w);
    const bool recorded = tn_set_grad_enabled(false);
    tn_sub_(w, tn_mul(grad, tn_scalar(0.1)));
    tn_set_grad_enabled(recorded);
    tn_zero_grad(w);
    return loss;
}

static void train(tn_tensor *w, tn_tensor *x, tn_tensor *y) {
    tn_capture *capture = tn_capture_begin();
    tn_tensor *loss = step(w, x, y);
    tn_capture_end(capture);
    for (int i = 1; i < 100 && !tn_error(); i++) {
        const float in[] = {(float)(i % 3), 1, (float)(i % 5), -1};
        const float out[] = {2 * in[0] + 3 * in[1], 2 * in[2] + 3 * in[3]};
        tn_write(x, in, sizeof in);
        tn_write(y, out, sizeof out);
        tn_replay(capture);
    }
    printf("w %s, loss %.3f\n", tn_to_string(w), tn_item(loss));
    tn_capture_free(capture);
}
/* [replay.end] */

int main(void) {
    const tn_scope scope = tn_scope_push();
    products_in_bf16();
    tn_tensor *w = tn_zeros(TN_INTS(2, 1), TN_F32);
    tn_set_requires_grad(w, true);
    train(w, tn_ones(TN_INTS(2, 2), TN_F32), tn_ones(TN_INTS(2, 1), TN_F32));
    tn_scope_pop(scope);
    if (!tn_error()) return 0;
    fprintf(stderr, "%s\n", tn_error_message());
    return 1;
}
