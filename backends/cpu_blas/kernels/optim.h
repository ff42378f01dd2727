/* optim.h - one step of an optimizer on one parameter. Index [2]: f32, f64.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_OPTIM_H
#define TENON_CPU_BLAS_OPTIM_H

#include "backends/cpu_blas/kernels/sets.h"

typedef struct blas_optim { /* of one step; sign: -1 to maximise */
    double sign, decay;
    double lr, momentum, dampening; /* sgd */
    double beta1, beta2, eps;       /* adam */
    double rate, scale, shrink; /* lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), of the parameter */
    bool nesterov;
} blas_optim;
typedef void (*blas_optim_fn)(int64_t n, void *const *x, const blas_optim *); /* x: optim.inc */

typedef struct blas_optim_code {
    blas_optim_fn sgd[2], adam[2];
} blas_optim_code;
BLAS_CODE(optim)

#endif
