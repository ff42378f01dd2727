/* norm.c - softmax, log_softmax, layer_norm, and their gradients.
 *
 * Invariant: a line is summed from first to last in double; what a later pass needs is computed
 * again from the argument, never read back rounded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* ---- softmax: lines of contiguous (outer, n, inner) along n ---------------------------------- */

typedef struct softmax_job softmax_job;
struct softmax_job {
    void (*line)(const softmax_job *, int64_t base);
    const tn_view *x, *y;  /* forward: argument and result */
    const tn_view *g, *dx; /* backward: also the gradients; y is an argument */
    int64_t n, inner;
    bool log;
};

/* Elements k .. k+count-1 of the line of v that starts at `base`. */
static void load_line(const softmax_job *j, const tn_view *v, int64_t base, int64_t k,
                      int64_t count, double *out) {
    ref_load_f64(tnk_dtype_index(v), tnk_at(v, base + k * j->inner), j->inner, count, out);
}

static void store_line(const softmax_job *j, const tn_view *v, int64_t base, int64_t k,
                       int64_t count, const double *in) {
    ref_store_f64(tnk_dtype_index(v), tnk_at(v, base + k * j->inner), j->inner, count, in);
}

static void softmax_line(const softmax_job *j, int64_t base) {
    double x[REF_BLOCK], max = -INFINITY, sum = 0;
    for (int64_t k = 0, n; k < j->n; k += n) {
        load_line(j, j->x, base, k, n = tnk_min(REF_BLOCK, j->n - k), x);
        for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    }
    for (int64_t k = 0, n; k < j->n; k += n) { /* shifting by max keeps exp in range */
        load_line(j, j->x, base, k, n = tnk_min(REF_BLOCK, j->n - k), x);
        for (int64_t i = 0; i < n; i++) sum += exp(x[i] - max);
    }
    const double log_sum = log(sum);
    for (int64_t k = 0, n; k < j->n; k += n) {
        load_line(j, j->x, base, k, n = tnk_min(REF_BLOCK, j->n - k), x);
        for (int64_t i = 0; i < n; i++)
            x[i] = j->log ? x[i] - max - log_sum : exp(x[i] - max) / sum;
        store_line(j, j->y, base, k, n, x);
    }
}

/* softmax: dx = y (g - sum(g y)); log_softmax: dx = g - exp(y) sum(g) */
static void softmax_bwd_line(const softmax_job *j, int64_t base) {
    double g[REF_BLOCK], y[REF_BLOCK], sum = 0;
    for (int64_t k = 0, n; k < j->n; k += n) {
        load_line(j, j->g, base, k, n = tnk_min(REF_BLOCK, j->n - k), g);
        load_line(j, j->y, base, k, n, y);
        for (int64_t i = 0; i < n; i++) sum += j->log ? g[i] : g[i] * y[i];
    }
    for (int64_t k = 0, n; k < j->n; k += n) {
        load_line(j, j->g, base, k, n = tnk_min(REF_BLOCK, j->n - k), g);
        load_line(j, j->y, base, k, n, y);
        for (int64_t i = 0; i < n; i++)
            g[i] = j->log ? g[i] - exp(y[i]) * sum : y[i] * (g[i] - sum);
        store_line(j, j->dx, base, k, n, g);
    }
}

static void softmax_lines(void *arg, int64_t begin, int64_t end) {
    const softmax_job *j = arg;
    for (; begin < end; begin++) j->line(j, begin / j->inner * j->n * j->inner + begin % j->inner);
}

static tn_status run_softmax(tn_call *c, softmax_job *j) {
    const tn_view *v = j->y;
    j->n = v->sizes[1], j->inner = v->sizes[2];
    if (tn_view_numel(v) > 0) tnk_parallel(c, v->sizes[0] * j->inner, j->n, softmax_lines, j);
    return TN_OK;
}

static tn_status run_softmax_fwd(tn_call *c, bool log) {
    softmax_job j = {.line = softmax_line, .x = tnk_arg(c, 0), .y = tnk_out(c, 0), .log = log};
    return run_softmax(c, &j);
}

static tn_status run_softmax_bwd(tn_call *c, bool log) {
    softmax_job j = {.line = softmax_bwd_line,
                     .g = tnk_arg(c, 0),
                     .y = tnk_arg(c, 1),
                     .dx = tnk_out(c, 0),
                     .log = log};
    return run_softmax(c, &j);
}

