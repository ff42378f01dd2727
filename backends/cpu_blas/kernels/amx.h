/* amx.h - bf16 products on AMX tiles: what they are packed into, and one block of C.
 *
 * A panel is 32 rows of A, or 32 columns of B, with k filled up to whole steps of 32: for every
 * step two tiles of 1 KiB, so that a product reads memory in order. Sums are f32. The hardware
 * takes subnormal numbers as 0, and gives 0 for them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_AMX_H
#define TENON_CPU_BLAS_AMX_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BLAS_PANEL = 32,
    BLAS_STEP = 32,
    BLAS_STEP_BYTES = 2 * BLAS_PANEL * BLAS_STEP,
    BLAS_DEPTH = 32 /* steps after which the sums of a block are put aside */
};

/* Whether this processor has AMX for bf16 and the kernel lets this process use it: feature bits,
 * XGETBV, and the permission, which is asked for once and holds for every thread. [init] */
bool blas_amx_ask(void);

typedef struct blas_lanes { /* lanes are rows of A or columns of B; strides in elements, one is 1 */
    const uint16_t *x;
    int64_t lane, step; /* to the next lane, to the next k */
    int64_t n, k;       /* lanes; k */
    bool pairs;         /* B: two values of k side by side in a column */
} blas_lanes;

void blas_amx_pack(void *panels, const blas_lanes *);

typedef struct blas_amx_block { /* C[m,n] = A B + bias, rounded to bf16 once */
    int64_t m, n, steps;
    const char *a, *b;    /* panels one after the other */
    float *sums;          /* of m and n filled up to whole panels; NULL if steps <= BLAS_DEPTH */
    const uint16_t *bias; /* rows of n, or NULL */
    int64_t bias_row;     /* 0: the same for all */
    uint16_t *c;
    int64_t ldc;
} blas_amx_block;

void blas_amx_run(const blas_amx_block *); /* the thread's tiles are its own: set up and released */

#endif
