/* blas.h - the OpenBLAS this plugin opened, and calls into it with a chosen number of threads.
 *
 * Invariant: tni_blas is filled once, by tni_blas_open, before any kernel runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_BLAS_H
#define TENON_CPU_BLAS_BLAS_H

#include <tenon/abi.h>

enum {
    TNI_BLAS_ROW_MAJOR = 101,
    TNI_BLAS_COL_MAJOR = 102,
    TNI_BLAS_PLAIN = 111,
    TNI_BLAS_TRANS = 112
};

typedef void (*tni_sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha,
                             const float *a, int lda, const float *b, int ldb, float beta, float *c,
                             int ldc);
typedef void (*tni_dgemm_fn)(int order, int ta, int tb, int m, int n, int k, double alpha,
                             const double *a, int lda, const double *b, int ldb, double beta,
                             double *c, int ldc);
typedef void (*tni_sgemv_fn)(int order, int ta, int m, int n, float alpha, const float *a, int lda,
                             const float *x, int incx, float beta, float *y, int incy);
typedef void (*tni_dgemv_fn)(int order, int ta, int m, int n, double alpha, const double *a,
                             int lda, const double *x, int incx, double beta, double *y, int incy);

typedef struct tni_blas_lib {
    tni_sgemm_fn sgemm;
    tni_dgemm_fn dgemm;
    tni_sgemv_fn sgemv;
    tni_dgemv_fn dgemv;
    /* The OpenMP build only, else NULL: its number of threads is one per calling thread. */
    int (*omp_threads)(void);
    void (*omp_set_threads)(int);
    bool has_avx512_code; /* its kernels for this processor */
} tni_blas_lib;

extern tni_blas_lib tni_blas;

/* Finds, opens, checks and describes the library; fails the start with all paths tried. [init] */
tn_status tni_blas_open(const tn_host *host, tn_plugin *self);

/* Sets the threads of BLAS calls from this thread; gives back what it was, for the same call again.
 */
static inline int tni_blas_threads(int threads) {
    if (!tni_blas.omp_set_threads) return 1; /* serial, or pinned to one when it was opened */
    const int before = tni_blas.omp_threads();
    if (before != threads) tni_blas.omp_set_threads(threads);
    return before;
}

#endif
