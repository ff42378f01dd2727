/* families.h - the families of kernels: each file of kernels/ with rows is one line here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_FAMILIES_H
#define TENON_CPU_BLAS_FAMILIES_H

#include <tenon/kit.h>

#include "modules/math/math_schemas.h"

#define BLAS_FAMILIES(FAMILY)                                                                      \
    FAMILY(ewise)                                                                                  \
    FAMILY(reduce)                                                                                 \
    FAMILY(moments)                                                                                \
    FAMILY(lines)                                                                                  \
    FAMILY(cross_entropy)                                                                          \
    FAMILY(norm)                                                                                   \
    FAMILY(copy)                                                                                   \
    FAMILY(index)                                                                                  \
    FAMILY(scatter)                                                                                \
    FAMILY(random)                                                                                 \
    FAMILY(optim)                                                                                  \
    FAMILY(gemm)                                                                                   \
    FAMILY(gemm_half)                                                                              \
    FAMILY(linear)

#define BLAS_FAMILY(name) extern const tnk_family blas_##name##_rows;
BLAS_FAMILIES(BLAS_FAMILY)
#undef BLAS_FAMILY

/* How every row begins: the op by its C name, and how many of its arguments the kernel reads. */
#define BLAS_ROW(op, n)                                                                            \
    .size = sizeof(tn_kernel), .schema = MATH_SCHEMA_##op, .device = "cpu", .n_args = n
#define BLAS_F32_F64 (TN_MASK(F32) | TN_MASK(F64))

#endif
