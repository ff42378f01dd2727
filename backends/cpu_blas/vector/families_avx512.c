/* families_avx512.c - the vector code of rows, norms, copies, products for AVX-512 (F, BW, DQ, VL).
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/vector/set_avx512.inc"

#include "backends/cpu_blas/vector/families_set.inc"
