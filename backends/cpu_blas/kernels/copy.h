/* copy.h - copies and conversions that other kernels use too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_COPY_H
#define TENON_CPU_BLAS_COPY_H

#include "backends/cpu_blas/kernels/kernels.h"

/* n items side by side, from dtype src to dtype dst; the rules are those of cpu_ref. */
void blas_convert(int64_t n, tn_dtype dst, void *to, tn_dtype src, const void *from);

/* dst = src, of the same sizes, rank >= 1, in parallel; equal dtypes keep every bit. */
void blas_copy_views(const tn_call *c, const tn_view *dst, const tn_view *src);

#endif
