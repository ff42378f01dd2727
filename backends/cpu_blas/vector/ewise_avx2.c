/* ewise_avx2.c - the vector code of elementwise ops for AVX2, FMA and F16C.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/vector/set_avx2.inc"

#include "backends/cpu_blas/vector/ewise_set.inc"
