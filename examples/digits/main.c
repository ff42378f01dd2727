/* main.c - trains the digits classifier five times, from different weights, and prints how good it
 * got.
 *
 *   digits DIGITS.CSV [PROVIDER]
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "examples/digits/digits.h"

enum { RUNS = 5, BAD_FILE = 4 };

static int fail(void) {
    const tn_status code = tn_error();
    fprintf(stderr, "error: %s\n", tn_error_message());
    return code == TN_ERR_FORMAT || code == TN_ERR_IO ? BAD_FILE : 1;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: digits DIGITS.CSV [PROVIDER]\n");
        return 2;
    }
    double sum = 0;
    for (uint64_t seed = 0; seed < RUNS; seed++) {
        const digits_opts opts = {.data = argv[1],
                                  .checkpoint = "digits.safetensors",
                                  .provider = argc == 3 ? argv[2] : NULL,
                                  .seed = seed};
        digits_result r;
        if (digits_run(&opts, &r)) return fail();
        printf("seed %d   loss %.4f   test %.2f %%   reloaded %.2f %%   %.2f s\n", (int)seed,
               r.loss, 100 * r.accuracy, 100 * r.reloaded_accuracy, r.seconds);
        sum += r.accuracy;
    }
    printf("mean of %d runs: %.2f %% of the test digits recognised\n", RUNS, 100 * sum / RUNS);
    return 0;
}
