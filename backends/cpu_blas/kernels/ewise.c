/* ewise.c - elementwise rows: finds the vector function and walks the operands.
 *
 * Flat operands go straight to it. Otherwise a run along the last dim does if its strides are 1 or
 * 0; other operands are gathered into a block first, and the result is scattered from one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { MOST_IN = 3, BLOCK = 512 };

#define UNARY            1, 0, 0
#define CLAMP            1, 0, 0
#define PREDICATE        1, 0, 1
#define BINARY           2, 0, 0
#define COMPARE          2, 0, 1
#define WHERE            3, 1, 0
#define OP_ROW(op, kind) [TNI_EW_##op] = {TNI_EW_##op, kind},
const tni_ewise_op tni_ewise_ops[TNI_EWISE_COUNT] = {TNI_EWISE_LIST(OP_ROW, OP_ROW)};
#undef OP_ROW

typedef struct job {
    tni_ewise_fn fn;
    const double *bounds;
    uint32_t n_in, splat;
    const tn_view *out, *in[MOST_IN];
    int64_t out_bytes, in_bytes[MOST_IN]; /* per element */
    const void *data[MOST_IN];
} job;

static void flat_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const void *in[MOST_IN];
    for (uint32_t k = 0; k < j->n_in; k++)
        in[k] = (const char *)j->data[k] + (j->splat >> k & 1 ? 0 : begin * j->in_bytes[k]);
    j->fn(end - begin, (char *)j->out->data + begin * j->out_bytes, in, j->splat, j->bounds);
}

static void copy_items(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n,
                       int64_t bytes) {
    switch (bytes) {
    case 1:
        for (int64_t i = 0; i < n; i++) to[i * to_step] = from[i * from_step];
        return;
    case 4:
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 4);
        return;
    default:
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 8);
    }
}

/* n elements along the last dim: at[0] the result's, then the operands'. */
static void strided_run(void *arg, int64_t n, char *const *at) {
    const job *j = arg;
    const int32_t last = j->out->rank - 1;
    const int64_t out_step = j->out->strides[last] * j->out_bytes;
    char block[MOST_IN + 1][BLOCK * 8] __attribute__((aligned(64)));
    uint32_t splat = 0;
    for (uint32_t k = 0; k < j->n_in; k++) splat |= (uint32_t)(j->in[k]->strides[last] == 0) << k;

    for (int64_t i = 0, m; i < n; i += m) {
        m = tni_min(BLOCK, n - i);
        const void *in[MOST_IN];
        for (uint32_t k = 0; k < j->n_in; k++) {
            const int64_t step = j->in[k]->strides[last] * j->in_bytes[k];
            const char *from = at[k + 1] + i * step;
            in[k] = from;
            if (step == 0 || step == j->in_bytes[k]) continue;
            copy_items(block[k], j->in_bytes[k], from, step, m, j->in_bytes[k]);
            in[k] = block[k];
        }
        char *y = at[0] + i * out_step;
        const bool direct = out_step == j->out_bytes;
        j->fn(m, direct ? y : block[MOST_IN], in, splat, j->bounds);
        if (!direct) copy_items(y, out_step, block[MOST_IN], j->out_bytes, m, j->out_bytes);
    }
}

static tn_status run(const tn_call *c, const double *bounds) {
    const tni_ewise_op *op = c->user;
    const tn_view *out = tni_out(c, 0);
    const tni_ewise_fn fn = tni_vec->ewise[op->index][tni_lane_type(tni_arg(c, op->first)->dtype)];
    const uint32_t n_in = op->n_in;
    const void *data[MOST_IN];
    uint32_t splat = 0;
    if (c->flags & TN_CALL_FLAT) {
        const int64_t n = out->sizes[0];
        for (uint32_t k = 0; k < n_in; k++) {
            const tn_view *v = tni_arg(c, k);
            data[k] = v->data, splat |= (uint32_t)(v->strides[0] == 0) << k;
        }
        if (n <= TNI_GRAIN) { /* the small call everything else is built to keep cheap */
            if (n > 0) fn(n, out->data, data, splat, bounds);
            return TN_OK;
        }
    }
    job j = {.fn = fn, .bounds = bounds, .n_in = n_in, .splat = splat, .out = out};
    j.out_bytes = out->dtype.bits / 8;
    for (uint32_t k = 0; k < n_in; k++) {
        j.in[k] = tni_arg(c, k), j.data[k] = j.in[k]->data;
        j.in_bytes[k] = j.in[k]->dtype.bits / 8;
    }
    if (c->flags & TN_CALL_FLAT) {
        tni_parallel(c, out->sizes[0], 1, flat_range, &j);
    } else {
        tni_runs r = {{out, j.in[0], j.in[1], j.in[2]}, n_in + 1, strided_run, &j, 0};
        tni_runs_walk(c, &r);
    }
    return TN_OK;
}

tn_status tni_ewise_run(const void *plan, tn_call *c) {
    (void)plan;
    return run(c, NULL);
}

/* What a NaN bound means is left to the reference. */
void tni_clamp_supports(const tn_call *c, tn_verdict *v) {
    const bool nan = isnan(tni_number(&c->args[1], 0)) || isnan(tni_number(&c->args[2], 0));
    tni_answer(v, nan ? TN_NO : TN_YES, nan ? TN_REASON_ATTRIBUTE : TN_REASON_NONE);
}

tn_status tni_clamp_run(const void *plan, tn_call *c) {
    (void)plan;
    const double bounds[2] = {tni_number(&c->args[1], -(double)INFINITY),
                              tni_number(&c->args[2], (double)INFINITY)};
    return run(c, bounds);
}
