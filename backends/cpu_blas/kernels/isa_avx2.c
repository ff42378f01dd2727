/* isa_avx2.c - the vector code for AVX2 with FMA.
 * SPDX-License-Identifier: Apache-2.0 */
#define TNI_VECTOR_BYTES 32
#define TNI_TARGET       "avx2,fma"
#define TNI_TABLE        tni_vec_avx2
#define TNI_TABLE_NAME   "avx2"
#include "backends/cpu_blas/kernels/isa.inc"
