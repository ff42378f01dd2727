/* index.h - what gather, scatter and scatter_add share: the walk over an index, a run along the
 * last dim at a time, the check of it, and how a result begins.
 *
 * Invariant: nothing is touched through an index before that index was checked. Work is cut
 * along a dim that no index moves along, so elements that meet are taken in row-major order of
 * index by one thread, whatever the number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_INDEX_H
#define TENON_CPU_BLAS_INDEX_H

#include "backends/cpu_blas/kernels/kernels.h"

#include <stdatomic.h>

enum { BLAS_INDEX, BLAS_INDEXED, BLAS_OTHER, BLAS_INDEX_VIEWS };

typedef struct blas_index_job blas_index_job;
typedef void blas_index_run(const blas_index_job *, int64_t n, char *const *at);
struct blas_index_job {
    blas_index_run *run;
    int32_t rank, cut; /* cut: the dim threads share out; -1: none */
    int64_t sizes[TN_MAX_RANK];
    int64_t strides[BLAS_INDEX_VIEWS][TN_MAX_RANK]; /* bytes; of the indexed view 0 along dim */
    int64_t steps[BLAS_INDEX_VIEWS];                /* bytes, along the last dim */
    char *data[BLAS_INDEX_VIEWS];
    int64_t limit, far; /* size and stride in bytes of the indexed dim */
    int64_t bytes;      /* per item of the other */
    int type;           /* scatter_add: of lanes of the sums */
    tn_dtype dtype;     /* scatter_add: of the other */
    int64_t other_far;  /* scatter_add: far of the other, if that is indexed too */
    _Atomic bool *bad;  /* gather: an index is out of range */
};

/* index [sizes], `to` indexed along dim, `other` in index's sizes; a scalar is one dim of size
 * 1. */
blas_index_job blas_index_job_of(blas_index_run *, const tn_view *index, const tn_view *to,
                                 int64_t to_bytes, const tn_view *other, int64_t dim);
int64_t blas_index_numel(const blas_index_job *);
void blas_index_walk(const tn_call *, blas_index_job *);
/* A run that puts items of the other where the index says. */
void blas_index_put(const blas_index_job *, int64_t n, char *const *at);
/* Fails the call, naming the first index that is not in 0 .. limit - 1. */
tn_status blas_index_check(tn_call *, const char *op, const tn_view *index, int64_t limit);
/* y = x; in place it is x. */
void blas_index_start(const tn_call *, const tn_view *x, const tn_view *y);

#endif
