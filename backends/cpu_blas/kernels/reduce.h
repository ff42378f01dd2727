/* reduce.h - the rows of reductions, and numbers kept in tni_acc written as any dtype.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_REDUCE_H
#define TENON_CPU_BLAS_REDUCE_H

#include "backends/cpu_blas/kernels/kernels.h"

enum { TNI_OF_NONE_0, TNI_OF_NONE_1, TNI_OF_NONE_FAILS };

typedef struct tni_reduction { /* tn_kernel.user of the rows */
    const char *op;
    uint8_t kind;    /* TNI_SUM ... */
    uint8_t of_none; /* the result for no elements */
    bool position;   /* the result is where the element is */
    bool mean;       /* the result is divided by how many elements there are */
} tni_reduction;

extern const tni_reduction tni_reduce_sum, tni_reduce_mean, tni_reduce_prod, tni_reduce_amax,
    tni_reduce_amin, tni_reduce_argmax, tni_reduce_argmin, tni_reduce_any, tni_reduce_all;

tn_status tni_reduce_run(const void *, tn_call *);
extern const uint8_t tni_moments, tni_std, tni_norm; /* tn_kernel.user of these rows */
void tni_norm_supports(const tn_call *, tn_verdict *);
tn_status tni_moments_run(const void *, tn_call *);

/* n numbers, doubles if is_float, to elements at .. at + n - 1 of v, converted and rounded once. */
void tni_store_acc(const tn_view *v, int64_t at, const tni_acc *x, int64_t n, bool is_float);

#endif
