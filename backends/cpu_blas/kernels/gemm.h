/* gemm.h - which code large products use.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_GEMM_H
#define TENON_CPU_BLAS_GEMM_H

#include <tenon/abi.h>

extern bool tni_gemm_own; /* own packed blocks instead of BLAS; set once, when the plugin starts */

#endif
