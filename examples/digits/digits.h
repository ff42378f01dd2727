/* digits.h - the digits classifier: one call that trains, saves, loads again and compares.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DIGITS_H
#define DIGITS_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct digits_progress { /* after each step */
    int epoch, epochs;           /* epoch counts from 1 */
    int64_t step, steps;         /* of all epochs; step counts from 1 */
    double loss;                 /* mean over the epoch so far */
} digits_progress;

typedef struct digits_opts {
    const char *data;       /* the CSV file */
    const char *checkpoint; /* where the trained weights are saved */
    const char *provider;   /* "cpu_blas": whose kernels are asked first; NULL = the usual order */
    uint64_t seed; /* of weights and batches; the split into training and test is always the same */
    int epochs;    /* 0 = 30 */
    void (*progress)(void *user, const digits_progress *); /* NULL = silent */
    void *user;
} digits_opts;

typedef struct digits_result {
    int64_t n_train, n_test;
    double loss;              /* mean over the last epoch */
    double accuracy;          /* on the test digits, 0 to 1 */
    double reloaded_accuracy; /* the same, with the weights as read back from the checkpoint */
    double seconds;           /* training alone */
} digits_result;

tn_status digits_run(const digits_opts *, digits_result *out);

#ifdef __cplusplus
}
#endif
#endif
