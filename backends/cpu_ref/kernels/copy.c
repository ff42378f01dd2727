/* copy.c - fill_, copy_ (any dtype to any dtype, any strides), arange.
 *
 * Invariant: conversions are those of load.h; a copy between equal dtypes keeps every bit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* ---- copy_ ----------------------------------------------------------------------------------- */

static void copy_items(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n,
                       size_t bytes) {
    if (to_step == (int64_t)bytes && from_step == (int64_t)bytes) {
        memcpy(to, from, (size_t)n * bytes);
        return;
    }
    for (int64_t k = 0; k < n; k++) memcpy(to + k * to_step, from + k * from_step, bytes);
}

static void copy_block(const ref_walk *w, int64_t n) {
    const tn_view *dst = w->views[0], *src = w->views[1];
    union {
        double f[REF_BLOCK];
        int64_t i[REF_BLOCK];
    } wide;
    if (tn_dtype_is(dst->dtype, src->dtype) && !tn_dtype_is(dst->dtype, TN_BOOL)) {
        const int64_t bytes = tnk_item_bytes(dst);
        copy_items(ref_walk_at(w, 0), ref_walk_stride(w, 0) * bytes, ref_walk_at(w, 1),
                   ref_walk_stride(w, 1) * bytes, n, (size_t)bytes);
    } else if (ref_is_float(tnk_dtype_index(src))) {
        ref_walk_load_f64(w, 1, n, wide.f);
        ref_walk_store_f64(w, 0, n, wide.f);
    } else {
        ref_walk_load_i64(w, 1, n, wide.i);
        ref_walk_store_i64(w, 0, n, wide.i);
    }
}

static void copy_range(void *arg, int64_t begin, int64_t end) {
    ref_walk w;
    ref_walk_start(&w, 2, arg, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        copy_block(&w, n);
    }
}

tn_status ref_copy_(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *views[2] = {tnk_out(c, 0), tnk_arg(c, 1)};
    tnk_parallel(c, tn_view_numel(views[0]), 1, copy_range, views);
    return TN_OK;
}

/* ---- fill_ ----------------------------------------------------------------------------------- */

/* The value, converted once, is a view with stride 0 everywhere: fill is a copy of it. */
tn_status ref_fill_(const void *plan, tn_call *c) {
    (void)plan;
    static const int64_t zeros[TN_MAX_RANK];
    const tn_value *value = &c->args[1];
    int64_t cell[1] = {0};
    tn_view one = *tnk_out(c, 0);
    one.data = cell, one.byte_offset = 0, one.strides = zeros;
    if (value->tag == TN_TAG_FLOAT)
        ref_store_f64(tnk_dtype_index(&one), cell, 1, 1, &value->f);
    else
        ref_store_i64(tnk_dtype_index(&one), cell, 1, 1, &value->i);
    const tn_view *views[2] = {tnk_out(c, 0), &one};
    tnk_parallel(c, tn_view_numel(views[0]), 1, copy_range, views);
    return TN_OK;
}

/* ---- arange ---------------------------------------------------------------------------------- */

typedef struct arange_job {
    const tn_view *out;
    bool whole; /* the result is one of integers, or start and step are: exact to the last bit */
    double start, step;
    uint64_t istart, istep;
} arange_job;

static void arange_range(void *arg, int64_t begin, int64_t end) {
    const arange_job *j = arg;
    ref_walk w;
    ref_walk_start(&w, 1, &j->out, begin);
    for (; begin < end; begin++, ref_walk_next(&w, 1)) {
        const double x = j->start + (double)begin * j->step;
        const int64_t i = (int64_t)(j->istart + (uint64_t)begin * j->istep);
        if (j->whole)
            ref_walk_store_i64(&w, 0, 1, &i);
        else
            ref_walk_store_f64(&w, 0, 1, &x);
    }
}

/* Integer results start at, and go on by, truncated numbers, as PyTorch's. */
static uint64_t whole_number(const tn_value *v, int64_t absent) {
    if (v->tag == TN_TAG_FLOAT) return (uint64_t)ref_f64_to_int(v->f, INT64_MIN, INT64_MAX);
    return (uint64_t)(v->tag == TN_TAG_NONE ? absent : v->i);
}

tn_status ref_arange(const void *plan, tn_call *c) {
    (void)plan;
    const tn_value *start = &c->args[0], *step = &c->args[2];
    arange_job j = {
        .out = tnk_out(c, 0), .start = tnk_number(start, 0), .step = tnk_number(step, 1)};
    j.whole = !ref_is_float(tnk_dtype_index(j.out)) ||
              (start->tag != TN_TAG_FLOAT && step->tag != TN_TAG_FLOAT);
    j.istart = whole_number(start, 0), j.istep = whole_number(step, 1);
    tnk_parallel(c, tn_view_numel(j.out), 1, arange_range, &j);
    return TN_OK;
}
