/* norm.h - rows of layer_norm and of its backward. Index [2]: f32, f64.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_NORM_H
#define TENON_CPU_BLAS_NORM_H

#include "backends/cpu_blas/kernels/sets.h"

typedef struct blas_norm_row { /* one row of layer_norm and of its backward */
    int64_t n;
    const void *x, *w, *b, *grad; /* w, b: NULL if absent */
    void *y;
    double eps, mean, rest, rstd; /* rest: what rounding the mean has lost, if that is known */
} blas_norm_row;

typedef struct blas_norm_code {
    void (*forward[2])(blas_norm_row *); /* fills mean, rest, rstd, y */
    void (*backward[2])(const blas_norm_row *);
    /* dw[j] += grad[j] * (x[j] - mean) * rstd, db[j] += grad[j] for j in [0, n) */
    void (*weights[2])(const blas_norm_row *, double *dw, double *db);
} blas_norm_code;
BLAS_CODE(norm)

#endif
