/* copy.c - copy_ between equal dtypes and between f32 and f64, and fill_ of f32 and f64.
 *
 * Flat copies are memcpy, transposed ones go through square tiles, the rest a run along the last
 * dim at a time. dst and src never overlap (the core sees to that).
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <string.h>

enum { TILE = 64 };

typedef struct job {
    const tn_view *dst, *src;
    int64_t dst_bytes, src_bytes; /* per element */
    int32_t turned;               /* the dim along which one side is dense; -1: none */
    int64_t row_tiles, col_tiles; /* transposed: tiles along `turned` and along the last dim */
} job;

void tni_copy_supports(const tn_call *c, tn_verdict *v) {
    const tn_view *dst = tni_arg(c, 0), *src = tni_arg(c, 1);
    const bool floats = tni_is_f32_or_f64(dst) && tni_is_f32_or_f64(src);
    const bool same = tn_dtype_is(dst->dtype, src->dtype) && !tn_dtype_is(dst->dtype, TN_BOOL);
    const bool ok = (floats || same) && dst->rank >= 1; /* bool: any nonzero byte becomes 1 */
    tni_answer(v, ok ? TN_YES : TN_NO, ok ? TN_REASON_NONE : TN_REASON_DTYPE);
}

/* Steps are in bytes. */
static void copy_items(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n,
                       int64_t bytes) {
    if (from_step == bytes && to_step == bytes) {
        memcpy(to, from, (size_t)(n * bytes));
    } else if (from_step == 0 && to_step == bytes && bytes >= 4) {
        tni_vec->fill[bytes == 8](n, to, from);
    } else if (bytes == 4) {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 4);
    } else if (bytes == 8) {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 8);
    } else {
        for (int64_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, (size_t)bytes);
    }
}

static void narrow_items(char *to, int64_t to_step, const char *from, int64_t from_step,
                         int64_t n) {
    if (to_step == 4 && from_step == 8) {
        tni_vec->narrow(n, (float *)(void *)to, (const double *)(const void *)from);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        *(float *)(void *)(to + i * to_step) =
            (float)*(const double *)(const void *)(from + i * from_step);
}

static void widen_items(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n) {
    if (to_step == 8 && from_step == 4) {
        tni_vec->widen(n, (double *)(void *)to, (const float *)(const void *)from);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        *(double *)(void *)(to + i * to_step) =
            (double)*(const float *)(const void *)(from + i * from_step);
}

static void copy_run(void *arg, int64_t n, char *const *at) {
    const job *j = arg;
    const int32_t last = j->dst->rank - 1;
    const int64_t to = j->dst->strides[last] * j->dst_bytes;
    const int64_t from = j->src->strides[last] * j->src_bytes;
    if (j->dst_bytes == j->src_bytes)
        copy_items(at[0], to, at[1], from, n, j->dst_bytes);
    else if (j->dst_bytes < j->src_bytes)
        narrow_items(at[0], to, at[1], from, n);
    else
        widen_items(at[0], to, at[1], from, n);
}

/* ---- Transposed: one side dense along the last dim, the other along an earlier one ----------- */

/* The dim d < last with dst (.., d: any, last: 1) and src (.., d: 1, last: any), or the other way
 * round; -1 if there is none, or nothing to win. */
static int32_t find_turned(const job *j) {
    const int32_t last = j->dst->rank - 1;
    const int64_t to = j->dst->strides[last], from = j->src->strides[last];
    const tn_view *other = to == 1 ? j->src : j->dst;
    if (j->dst_bytes != j->src_bytes || j->dst_bytes < 4) return -1;
    if ((to == 1) == (from == 1) || other->strides[last] == 0) return -1;
    for (int32_t d = last - 1; d >= 0; d--)
        if (other->strides[d] == 1 && other->sizes[d] >= 8 && other->sizes[last] >= 8) return d;
    return -1;
}

static void turned_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const tn_view *dst = j->dst, *src = j->src;
    const int32_t last = dst->rank - 1, turned = j->turned;
    for (int64_t t = begin; t < end; t++) {
        const int64_t col = t % j->col_tiles * TILE, row = t / j->col_tiles % j->row_tiles * TILE;
        int64_t rest = t / j->col_tiles / j->row_tiles;
        int64_t to = col * dst->strides[last] + row * dst->strides[turned];
        int64_t from = col * src->strides[last] + row * src->strides[turned];
        for (int32_t d = last - 1; d >= 0; d--) {
            if (d == turned) continue;
            const int64_t index = rest % dst->sizes[d];
            rest /= dst->sizes[d];
            to += index * dst->strides[d], from += index * src->strides[d];
        }
        const int64_t cols = tni_min(TILE, dst->sizes[last] - col);
        const int64_t rows = tni_min(TILE, dst->sizes[turned] - row);
        void *y = tni_at(dst, to);
        const void *x = tni_at(src, from);
        if (dst->strides[last] == 1)
            tni_vec->transpose[j->dst_bytes == 8](cols, rows, y, dst->strides[turned], x,
                                                  src->strides[last]);
        else
            tni_vec->transpose[j->dst_bytes == 8](rows, cols, y, dst->strides[last], x,
                                                  src->strides[turned]);
    }
}

static void run_copy(const tn_call *c, job *j) {
    const int64_t numel = tn_view_numel(j->dst);
    if (numel == 0) return;
    j->turned = find_turned(j);
    if (j->turned < 0) {
        tni_runs r = {{j->dst, j->src}, 2, copy_run, j, 0};
        tni_runs_walk(c, &r);
        return;
    }
    const int64_t rows = j->dst->sizes[j->turned], cols = j->dst->sizes[j->dst->rank - 1];
    j->row_tiles = (rows + TILE - 1) / TILE, j->col_tiles = (cols + TILE - 1) / TILE;
    tni_parallel(c, numel / rows / cols * j->row_tiles * j->col_tiles, TILE * TILE, turned_range,
                 j);
}

tn_status tni_copy_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = {.dst = tni_out(c, 0), .src = tni_arg(c, 1)};
    j.dst_bytes = j.dst->dtype.bits / 8, j.src_bytes = j.src->dtype.bits / 8;
    run_copy(c, &j);
    return TN_OK;
}

/* ---- fill_ ----------------------------------------------------------------------------------- */

void tni_fill_supports(const tn_call *c, tn_verdict *v) {
    const tn_view *x = tni_arg(c, 0);
    const bool ok = tni_is_f32_or_f64(x) && x->rank >= 1;
    tni_answer(v, ok ? TN_YES : TN_NO, ok ? TN_REASON_NONE : TN_REASON_DTYPE);
}

/* The value, converted once, is a view with stride 0 everywhere. */
tn_status tni_fill_run(const void *plan, tn_call *c) {
    (void)plan;
    static const int64_t zeros[TN_MAX_RANK];
    const tn_value *value = &c->args[1];
    double wide = tni_number(value, 0);
    float single = value->tag == TN_TAG_FLOAT ? (float)wide : (float)value->i; /* rounded once */
    tn_view one = *tni_out(c, 0);
    one.strides = zeros, one.data = tni_is_f64(&one) ? (void *)&wide : (void *)&single;
    job j = {.dst = tni_out(c, 0), .src = &one, .dst_bytes = one.dtype.bits / 8};
    j.src_bytes = j.dst_bytes;
    run_copy(c, &j);
    return TN_OK;
}
