/* gemm.h - what the files of matrix products share: the shape of one, and its plan.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_GEMM_H
#define TENON_CPU_BLAS_GEMM_H

#include "backends/cpu_blas/kernels/sets.h"

extern bool blas_gemm_own; /* own packed blocks instead of BLAS; set once, when the plugin starts */
extern bool blas_gemm_amx; /* AMX for bf16; likewise */

typedef struct blas_matrix {
    int64_t row, col; /* strides; one of them is 1 */
    int64_t batch;
} blas_matrix;

typedef struct blas_gemm_shape { /* B products [m,k] x [k,n] */
    int64_t batch, m, n, k;
    blas_matrix a, b;
} blas_gemm_shape;

typedef struct blas_product {
    blas_gemm_shape s;
    int64_t bm, bn, rows, cols; /* a block of C; how many of them */
    int32_t way, slots;
    uint64_t slot_bytes, workspace_bytes;
    bool f64;
} blas_product;

typedef struct blas_gemm_data { /* row-major C without gaps; workspace of plan.workspace_bytes */
    const void *a, *b;
    const void *bias;             /* rows of n numbers that are added to C, or NULL */
    int64_t bias_row, bias_batch; /* elements from one to the next; 0: always the same */
    bool biased; /* for plans of blas_half, which are made before there is memory */
    void *y, *workspace;
} blas_gemm_data;

typedef struct blas_half { /* the plan of a product of 16-bit floats */
    blas_gemm_shape s;     /* of what is given */
    tn_dtype dtype;
    blas_product wide;   /* f32: of tight copies of a and b; not for AMX */
    int64_t edge, steps; /* AMX: of a block of C, of k */
    int64_t a_bytes, b_bytes, y_bytes, bias_bytes; /* of their place in the workspace */
    uint64_t workspace_bytes;
    bool amx;
} blas_half;

/* Answers for all products; drops all their plans. */
void blas_gemm_supports(const tn_call *, tn_verdict *);
void blas_gemm_drop(void *);

/* For plans. The shape of a product that was accepted; a copy of the plan, which blas_gemm_drop
 * frees. Both fail the call. */
tn_status blas_gemm_shape_of(tn_call *, blas_gemm_shape *);
tn_status blas_gemm_keep(tn_call *, tn_plan *, const char *op, const void *plan, size_t bytes);

/* Whether sizes and strides, filled in, are such as BLAS takes; puts those of sizes 0 and 1
 * right. */
bool blas_gemm_fits(blas_gemm_shape *);
/* How an f32 or f64 product of p->s goes: fills the rest of p. */
void blas_gemm_choose(blas_product *, int32_t max_threads);
/* `fixed`: the same bits for any number of threads, by BLAS too. */
void blas_gemm_product(const blas_product *, const tn_call *, const blas_gemm_data *, bool fixed);

/* How a product of p->s and p->dtype goes: fills the rest of p. Of bias, strides are read, and
 * whether there is one. */
void blas_half_choose(blas_half *, int32_t max_threads, const blas_gemm_data *bias);
/* All of d in 16 bits. */
void blas_half_product(const blas_half *, const tn_call *, const blas_gemm_data *d);

typedef struct blas_gemm_block { /* C[m,n] = A[m,k] B[k,n]; all strides in elements */
    int64_t m, n, k;
    const void *a;
    int64_t a_row, a_col;
    const void *b;
    int64_t b_row, b_col;
    const void *bias; /* not NULL: C starts from it. The caller puts it there, the kernel adds */
    int64_t bias_row;
    void *c;
    int64_t ldc; /* C's rows; its columns are adjacent */
    void *pack;  /* gemm_block only: 64-byte aligned, see BLAS_PACK_ROWS */
} blas_gemm_block;

enum {
    BLAS_BLOCK_M = 192, /* what one gemm_block may be; k is cut inside */
    BLAS_BLOCK_N = 512,
    BLAS_BLOCK_K = 256
};

/* Rows of packed A and columns of packed B, filled up to whole tiles of any instruction set; the
 * buffer of gemm_block is their sum times min(k, BLAS_BLOCK_K) elements. */
#define BLAS_PACK_ROWS(m) (((m) + 15) / 16 * 16 + 16)
#define BLAS_PACK_COLS(n) (((n) + 31) / 32 * 32 + 32)

typedef struct blas_gemm_code {                /* [2]: f32, f64 */
    void (*small[2])(const blas_gemm_block *); /* b_col or b_row is 1 */
    void (*block[2])(const blas_gemm_block *); /* m <= BLAS_BLOCK_M, n <= BLAS_BLOCK_N, any k */
} blas_gemm_code;
BLAS_CODE(gemm)

#endif
