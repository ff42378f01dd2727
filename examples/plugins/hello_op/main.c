/* main.c - loads the plugin, calls its op, and checks the op's gradients.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include <tenon/check.h>
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include "hello_ops.h"

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: hello PLUGIN.so\n"), 2;
    tn_plugin_load(argv[1]);

    tn_scope scope = tn_scope_push();
    const float values[] = {-2, -1, 0, 1, 2, 3};
    tn_tensor *x = tn_from(values, TN_INTS(2, 3), TN_F32);
    tn_tensor *y = tn_swish(x, &(tn_swish_opts){.beta = TN_SET(2)});
    if (!tn_error()) printf("swish  %s\nran on %s\n", tn_to_string(y), tn_last_provider());

    for (int order = 1; order <= 2; order++) tn_op_gradcheck("swish", -1, order, NULL);
    tn_scope_pop(scope);

    if (tn_error()) return fprintf(stderr, "error: %s\n", tn_error_message()), 1;
    printf("first and second derivatives agree with central differences\n");
    return 0;
}
