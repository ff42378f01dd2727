/* isa_avx512.c - the vector code for AVX-512 (F, BW, DQ, VL).
 * SPDX-License-Identifier: Apache-2.0 */
#define TNI_VECTOR_BYTES 64
#define TNI_TARGET       "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#define TNI_TABLE        tni_vec_avx512
#define TNI_TABLE_NAME   "avx512"
#include "backends/cpu_blas/kernels/isa.inc"