tn_status ref_softmax(const void *plan, tn_call *c) {
    (void)plan;
    return run_softmax_fwd(c, false);
}

tn_status ref_log_softmax(const void *plan, tn_call *c) {
    (void)plan;
    return run_softmax_fwd(c, true);
}

tn_status ref_softmax_bwd(const void *plan, tn_call *c) {
    (void)plan;
    return run_softmax_bwd(c, false);
}

tn_status ref_log_softmax_bwd(const void *plan, tn_call *c) {
    (void)plan;
    return run_softmax_bwd(c, true);
}

/* ---- layer_norm: x as (rows, n) -------------------------------------------------------------- */

typedef struct norm_job {
    const tn_view *g, *x, *w, *b, *mean, *rstd; /* w and b may be NULL */
    const tn_view *y, *dx, *dw, *db;
    int64_t rows, n;
    double eps;
} norm_job;

/* The view of an optional tensor, or NULL. */
static const tn_view *optional_arg(const tn_call *c, uint32_t i) {
    return c->args[i].tag == TN_TAG_VIEW ? c->args[i].view : NULL;
}

static int64_t product(const tn_value *ints) {
    int64_t n = 1;
    for (uint32_t i = 0; i < ints->aux; i++) n *= ints->ints[i];
    return n;
}

static void load_or(const tn_view *v, double absent, int64_t first, int64_t n, double *out) {
    for (int64_t i = 0; !v && i < n; i++) out[i] = absent;
    if (v) ref_load_flat_f64(v, first, n, out);
}

/* Of a row: (x - mean - rest) rstd has mean 0 and variance 1. */
typedef struct moments {
    long double mean, rest, rstd; /* rest: what rounding the mean has lost */
} moments;

/* Around the mean; in long double, for sums of f64 lose digits, and their squares leave its
 * range. */
static moments moments_of(const norm_job *j, int64_t row) {
    const long double count = (long double)j->n;
    double x[REF_BLOCK];
    long double sum = 0, rest = 0, squares = 0;
    for (int64_t k = 0, n; k < j->n; k += n) {
        ref_load_flat_f64(j->x, row * j->n + k, n = tnk_min(REF_BLOCK, j->n - k), x);
        for (int64_t i = 0; i < n; i++) sum += x[i];
    }
    const long double mean = sum / count;
    for (int64_t k = 0, n; k < j->n; k += n) {
        ref_load_flat_f64(j->x, row * j->n + k, n = tnk_min(REF_BLOCK, j->n - k), x);
        for (int64_t i = 0; i < n; i++) {
            const long double d = x[i] - mean;
            rest += d, squares += d * d;
        }
    }
    const long double variance = (squares - rest * (rest / count)) / count;
    return (moments){mean, rest / count, 1 / sqrtl(variance + (long double)j->eps)};
}

static void norm_rows(void *arg, int64_t begin, int64_t end) {
    const norm_job *j = arg;
    double x[REF_BLOCK], w[REF_BLOCK], b[REF_BLOCK];
    for (int64_t row = begin; row < end; row++) {
        const moments m = moments_of(j, row);
        for (int64_t k = 0, n; k < j->n; k += n) {
            ref_load_flat_f64(j->x, row * j->n + k, n = tnk_min(REF_BLOCK, j->n - k), x);
            load_or(j->w, 1, k, n, w);
            load_or(j->b, 0, k, n, b);
            for (int64_t i = 0; i < n; i++)
                x[i] = (double)((x[i] - m.mean - m.rest) * m.rstd * w[i]) + b[i];
            ref_store_flat_f64(j->y, row * j->n + k, n, x);
        }
        const double near = (double)(m.mean + m.rest), rstd = (double)m.rstd;
        ref_store_flat_f64(j->mean, row, 1, &near);
        ref_store_flat_f64(j->rstd, row, 1, &rstd);
    }
}

tn_status ref_layer_norm(const void *plan, tn_call *c) {
    (void)plan;
    norm_job j = {.x = tnk_arg(c, 0),
                  .n = product(&c->args[1]),
                  .w = optional_arg(c, 2),
                  .b = optional_arg(c, 3),
                  .eps = tnk_number(&c->args[4], 1e-5),
                  .y = tnk_out(c, 0),
                  .mean = tnk_out(c, 1),
                  .rstd = tnk_out(c, 2)};
    tnk_parallel(c, tn_view_numel(j.mean), j.n, norm_rows, &j);
    return TN_OK;
}

