/* static.c - one program that holds all it needs: libtenon, the ops and two providers are linked
 * in, and nothing is looked for on disk. It trains the digits.
 *
 *   bazel run //examples/static -- examples/data/digits.csv
 *
 * For sandboxes, fuzzers, and whoever ships a single file. cpu_blas still opens OpenBLAS by
 * itself; where there is none it says so, and cpu_ref runs everything.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include <tenon/tenon.h>

#include "examples/digits/digits.h"

/* [static.begin] */
TN_PLUGIN_DECLARE(math);
TN_PLUGIN_DECLARE(cpu_ref);
TN_PLUGIN_DECLARE(cpu_blas);

/* In safe mode only what is added here is used, whatever lies on disk. */
static tn_status start(void) {
    tn_plugin_add(TN_PLUGIN_QUERY(math));
    tn_plugin_add(TN_PLUGIN_QUERY(cpu_ref));
    if (tn_error()) return tn_error();
    if (tn_plugin_add(TN_PLUGIN_QUERY(cpu_blas))) {
        printf("without cpu_blas: %s\n", tn_error_message());
        tn_clear_error();
    }
    return tn_init(&(tn_init_opts){.safe_mode = true});
}
/* [static.end] */

int main(int argc, char **argv) {
    digits_result r;
    if (argc != 2) return fprintf(stderr, "usage: %s DIGITS.CSV\n", argv[0]), 2;
    const digits_opts opts = {.data = argv[1], .checkpoint = "static.safetensors"};
    if (start() || digits_run(&opts, &r))
        return fprintf(stderr, "error: %s\n", tn_error_message()), 1;
    printf("loss %.6f   test %.2f %%\n", r.loss, 100 * r.accuracy);
    return 0;
}
