/* gemm.h - what the files of matrix products share: the shape of one, and its plan.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_GEMM_H
#define TENON_CPU_BLAS_GEMM_H

#include <tenon/abi.h>

extern bool tni_gemm_own; /* own packed blocks instead of BLAS; set once, when the plugin starts */
extern bool tni_gemm_amx; /* AMX for bf16; likewise */

typedef struct tni_matrix {
    int64_t row, col; /* strides; one of them is 1 */
    int64_t batch;
} tni_matrix;

typedef struct tni_gemm_shape { /* B products [m,k] x [k,n] */
    int64_t batch, m, n, k;
    tni_matrix a, b;
} tni_gemm_shape;

typedef struct tni_product {
    tni_gemm_shape s;
    int64_t bm, bn, rows, cols; /* a block of C; how many of them */
    int32_t way, slots;
    uint64_t slot_bytes, workspace_bytes;
    bool f64;
} tni_product;

typedef struct tni_gemm_data { /* row-major C without gaps; workspace of plan.workspace_bytes */
    const void *a, *b;
    const void *bias;             /* rows of n numbers that are added to C, or NULL */
    int64_t bias_row, bias_batch; /* elements from one to the next; 0: always the same */
    void *y, *workspace;
} tni_gemm_data;

/* 0 if views can be had, else the reason; *layout: contiguous copies would help. */
int32_t tni_gemm_read(const tn_call *, tni_gemm_shape *, bool *layout);
/* Whether sizes and strides, filled in, are such as BLAS takes; puts those of sizes 0 and 1 right. */
bool tni_gemm_fits(tni_gemm_shape *);
/* How an f32 or f64 product of p->s goes: fills the rest of p. */
void tni_gemm_choose(tni_product *, int32_t max_threads);
/* `fixed`: the same bits for any number of threads, by BLAS too. */
void tni_gemm_product(const tni_product *, const tn_call *, const tni_gemm_data *, bool fixed);

#endif
