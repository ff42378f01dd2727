/* isa_sse2.c - the vector code every x86-64 can run.
 * SPDX-License-Identifier: Apache-2.0 */
#define TNI_VECTOR_BYTES 16
#define TNI_TARGET       "sse2"
#define TNI_TABLE        tni_vec_sse2
#define TNI_TABLE_NAME   "sse2"
#include "backends/cpu_blas/kernels/isa.inc"
