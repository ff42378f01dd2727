/* cross_entropy.h - one row of cross_entropy and of its backward. Index [2]: f32, f64.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_CROSS_ENTROPY_H
#define TENON_CPU_BLAS_CROSS_ENTROPY_H

#include "backends/cpu_blas/kernels/sets.h"

typedef struct blas_cross_entropy_code {
    double (*logsumexp[2])(const void *x, int64_t n, double *max); /* log(sum(exp(x - max))) */
    /* dx = scale * exp(x - max - logsum) */
    void (*backward[2])(void *dx, const void *x, int64_t n, double max, double logsum,
                        double scale);
} blas_cross_entropy_code;
BLAS_CODE(cross_entropy)

#endif
