/* runs.c - see kernels.h: how strided views are walked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

static void runs_range(void *arg, int64_t begin, int64_t end) {
    const blas_runs *r = arg;
    const tn_view *o = r->views[0];
    const int32_t last = o->rank - 1;
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t start = piece % r->pieces * TNK_GRAIN;
        int64_t row = piece / r->pieces, offset[4] = {0};
        for (int32_t d = last; d >= 0; d--) {
            const int64_t index = d == last ? start : row % o->sizes[d];
            if (d < last) row /= o->sizes[d];
            for (uint32_t k = 0; k < r->n_views; k++) offset[k] += index * r->views[k]->strides[d];
        }
        char *at[4];
        for (uint32_t k = 0; k < r->n_views; k++) at[k] = tnk_at(r->views[k], offset[k]);
        r->body(r->arg, tnk_min(TNK_GRAIN, o->sizes[last] - start), at);
    }
}

void blas_runs_walk(const tn_call *c, blas_runs *r) {
    const tn_view *o = r->views[0];
    const int64_t numel = tn_view_numel(o);
    if (numel == 0) return;
    const int64_t run = o->sizes[o->rank - 1];
    r->pieces = blas_pieces(run, TNK_GRAIN);
    tnk_parallel(c, numel / run * r->pieces, tnk_min(run, TNK_GRAIN), runs_range, r);
}
