/* moments.h - sums of squares, for means and deviations. Index [2]: f32, f64.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_MOMENTS_H
#define TENON_CPU_BLAS_MOMENTS_H

#include "backends/cpu_blas/kernels/sets.h"

typedef struct blas_moments_code {
    double (*squares_row[2])(const void *x, int64_t n, double centre); /* sum((x - centre)^2) */
    void (*squares_cols[2])(const void *x, int64_t rows, int64_t ld, int64_t cols,
                            const double *centre, double *acc);
} blas_moments_code;
BLAS_CODE(moments)

#endif
