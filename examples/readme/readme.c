/* readme.c - the training loop of README.md: a line through noise-free points, found by descent.
 * SPDX-License-Identifier: Apache-2.0 */
/* [train.begin] */
#include <tenon/tenon.h>

#include <math_ops.h>
#include <stdio.h>

int main(void) {
    tn_tensor *x = tn_normal(TN_INTS(64, 3), NULL); /* 64 points; y is what we want to learn */
    tn_tensor *y = tn_matmul(x, tn_from((const float[]){1, -2, 3}, TN_INTS(3, 1), TN_F32));
    tn_tensor *w = tn_zeros(TN_INTS(1, 3), TN_F32), *b = tn_zeros(TN_INTS(1), TN_F32);
    tn_set_requires_grad(w, true);
    tn_set_requires_grad(b, true);

    for (int step = 0; step < 200; step++) {
        tn_scope scope = tn_scope_push();
        tn_tensor *loss = tn_mse_loss(tn_linear(x, w, &(tn_linear_opts){.b = b}), y, NULL);
        tn_backward(loss);
        tn_set_grad_enabled(false); /* the update is no part of the function */
        tn_sgd_(TN_TENSORS(w, b), TN_TENSORS(tn_grad_of(w), tn_grad_of(b)), (tn_tensors){0}, 0.1,
                NULL);
        tn_set_grad_enabled(true);
        tn_zero_grad(w);
        tn_zero_grad(b);
        if (step % 50 == 0) printf("step %3d  loss %.6f\n", step, tn_item(loss));
        tn_scope_pop(scope); /* frees all that the step made */
    }
    printf("w = %s\n", tn_to_string(w));
    if (tn_error()) fprintf(stderr, "%s\n", tn_error_message()); /* the first error of the run */
    return tn_error() ? 1 : 0;
}
/* [train.end] */
