/* families_sse2.c - the vector code of rows, norms, copies, products for SSE2, which every x86-64 has.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/vector/set_sse2.inc"

#include "backends/cpu_blas/vector/families_set.inc"
