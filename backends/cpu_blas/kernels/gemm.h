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
    bool biased;                  /* for plans of tni_half, which are made before there is memory */
    void *y, *workspace;
} tni_gemm_data;

typedef struct tni_half { /* the plan of a product of 16-bit floats */
    tni_gemm_shape s;     /* of what is given */
    tn_dtype dtype;
    tni_product wide;    /* f32: of tight copies of a and b; not for AMX */
    int64_t edge, steps; /* AMX: of a block of C, of k */
    int64_t a_bytes, b_bytes, y_bytes, bias_bytes; /* of their place in the workspace */
    uint64_t workspace_bytes;
    bool amx;
} tni_half;

/* 0 if views can be had, else the reason; *layout: contiguous copies would help. */
int32_t tni_gemm_read(const tn_call *, tni_gemm_shape *, bool *layout);
/* Whether sizes and strides, filled in, are such as BLAS takes; puts those of sizes 0 and 1 right. */
bool tni_gemm_fits(tni_gemm_shape *);
/* How an f32 or f64 product of p->s goes: fills the rest of p. */
void tni_gemm_choose(tni_product *, int32_t max_threads);
/* `fixed`: the same bits for any number of threads, by BLAS too. */
void tni_gemm_product(const tni_product *, const tn_call *, const tni_gemm_data *, bool fixed);

/* How a product of p->s and p->dtype goes: fills the rest of p. Of bias, strides are read, and whether there is one. */
void tni_half_choose(tni_half *, int32_t max_threads, const tni_gemm_data *bias);
/* All of d in 16 bits. */
void tni_half_product(const tni_half *, const tn_call *, const tni_gemm_data *d);

#endif
