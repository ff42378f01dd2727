/* backend.c - loads a plugin by path, asks for it by name, and asks who ran the op.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include <math_ops.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "./acme.so";
    /* [load.begin] */
    tn_plugin_load(path);    /* its bytes are checked before its code runs */
    tn_use_provider("acme"); /* ask it first; else the priorities of kernels decide */
    tn_tensor *y = tn_relu(tn_from((const float[]){-1, 2, -3}, TN_INTS(3), TN_F32));
    printf("%s by %s\n", tn_to_string(y), tn_last_provider());
    if (tn_error()) fprintf(stderr, "%s\n", tn_error_message());
    /* [load.end] */
    return tn_error() || strcmp(tn_last_provider(), "acme") != 0;
}
