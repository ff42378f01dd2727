/* walk.h - what every reference kernel uses: walking views in row-major order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_WALK_H
#define TENON_CPU_REF_WALK_H

#include "backends/cpu_ref/load.h"

enum {
    REF_BLOCK = 256, /* elements converted at a time: a few such blocks stay in the L1 cache */
    REF_WALK_VIEWS = 5
};

/* ---- Walking --------------------------------------------------------------------------------- */

/* Visits views of the same sizes (those of views[0]) in row-major order, a run along the last dim
 * at a time. A view may have stride 0 or negative strides anywhere. */
typedef struct ref_walk {
    int32_t rank;
    int32_t n_views;
    const int64_t *sizes;
    const tn_view *views[REF_WALK_VIEWS];
    int64_t index[TN_MAX_RANK];
    int64_t offset[REF_WALK_VIEWS]; /* of the current element, in elements */
} ref_walk;

static inline void ref_walk_start(ref_walk *w, int32_t n_views, const tn_view *const *views,
                                  int64_t position) {
    w->rank = views[0]->rank, w->n_views = n_views, w->sizes = views[0]->sizes;
    for (int32_t k = 0; k < n_views; k++) w->views[k] = views[k], w->offset[k] = 0;
    for (int32_t d = w->rank - 1; d >= 0; d--) {
        w->index[d] = position % w->sizes[d], position /= w->sizes[d];
        for (int32_t k = 0; k < n_views; k++) w->offset[k] += w->index[d] * views[k]->strides[d];
    }
}

/* Elements from here to the end of the last dim, at most `limit`. */
static inline int64_t ref_walk_run(const ref_walk *w, int64_t limit) {
    const int32_t last = w->rank - 1;
    return w->rank == 0 ? 1 : tnk_min(limit, w->sizes[last] - w->index[last]);
}

static inline void ref_walk_next(ref_walk *w, int64_t run) {
    int32_t d = w->rank - 1;
    if (d < 0) return;
    w->index[d] += run;
    for (int32_t k = 0; k < w->n_views; k++) w->offset[k] += run * w->views[k]->strides[d];
    for (; d > 0 && w->index[d] == w->sizes[d]; d--) {
        w->index[d] = 0, w->index[d - 1]++;
        for (int32_t k = 0; k < w->n_views; k++)
            w->offset[k] += w->views[k]->strides[d - 1] - w->sizes[d] * w->views[k]->strides[d];
    }
}

static inline void *ref_walk_at(const ref_walk *w, int32_t k) {
    return tnk_at(w->views[k], w->offset[k]);
}

static inline int64_t ref_walk_stride(const ref_walk *w, int32_t k) {
    return w->rank == 0 ? 0 : w->views[k]->strides[w->rank - 1];
}

/* The run at the current element of view k as double or int64, and back. */
static inline void ref_walk_load_f64(const ref_walk *w, int32_t k, int64_t run, double *out) {
    ref_load_f64(tnk_dtype_index(w->views[k]), ref_walk_at(w, k), ref_walk_stride(w, k), run, out);
}

static inline void ref_walk_load_i64(const ref_walk *w, int32_t k, int64_t run, int64_t *out) {
    ref_load_i64(tnk_dtype_index(w->views[k]), ref_walk_at(w, k), ref_walk_stride(w, k), run, out);
}

static inline void ref_walk_store_f64(const ref_walk *w, int32_t k, int64_t run, const double *in) {
    ref_store_f64(tnk_dtype_index(w->views[k]), ref_walk_at(w, k), ref_walk_stride(w, k), run, in);
}

static inline void ref_walk_store_i64(const ref_walk *w, int32_t k, int64_t run,
                                      const int64_t *in) {
    ref_store_i64(tnk_dtype_index(w->views[k]), ref_walk_at(w, k), ref_walk_stride(w, k), run, in);
}

/* Elements first .. first+n-1 of v in row-major order, whatever its strides. */
static inline void ref_load_flat_f64(const tn_view *v, int64_t first, int64_t n, double *out) {
    ref_walk w;
    if (n > 0) ref_walk_start(&w, 1, &v, first);
    for (int64_t run; n > 0; n -= run, out += run, ref_walk_next(&w, run)) {
        run = ref_walk_run(&w, n);
        ref_walk_load_f64(&w, 0, run, out);
    }
}

static inline void ref_store_flat_f64(const tn_view *v, int64_t first, int64_t n,
                                      const double *in) {
    ref_walk w;
    if (n > 0) ref_walk_start(&w, 1, &v, first);
    for (int64_t run; n > 0; n -= run, in += run, ref_walk_next(&w, run)) {
        run = ref_walk_run(&w, n);
        ref_walk_store_f64(&w, 0, run, in);
    }
}

#endif
