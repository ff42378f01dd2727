/* reduce.h - the rows of reductions, and numbers kept in blas_acc written as any dtype.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_REDUCE_H
#define TENON_CPU_BLAS_REDUCE_H

#include "backends/cpu_blas/kernels/kernels.h"

enum { BLAS_OF_NONE_0, BLAS_OF_NONE_1, BLAS_OF_NONE_FAILS };

typedef struct blas_reduction { /* tn_kernel.user of the rows */
    const char *op;
    uint8_t kind;    /* BLAS_SUM ... */
    uint8_t of_none; /* the result for no elements */
    bool position;   /* the result is where the element is */
    bool mean;       /* the result is divided by how many elements there are */
} blas_reduction;

extern const blas_reduction blas_reduce_sum, blas_reduce_mean, blas_reduce_prod, blas_reduce_amax,
    blas_reduce_amin, blas_reduce_argmax, blas_reduce_argmin, blas_reduce_any, blas_reduce_all;

tn_status blas_reduce_run(const void *, tn_call *);
extern const uint8_t blas_moments, blas_std, blas_norm; /* tn_kernel.user of these rows */
void blas_norm_supports(const tn_call *, tn_verdict *);
tn_status blas_moments_run(const void *, tn_call *);

/* n numbers, doubles if is_float, to elements at .. at + n - 1 of v, converted and rounded once. */
void blas_store_acc(const tn_view *v, int64_t at, const blas_acc *x, int64_t n, bool is_float);

#endif
