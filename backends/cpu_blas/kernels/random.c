/* random.c - uniform and dropout from counter-based random numbers.
 *
 * Invariant: an element depends on (seed, offset, its logical index) only; chunks are multiples of
 * 64 elements, so every thread starts on a block of the generator.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

typedef struct job {
    const tn_view *y, *x;
    uint64_t seed, offset;
    double a, b; /* low, high; p */
    int f64;
} job;

static job make_job(const tn_call *c) {
    const tn_view *y = tni_out(c, 0);
    const uint64_t moved = c->rng_device_offset ? *c->rng_device_offset : 0;
    return (job){
        .y = y, .seed = c->rng_seed, .offset = c->rng_offset + moved, .f64 = tni_is_f64(y)};
}

void tni_uniform_supports(const tn_call *c, tn_verdict *v) {
    const bool ok = tni_is_f32_or_f64(tni_out(c, 0));
    tni_answer(v, ok ? TN_YES : TN_NO, ok ? TN_REASON_NONE : TN_REASON_DTYPE);
}

static void uniform_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    tni_vec->uniform[j->f64](j->seed, j->offset, begin, end - begin, tni_at(j->y, begin), j->a,
                             j->b);
}

tn_status tni_uniform_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    j.a = tni_number(&c->args[1], 0), j.b = tni_number(&c->args[2], 1);
    tni_parallel(c, tn_view_numel(j.y), 1, uniform_range, &j);
    return TN_OK;
}

void tni_dropout_supports(const tn_call *c, tn_verdict *v) {
    const bool flat = tni_is_contiguous(tni_arg(c, 0)) && tni_is_contiguous(tni_out(c, 0));
    tni_answer(v, flat ? TN_YES : TN_NO, flat ? TN_REASON_NONE : TN_REASON_LAYOUT);
}

static void dropout_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    tni_vec->dropout[j->f64](j->seed, j->offset, begin, end - begin, tni_at(j->y, begin),
                             tni_at(j->x, begin), j->a);
}

tn_status tni_dropout_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    j.x = tni_arg(c, 0), j.a = tni_number(&c->args[1], 0);
    tni_parallel(c, tn_view_numel(j.y), 1, dropout_range, &j);
    return TN_OK;
}
