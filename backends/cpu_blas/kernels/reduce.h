/* reduce.h - the rows of reductions, and numbers kept in blas_acc written as any dtype.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_REDUCE_H
#define TENON_CPU_BLAS_REDUCE_H

#include "backends/cpu_blas/kernels/kernels.h"

enum { BLAS_SUM, BLAS_PROD, BLAS_MAX, BLAS_MIN, BLAS_ANY, BLAS_ALL, BLAS_REDUCE_COUNT };

typedef union blas_acc { /* what a reduction keeps: of floating elements a double, of others i */
    double f;
    int64_t i;
} blas_acc;

enum { BLAS_OF_NONE_0, BLAS_OF_NONE_1, BLAS_OF_NONE_FAILS };

typedef struct blas_reduction { /* tn_kernel.user of the rows */
    const char *op;
    uint8_t kind;    /* BLAS_SUM ... */
    uint8_t of_none; /* the result for no elements */
    bool position;   /* the result is where the element is */
    bool mean;       /* the result is divided by how many elements there are */
} blas_reduction;

/* Where [outer, n, inner] is cut follows from the shape alone: along n, if a row is longer than
 * TNK_GRAIN, or few columns are under many rows; else between rows, or tiles of columns. */
enum { BLAS_COLS = 256 }; /* columns of a tile, at most */
static inline bool blas_is_cut_along_n(int64_t n, int64_t inner) {
    return inner == 1 ? n > TNK_GRAIN : n >= 4096 && inner <= BLAS_COLS;
}

/* n numbers, doubles if is_float, to elements at .. at + n - 1 of v, converted and rounded once. */
void blas_store_acc(const tn_view *v, int64_t at, const blas_acc *x, int64_t n, bool is_float);

typedef struct blas_reduce_code { /* of lanes; kind: BLAS_SUM ... */
    blas_acc (*row[BLAS_REDUCE_COUNT][BLAS_LANE_TYPES])(const void *x, int64_t n);
    /* acc[j] = acc[j] op x[i * ld + j] for i in [0, rows), j in [0, cols) */
    void (*cols[BLAS_REDUCE_COUNT][BLAS_LANE_TYPES])(const void *x, int64_t rows, int64_t ld,
                                                     int64_t cols, blas_acc *acc);
    int64_t (*find[BLAS_LANE_TYPES])(const void *x, int64_t n, blas_acc best); /* the first such */
    /* largest, smallest of each column so far, and its row; x's first row is row `first` */
    void (*arg_cols[2][BLAS_LANE_TYPES])(const void *x, int64_t rows, int64_t ld, int64_t cols,
                                         int64_t first, blas_acc *best, int64_t *where);
} blas_reduce_code;
BLAS_CODE(reduce)

#endif