/* Loads, for elements k .. k+n-1 of a row, h, the normalised x, and q, which is g, times w if
 * asked. */
static void load_normalised(const norm_job *j, int64_t row, int64_t k, int64_t n, bool times_w,
                            long double *h, long double *q) {
    double mean, rstd, x[REF_BLOCK], g[REF_BLOCK], w[REF_BLOCK];
    ref_load_flat_f64(j->mean, row, 1, &mean);
    ref_load_flat_f64(j->rstd, row, 1, &rstd);
    ref_load_flat_f64(j->x, row * j->n + k, n, x);
    ref_load_flat_f64(j->g, row * j->n + k, n, g);
    load_or(times_w ? j->w : NULL, 1, k, n, w);
    for (int64_t i = 0; i < n; i++) {
        h[i] = (x[i] - (long double)mean) * rstd;
        q[i] = (long double)g[i] * w[i];
    }
}

/* dx = rstd (q - mean(q) - h mean(q h)), with q = g w; in long double, for what cancels may be far
 * larger than dx. */
static void norm_bwd_rows(void *arg, int64_t begin, int64_t end) {
    const norm_job *j = arg;
    long double h[REF_BLOCK], q[REF_BLOCK];
    double dx[REF_BLOCK], rstd;
    for (int64_t row = begin; row < end; row++) {
        long double sum_q = 0, sum_qh = 0;
        for (int64_t k = 0, n; k < j->n; k += n) {
            load_normalised(j, row, k, n = tnk_min(REF_BLOCK, j->n - k), true, h, q);
            for (int64_t i = 0; i < n; i++) sum_q += q[i], sum_qh += q[i] * h[i];
        }
        const long double mean_q = sum_q / (long double)j->n, mean_qh = sum_qh / (long double)j->n;
        ref_load_flat_f64(j->rstd, row, 1, &rstd);
        for (int64_t k = 0, n; k < j->n; k += n) {
            load_normalised(j, row, k, n = tnk_min(REF_BLOCK, j->n - k), true, h, q);
            for (int64_t i = 0; i < n; i++)
                dx[i] = (double)((q[i] - mean_q - h[i] * mean_qh) * rstd);
            ref_store_flat_f64(j->dx, row * j->n + k, n, dx);
        }
    }
}

/* dw = sum over rows of g h, db = sum over rows of g: blocks of columns */
static void norm_bwd_columns(void *arg, int64_t begin, int64_t end) {
    const norm_job *j = arg;
    for (; begin < end; begin++) {
        const int64_t k = begin * REF_BLOCK, n = tnk_min(REF_BLOCK, j->n - k);
        long double h[REF_BLOCK], g[REF_BLOCK];
        double dw[REF_BLOCK] = {0}, db[REF_BLOCK] = {0};
        for (int64_t row = 0; row < j->rows; row++) {
            load_normalised(j, row, k, n, false, h, g);
            for (int64_t i = 0; i < n; i++) dw[i] += (double)(g[i] * h[i]), db[i] += (double)g[i];
        }
        ref_store_flat_f64(j->dw, k, n, dw);
        ref_store_flat_f64(j->db, k, n, db);
    }
}

tn_status ref_layer_norm_bwd(const void *plan, tn_call *c) {
    (void)plan;
    norm_job j = {.g = tnk_arg(c, 0),
                  .x = tnk_arg(c, 1),
                  .w = optional_arg(c, 2),
                  .mean = tnk_arg(c, 3),
                  .rstd = tnk_arg(c, 4),
                  .n = product(&c->args[5]),
                  .dx = tnk_out(c, 0),
                  .dw = tnk_out(c, 1),
                  .db = tnk_out(c, 2)};
    j.rows = tn_view_numel(j.mean);
    tnk_parallel(c, j.rows, j.n, norm_bwd_rows, &j);
    tnk_parallel(c, (j.n + REF_BLOCK - 1) / REF_BLOCK, j.rows * REF_BLOCK, norm_bwd_columns, &j);
    return TN_OK;
}
