/* random.h - random numbers by Philox. Index [2]: f32, f64.
 *
 * Elements are numbers first .. first + n - 1 of the stream; first is a multiple of 64.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_RANDOM_H
#define TENON_CPU_BLAS_RANDOM_H

#include "backends/cpu_blas/kernels/sets.h"

typedef struct blas_spread { /* where random numbers lie: low, high of uniform; mean, deviation */
    double a, b;
    double least, most; /* uniform: of the dtype's numbers in [low, high) */
    uint32_t bits;      /* uniform: of a word, those that count; f64: unused */
} blas_spread;

typedef struct blas_random_code {
    void (*uniform[2])(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                       const blas_spread *);
    void (*stretch[2])(int64_t n, void *y, const void *u, const blas_spread *); /* its last step */
    void (*normal[2])(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                      const blas_spread *);
    void (*dropout[2])(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                       const void *x, double p);
    void (*words)(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y);
} blas_random_code;
BLAS_CODE(random)

#endif
