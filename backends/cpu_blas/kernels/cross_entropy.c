/* cross_entropy.c - cross_entropy and its backward.
 *
 * Rows are independent, so any number of threads gives the same bits; the loss is summed in a fixed
 * tree.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef struct job {
    const tn_view *y, *a; /* result and x, [rows, n] */
    const int64_t *target;
    int64_t n;
    int f64;
    double scale;
    _Atomic int64_t bad; /* lowest row with a target out of range; INT64_MAX: none */
} job;

/* ---- cross_entropy(x[N,C], target[N]): mean of log(sum(exp(x))) - x[target] ------------------ */

enum { IGNORED = -100 }; /* the default of ignore_index: such rows do not count */

static void answer_contiguous(tn_verdict *v, const tn_view *x, const tn_view *target) {
    const bool plain = tni_is_contiguous(x) && tni_is_contiguous(target);
    if (x->rank != 2)
        tni_answer(v, TN_NO, TN_REASON_RANK);
    else
        tni_answer(v, plain ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

void tni_cross_entropy_supports(const tn_call *c, tn_verdict *v) {
    answer_contiguous(v, tni_arg(c, 0), tni_arg(c, 1));
}

void tni_cross_entropy_bwd_supports(const tn_call *c, tn_verdict *v) {
    answer_contiguous(v, tni_arg(c, 1), tni_arg(c, 2));
}

static bool target_is_good(job *j, int64_t row) {
    if (j->target[row] >= 0 && j->target[row] < j->n) return true;
    int64_t seen = atomic_load(&j->bad);
    while (row < seen && !atomic_compare_exchange_weak(&j->bad, &seen, row)) {
    }
    return false;
}

static double element(const tn_view *v, int64_t at) {
    return tni_is_f64(v) ? ((const double *)v->data)[at] : (double)((const float *)v->data)[at];
}

typedef struct loss {
    double sum;
    int64_t rows; /* that count */
} loss;

static void loss_range(void *arg, int64_t begin, int64_t end, void *partial) {
    job *j = arg;
    loss *out = partial;
    double sum = 0, max;
    for (int64_t r = begin; r < end; r++) {
        if (j->target[r] == IGNORED || !target_is_good(j, r)) continue;
        const double log_sum = tni_vec->logsumexp[j->f64](tni_at(j->a, r * j->n), j->n, &max);
        sum += log_sum - (element(j->a, r * j->n + j->target[r]) - max);
        out->rows++;
    }
    out->sum = sum;
}

static void add_loss(void *arg, void *left, const void *right) {
    (void)arg;
    ((loss *)left)->sum += ((const loss *)right)->sum;
    ((loss *)left)->rows += ((const loss *)right)->rows;
}

static void loss_bwd_range(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    double max;
    for (int64_t r = begin; r < end; r++) {
        const int64_t at = r * j->n;
        if (j->target[r] == IGNORED) memset(tni_at(j->y, at), 0, (size_t)j->n * (j->f64 ? 8 : 4));
        if (j->target[r] == IGNORED || !target_is_good(j, r)) continue;
        const double log_sum = tni_vec->logsumexp[j->f64](tni_at(j->a, at), j->n, &max);
        tni_vec->cross_entropy_bwd[j->f64](tni_at(j->y, at), tni_at(j->a, at), j->n, max, log_sum,
                                           j->scale);
        if (j->f64)
            ((double *)j->y->data)[at + j->target[r]] -= j->scale;
        else
            ((float *)j->y->data)[at + j->target[r]] -= (float)j->scale;
    }
}

static tn_status fail_target(tn_call *c, const char *op, const job *j) {
    char text[160];
    const int64_t row = atomic_load(&j->bad);
    const int n =
        snprintf(text, sizeof text,
                 "%s: target[%lld] is %lld, but x has %lld classes: 0 to %lld are allowed", op,
                 (long long)row, (long long)j->target[row], (long long)j->n, (long long)j->n - 1);
    c->fail(c, TN_ERR_INDEX, text, n < 0 ? 0 : (uint64_t)n);
    return TN_ERR_INDEX;
}

static job loss_job(const tn_view *x, const tn_view *target) {
    return (job){
        .a = x, .target = target->data, .n = x->sizes[1], .f64 = tni_is_f64(x), .bad = INT64_MAX};
}

tn_status tni_cross_entropy_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tni_arg(c, 0);
    const int64_t rows = x->sizes[0];
    job j = loss_job(x, tni_arg(c, 1));
    loss all = {0, 0};
    const tn_status s = tn_plugin_host->parallel_reduce(
        tn_plugin_self, rows, tni_max(1, TNI_GRAIN / tni_max(1, j.n)), c->max_threads, loss_range,
        add_loss, &j, &all, sizeof all);
    if (s != TN_OK) return s;
    if (atomic_load(&j.bad) != INT64_MAX) return fail_target(c, "cross_entropy", &j);
    const double mean = all.sum / (double)all.rows; /* no rows: NaN, as a mean of nothing is */
    if (j.f64)
        *(double *)tni_out(c, 0)->data = mean;
    else
        *(float *)tni_out(c, 0)->data = (float)mean;
    return TN_OK;
}

tn_status tni_cross_entropy_bwd_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tni_arg(c, 1);
    job j = loss_job(x, tni_arg(c, 2));
    int64_t rows = 0;
    for (int64_t r = 0; r < x->sizes[0]; r++) rows += j.target[r] != IGNORED;
    j.y = tni_out(c, 0), j.scale = element(tni_arg(c, 0), 0) / (double)tni_max(1, rows);
    tni_parallel(c, x->sizes[0], j.n, loss_bwd_range, &j);
    if (atomic_load(&j.bad) != INT64_MAX) return fail_target(c, "cross_entropy_bwd", &j);
    return TN_OK;
}
