/* blas.h - the OpenBLAS this plugin opened, and calls into it with a chosen number of threads.
 *
 * Invariant: blas_lib is filled once, by blas_library_open, before any kernel runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_BLAS_H
#define TENON_CPU_BLAS_BLAS_H

#include <tenon/abi.h>

enum { BLAS_ROW_MAJOR = 101, BLAS_COL_MAJOR = 102, BLAS_PLAIN = 111, BLAS_TRANS = 112 };

typedef void (*blas_sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha,
                              const float *a, int lda, const float *b, int ldb, float beta,
                              float *c, int ldc);
typedef void (*blas_dgemm_fn)(int order, int ta, int tb, int m, int n, int k, double alpha,
                              const double *a, int lda, const double *b, int ldb, double beta,
                              double *c, int ldc);
typedef void (*blas_sgemv_fn)(int order, int ta, int m, int n, float alpha, const float *a, int lda,
                              const float *x, int incx, float beta, float *y, int incy);
typedef void (*blas_dgemv_fn)(int order, int ta, int m, int n, double alpha, const double *a,
                              int lda, const double *x, int incx, double beta, double *y, int incy);

typedef struct blas_library {
    blas_sgemm_fn sgemm;
    blas_dgemm_fn dgemm;
    blas_sgemv_fn sgemv;
    blas_dgemv_fn dgemv;
    /* The OpenMP build only, else NULL: its number of threads is one per calling thread. */
    int (*omp_threads)(void);
    void (*omp_set_threads)(int);
    bool has_avx512_code; /* its kernels for this processor */
} blas_library;

extern blas_library blas_lib;

/* Finds, opens, checks and describes the library; fails the start with all paths tried. [init] */
tn_status blas_library_open(const tn_host *host, tn_plugin *self);

/* Sets the threads of BLAS calls from this thread; gives back what it was, for the same call
 * again. */
static inline int blas_library_threads(int threads) {
    if (!blas_lib.omp_set_threads) return 1; /* serial, or pinned to one when it was opened */
    const int before = blas_lib.omp_threads();
    if (before != threads) blas_lib.omp_set_threads(threads);
    return before;
}

#endif
