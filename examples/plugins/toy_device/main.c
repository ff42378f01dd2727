/* main.c - fits y = X w on the toy device: forward, backward and steps all run there.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include <tenon/device.h>
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include <math_ops.h>

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: toy PLUGIN.so\n"), 2;
    tn_init(NULL);
    tn_plugin_load(argv[1]);
    tn_provider_runs("toy"); /* counts from here */
    tn_use_device(tn_device_find("toy:0"));

    const float numbers[] = {1, 2, 3, 4, 5, 6, 7, 9}, wanted[] = {8, 18, 28, 41};
    tn_tensor *x = tn_from(numbers, TN_INTS(4, 2), TN_F32);
    tn_tensor *y = tn_from(wanted, TN_INTS(4, 1), TN_F32);
    tn_tensor *w = tn_zeros(TN_INTS(2, 1), TN_F32);
    tn_set_requires_grad(w, true);

    for (int step = 0; step < 4000 && !tn_error(); step++) {
        const tn_scope scope = tn_scope_push();
        tn_tensor *error = tn_add(tn_matmul(x, w), tn_mul(y, -1));
        tn_backward(tn_sum(tn_mul(error, error)));
        const bool recording = tn_set_grad_enabled(false);
        tn_add_(w, tn_mul(tn_grad_of(w), -0.004));
        tn_set_grad_enabled(recording);
        tn_zero_grad(w);
        tn_scope_pop(scope);
    }
    printf("w = %s\n", tn_to_string(w));
    printf("%llu kernels ran on %s\n", (unsigned long long)tn_provider_runs("toy"),
           tn_last_provider());
    if (tn_error()) return fprintf(stderr, "error: %s\n", tn_error_message()), 1;

    /* What the toy has no kernel for says so, with who was asked. */
    if (!tn_exp(w)) fprintf(stderr, "%s\n", tn_error_message());
    return 0;
}
