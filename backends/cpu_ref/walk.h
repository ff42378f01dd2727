/* walk.h - what every reference kernel uses: walking views in row-major order, cutting the work,
 * failing with a text.
 *
 * Invariant: how work is cut depends on sizes only, so results never depend on the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_WALK_H
#define TENON_CPU_REF_WALK_H

#include "backends/cpu_ref/load.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <tenon/abi_text.h>

enum {
    TNI_GRAIN = 32768, /* elements one thread takes at a time */
    TNI_BLOCK = 256,   /* elements converted at a time: a few such blocks stay in the L1 cache */
    TNI_WALK_VIEWS = 5
};

static inline int64_t tni_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tni_max(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- Calls ----------------------------------------------------------------------------------- */

static inline const tn_view *tni_arg(const tn_call *c, uint32_t i) { return c->args[i].view; }
static inline const tn_view *tni_out(const tn_call *c, uint32_t i) { return c->outs[i].view; }
static inline int tni_ix(const tn_view *v) { return tn_dtype_index(v->dtype); }

/* A number, whatever the tag it came with; `absent` if it did not come. */
static inline double tni_number(const tn_value *v, double absent) {
    return v->tag == TN_TAG_FLOAT ? v->f : v->tag == TN_TAG_NONE ? absent : (double)v->i;
}

static inline bool tni_flag(const tn_value *v) { return v->tag != TN_TAG_NONE && v->i != 0; }

__attribute__((format(printf, 3, 4))) static inline tn_status tni_fail(tn_call *c, tn_status code,
                                                                       const char *format, ...) {
    char text[256];
    va_list list;
    va_start(list, format);
    const int n = tn_vtext(text, sizeof text, format, list);
    va_end(list);
    c->fail(c, code, text, n < 0 ? 0 : (uint64_t)tni_min(n, (int64_t)sizeof text - 1));
    return code;
}

/* ---- Cutting work ---------------------------------------------------------------------------- */

extern TN_HIDDEN const tn_host *tn_plugin_host;
extern TN_HIDDEN tn_plugin *tn_plugin_self;

/* Runs body over [0, n) items of about `cost` elements each. */
static inline void tni_parallel(const tn_call *c, int64_t n, int64_t cost, tn_range_fn body,
                                void *arg) {
    const int64_t grain = tni_max(1, TNI_GRAIN / tni_max(1, cost));
    if (n > 0) tn_plugin_host->parallel_for(tn_plugin_self, n, grain, c->max_threads, body, arg);
}

/* The lowest position something is wrong at, whichever thread sees it first; INT64_MAX: none. */
typedef _Atomic int64_t tni_lowest;

static inline void tni_note_lowest(tni_lowest *at, int64_t position) {
    int64_t seen = atomic_load(at);
    while (position < seen && !atomic_compare_exchange_weak(at, &seen, position)) {
    }
}

/* ---- Walking --------------------------------------------------------------------------------- */

/* Visits views of the same sizes (those of views[0]) in row-major order, a run along the last dim
 * at a time. A view may have stride 0 or negative strides anywhere. */
typedef struct tni_walk {
    int32_t rank;
    int32_t n_views;
    const int64_t *sizes;
    const tn_view *views[TNI_WALK_VIEWS];
    int64_t index[TN_MAX_RANK];
    int64_t offset[TNI_WALK_VIEWS]; /* of the current element, in elements */
} tni_walk;

static inline void tni_walk_start(tni_walk *w, int32_t n_views, const tn_view *const *views,
                                  int64_t position) {
    w->rank = views[0]->rank, w->n_views = n_views, w->sizes = views[0]->sizes;
    for (int32_t k = 0; k < n_views; k++) w->views[k] = views[k], w->offset[k] = 0;
    for (int32_t d = w->rank - 1; d >= 0; d--) {
        w->index[d] = position % w->sizes[d], position /= w->sizes[d];
        for (int32_t k = 0; k < n_views; k++) w->offset[k] += w->index[d] * views[k]->strides[d];
    }
}

/* Elements from here to the end of the last dim, at most `limit`. */
static inline int64_t tni_walk_run(const tni_walk *w, int64_t limit) {
    const int32_t last = w->rank - 1;
    return w->rank == 0 ? 1 : tni_min(limit, w->sizes[last] - w->index[last]);
}

static inline void tni_walk_next(tni_walk *w, int64_t run) {
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

static inline void *tni_walk_at(const tni_walk *w, int32_t k) {
    return tni_view_at(w->views[k], w->offset[k]);
}

static inline int64_t tni_walk_stride(const tni_walk *w, int32_t k) {
    return w->rank == 0 ? 0 : w->views[k]->strides[w->rank - 1];
}

/* The run at the current element of view k as double or int64, and back. */
static inline void tni_walk_load_f64(const tni_walk *w, int32_t k, int64_t run, double *out) {
    tni_load_f64(tni_ix(w->views[k]), tni_walk_at(w, k), tni_walk_stride(w, k), run, out);
}

static inline void tni_walk_load_i64(const tni_walk *w, int32_t k, int64_t run, int64_t *out) {
    tni_load_i64(tni_ix(w->views[k]), tni_walk_at(w, k), tni_walk_stride(w, k), run, out);
}

static inline void tni_walk_store_f64(const tni_walk *w, int32_t k, int64_t run, const double *in) {
    tni_store_f64(tni_ix(w->views[k]), tni_walk_at(w, k), tni_walk_stride(w, k), run, in);
}

static inline void tni_walk_store_i64(const tni_walk *w, int32_t k, int64_t run,
                                      const int64_t *in) {
    tni_store_i64(tni_ix(w->views[k]), tni_walk_at(w, k), tni_walk_stride(w, k), run, in);
}

/* Elements first .. first+n-1 of v in row-major order, whatever its strides. */
static inline void tni_load_flat_f64(const tn_view *v, int64_t first, int64_t n, double *out) {
    tni_walk w;
    if (n > 0) tni_walk_start(&w, 1, &v, first);
    for (int64_t run; n > 0; n -= run, out += run, tni_walk_next(&w, run)) {
        run = tni_walk_run(&w, n);
        tni_walk_load_f64(&w, 0, run, out);
    }
}

static inline void tni_store_flat_f64(const tn_view *v, int64_t first, int64_t n,
                                      const double *in) {
    tni_walk w;
    if (n > 0) tni_walk_start(&w, 1, &v, first);
    for (int64_t run; n > 0; n -= run, in += run, tni_walk_next(&w, run)) {
        run = tni_walk_run(&w, n);
        tni_walk_store_f64(&w, 0, run, in);
    }
}

#endif
