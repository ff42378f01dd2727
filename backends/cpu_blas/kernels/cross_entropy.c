/* cross_entropy.c - cross_entropy and its backward.
 *
 * Rows are independent, so any number of threads gives the same bits; the loss is summed in a fixed
 * tree. 16-bit floats are widened a block at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/cross_entropy.h"

#include <math.h>
#include <string.h>

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { BLOCK = 2048 };

typedef struct job {
    const tn_view *y, *a; /* result and x, [rows, n] */
    const int64_t *target;
    int64_t n;
    int f64;
    blas_convert_fn widen, narrow; /* NULL: elements are lanes */
    double scale;
    int64_t bad; /* lowest row with a target out of range; INT64_MAX: none */
} job;

/* ---- cross_entropy(x[N,C], target[N]): mean of log(sum(exp(x))) - x[target] ------------------ */

enum { IGNORED = -100 }; /* the default of ignore_index: such rows do not count */

static void answer_contiguous(tn_verdict *v, const tn_view *x, const tn_view *target) {
    const bool plain = tnk_is_contiguous(x) && tnk_is_contiguous(target);
    if (x->rank != 2)
        tnk_answer(v, TN_NO, TN_REASON_RANK);
    else
        tnk_answer(v, plain ? TN_YES : TN_YES_IF, TN_REASON_NONE);
}

static void cross_entropy_supports(const tn_call *c, tn_verdict *v) {
    answer_contiguous(v, tnk_arg(c, 0), tnk_arg(c, 1));
}

static void cross_entropy_bwd_supports(const tn_call *c, tn_verdict *v) {
    answer_contiguous(v, tnk_arg(c, 1), tnk_arg(c, 2));
}

static bool target_is_good(job *j, int64_t row) {
    if (j->target[row] >= 0 && j->target[row] < j->n) return true;
    tnk_note_lowest(&j->bad, row);
    return false;
}

static double element(const tn_view *v, int64_t at) {
    double x;
    blas_convert(1, TN_F64, &x, v->dtype, tnk_at(v, at));
    return x;
}

/* log(sum(exp(x - max))) of the row whose first element is `at`; blocks meet at their maxima. */
static double row_logsum(const job *j, int64_t at, double *max) {
    float lanes[BLOCK];
    double sum = 0, here;
    if (!j->widen) return blas_code(cross_entropy)->logsumexp[j->f64](tnk_at(j->a, at), j->n, max);
    *max = -(double)INFINITY;
    for (int64_t i = 0, m; i < j->n; i += m) {
        m = tnk_min(BLOCK, j->n - i);
        j->widen(m, lanes, tnk_at(j->a, at + i));
        const double log_sum = blas_code(cross_entropy)->logsumexp[0](lanes, m, &here);
        if (here == -(double)INFINITY) continue; /* nothing but zeros */
        if (here > *max) sum *= exp(*max - here), *max = here;
        sum += exp(log_sum + (here - *max));
    }
    return log(sum);
}

typedef struct loss {
    long double sum; /* losses of f64 may leave its range on their way to a mean */
    int64_t rows;    /* that count */
} loss;

static void loss_range(void *arg, int64_t begin, int64_t end, void *partial) {
    job *j = arg;
    loss *out = partial;
    long double sum = 0;
    double max;
    for (int64_t r = begin; r < end; r++) {
        if (j->target[r] == IGNORED || !target_is_good(j, r)) continue;
        const double log_sum = row_logsum(j, r * j->n, &max);
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

/* dx = scale (softmax(x) - 1 at target), for a row whose first element is `at`. */
static void row_bwd(const job *j, int64_t at, int64_t target) {
    float lanes[BLOCK];
    double max;
    const double log_sum = row_logsum(j, at, &max);
    for (int64_t i = 0, m; i < j->n; i += m) {
        m = j->widen ? tnk_min(BLOCK, j->n - i) : j->n;
        void *dx = j->narrow ? (void *)lanes : tnk_at(j->y, at + i);
        if (j->widen) j->widen(m, lanes, tnk_at(j->a, at + i));
        blas_code(cross_entropy)
            ->backward[j->f64](dx, j->widen ? lanes : tnk_at(j->a, at + i), m, max, log_sum,
                               j->scale);
        if (target >= i && target < i + m && j->f64)
            ((double *)dx)[target - i] -= j->scale;
        else if (target >= i && target < i + m)
            ((float *)dx)[target - i] -= (float)j->scale;
        if (j->narrow) j->narrow(m, tnk_at(j->y, at + i), lanes);
    }
}

static void loss_bwd_range(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    const size_t row = (size_t)(j->n * (j->y->dtype.bits / 8));
    for (int64_t r = begin; r < end; r++) {
        if (j->target[r] == IGNORED)
            memset(tnk_at(j->y, r * j->n), 0, row);
        else if (target_is_good(j, r))
            row_bwd(j, r * j->n, j->target[r]);
    }
}

static tn_status fail_target(tn_call *c, const char *op, const job *j) {
    return tnk_fail(
        c, TN_ERR_INDEX, "%s: target[%lld] is %lld, but x has %lld classes: 0 to %lld are allowed",
        op, (long long)j->bad, (long long)j->target[j->bad], (long long)j->n, (long long)j->n - 1);
}

static job loss_job(const tn_view *x, const tn_view *target) {
    const int ix = tn_dtype_index(x->dtype);
    return (job){.a = x,
                 .target = target->data,
                 .n = x->sizes[1],
                 .f64 = blas_is_f64(x),
                 .widen = blas_code(ewise)->widen[ix],
                 .narrow = blas_code(ewise)->narrow[ix],
                 .bad = INT64_MAX};
}

static tn_status cross_entropy_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 0);
    const int64_t rows = x->sizes[0];
    job j = loss_job(x, tnk_arg(c, 1));
    loss all = {0, 0};
    const tn_status s = tn_plugin_host->parallel_reduce(
        tn_plugin_self, rows, tnk_max(1, TNK_GRAIN / tnk_max(1, j.n)), c->max_threads, loss_range,
        add_loss, &j, &all, sizeof all);
    if (s != TN_OK) return s;
    if (j.bad != INT64_MAX) return fail_target(c, "cross_entropy", &j);
    const double mean =
        (double)(all.sum / (long double)all.rows); /* no rows: NaN, as a mean of nothing is */
    blas_convert(1, tnk_out(c, 0)->dtype, tnk_out(c, 0)->data, TN_F64, &mean);
    return TN_OK;
}

static tn_status cross_entropy_bwd_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 1);
    job j = loss_job(x, tnk_arg(c, 2));
    int64_t rows = 0;
    for (int64_t r = 0; r < x->sizes[0]; r++) rows += j.target[r] != IGNORED;
    j.y = tnk_out(c, 0), j.scale = element(tnk_arg(c, 0), 0) / (double)tnk_max(1, rows);
    tnk_parallel(c, x->sizes[0], j.n, loss_bwd_range, &j);
    if (j.bad != INT64_MAX) return fail_target(c, "cross_entropy_bwd", &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(cross_entropy, 2), .dtypes = TN_MASK_FLOAT,
     .supports = cross_entropy_supports, .run = cross_entropy_run},
    {BLAS_ROW(cross_entropy_bwd, 3), .dtypes = TN_MASK_FLOAT,
     .supports = cross_entropy_bwd_supports, .run = cross_entropy_bwd_run},
};
/* clang-format on */
const tnk_family blas_cross_entropy_rows = TNK_FAMILY(rows);
