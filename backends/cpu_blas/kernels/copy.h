/* copy.h - copies and conversions that other kernels use too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_COPY_H
#define TENON_CPU_BLAS_COPY_H

#include "backends/cpu_blas/kernels/kernels.h"

/* n items side by side, from dtype src to dtype dst; the rules are those of cpu_ref. */
void blas_convert(int64_t n, tn_dtype dst, void *to, tn_dtype src, const void *from);

/* n items of 1, 2, 4 or 8 bytes, as they are; steps in bytes. */
void blas_copy_items(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n,
                     int64_t bytes);

/* dst = src, of the same sizes, rank >= 1, in parallel; equal dtypes keep every bit. */
void blas_copy_views(const tn_call *c, const tn_view *dst, const tn_view *src);

/* n lanes; floats that become integers are limited to low .. high. */
typedef void (*blas_lanes_fn)(int64_t n, void *to, const void *from, double low, double high);
typedef void (*blas_turn_fn)(int64_t rows, int64_t cols, void *y, int64_t y_ld, const void *x,
                             int64_t x_ld);

typedef struct blas_copy_code {
    void (*fill[2])(int64_t n, void *y, const void *item); /* items of 4 and 8 bytes */
    blas_lanes_fn lanes[BLAS_LANE_TYPES][BLAS_LANE_TYPES]; /* from, to; NULL: the same */
    blas_lanes_fn odd[BLAS_LANE_TYPES];                    /* to f32 that rounds to 16 bits once */
    blas_lanes_fn nonzero[BLAS_LANE_TYPES];                /* to i32 */
    blas_turn_fn turn[4]; /* y[j * y_ld + i] = x[i * x_ld + j], items of 1, 2, 4, 8 bytes */
} blas_copy_code;
BLAS_CODE(copy)

#endif
