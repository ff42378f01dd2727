/* kernels.h - what the drivers share: questions about views, and the walk over strided ones.
 *
 * Invariant: how work is cut depends on shapes only, so results have the same bits for every number
 * of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_KERNELS_H
#define TENON_CPU_BLAS_KERNELS_H

#include "backends/cpu_blas/families.h"
#include "backends/cpu_blas/kernels/sets.h"

static inline int blas_is_f64(const tn_view *v) { return v->dtype.bits == 64; }

/* A tensor argument that may be absent: NULL. */
static inline const tn_view *blas_optional(const tn_value *v) {
    return v->tag == TN_TAG_VIEW ? v->view : NULL;
}

/* How many pieces of `size` cover n; n filled up to whole ones. */
static inline int64_t blas_pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t blas_round_up(int64_t n, int64_t size) { return blas_pieces(n, size) * size; }

/* Views of the same sizes, walked a run along the last dim at a time. views[0] is the result. */
typedef struct blas_runs {
    const tn_view *views[4];
    uint32_t n_views;
    /* at[k]: first of n elements of views[k] */
    void (*body)(void *arg, int64_t n, char *const *at);
    void *arg;
    int64_t pieces; /* the walk's: pieces a run is cut into, each at most TNK_GRAIN */
} blas_runs;

void blas_runs_walk(const tn_call *c, blas_runs *r); /* rank >= 1; in parallel */

#endif
