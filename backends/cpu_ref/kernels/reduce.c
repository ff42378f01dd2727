/* reduce.c - sum, amax, amin, argmax of x (outer, n, inner), contiguous, into (outer, inner).
 *
 * Invariant: every result is made from chunks of TNI_GRAIN elements, each taken from first to last,
 * combined in the host's fixed tree; which thread did what cannot change a bit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* One result under way. All zero bits: nothing seen yet, sum 0. */
typedef struct state {
    union {
        double f;
        int64_t i;
    };
    int64_t next; /* 1 + index of the element taken; 0: none */
} state;

enum { WIDTH = 16 }; /* neighbouring results worked on together; a partial has 256 bytes */

typedef union block {
    double f[TNI_BLOCK];
    int64_t i[TNI_BLOCK];
} block;

/* ---- What is done with one element, and with two partials ------------------------------------ */

static inline void take_f(state *s, double x, int64_t at) { s->f = x, s->next = at + 1; }
static inline void take_i(state *s, int64_t x, int64_t at) { s->i = x, s->next = at + 1; }

static inline void sum_f(state *s, double x, int64_t at) { take_f(s, s->f + x, at); }
static inline void sum_i(state *s, int64_t x, int64_t at) {
    take_i(s, (int64_t)((uint64_t)s->i + (uint64_t)x), at);
}
/* The first of equals stays; the first NaN stays whatever follows. */
static inline void max_f(state *s, double x, int64_t at) {
    if (s->next == 0 || x > s->f || (x != x && s->f == s->f)) take_f(s, x, at);
}
static inline void max_i(state *s, int64_t x, int64_t at) {
    if (s->next == 0 || x > s->i) take_i(s, x, at);
}
static inline void min_f(state *s, double x, int64_t at) {
    if (s->next == 0 || x < s->f || (x != x && s->f == s->f)) take_f(s, x, at);
}
static inline void min_i(state *s, int64_t x, int64_t at) {
    if (s->next == 0 || x < s->i) take_i(s, x, at);
}

/* op_t_rows: x (rows, width), the first row being element `first` of n. */
#define ROWS(op, t)                                                                                \
    static void op##_##t##_rows(state *s, const block *x, int64_t rows, int64_t width,             \
                                int64_t first) {                                                   \
        for (int64_t r = 0; r < rows; r++)                                                         \
            for (int64_t k = 0; k < width; k++) op##_##t(&s[k], x->t[r * width + k], first + r);   \
    }                                                                                              \
    static void op##_##t##_join(void *arg, void *left, const void *right) {                        \
        (void)arg;                                                                                 \
        const state *s = right;                                                                    \
        for (int k = 0; k < WIDTH; k++)                                                            \
            if (s[k].next) op##_##t((state *)left + k, s[k].t, s[k].next - 1);                     \
    }
ROWS(sum, f)
ROWS(sum, i)
ROWS(max, f)
ROWS(max, i)
ROWS(min, f)
ROWS(min, i)

typedef struct reduction {
    const char *op;
    void (*rows[2])(state *, const block *, int64_t rows, int64_t width,
                    int64_t first); /* int, float */
    tn_combine_fn join[2];
    bool of_none;  /* defined for n == 0 */
    bool position; /* the result is where the element was, not the element */
} reduction;

static const reduction sum_reduction = {
    "sum.dim", {sum_i_rows, sum_f_rows}, {sum_i_join, sum_f_join}, true, false};
static const reduction max_reduction = {
    "amax", {max_i_rows, max_f_rows}, {max_i_join, max_f_join}, false, false};
static const reduction min_reduction = {
    "amin", {min_i_rows, min_f_rows}, {min_i_join, min_f_join}, false, false};
static const reduction argmax_reduction = {
    "argmax", {max_i_rows, max_f_rows}, {max_i_join, max_f_join}, false, true};

/* ---- The driver ------------------------------------------------------------------------------ */

typedef struct job {
    const reduction *how;
    const tn_view *x, *y;
    bool is_float;
    int64_t n, inner,
        strips; /* a strip: up to WIDTH neighbouring results; strips per outer index */
} job;

typedef struct strip_job {
    const job *j;
    int64_t first, width; /* of its results, counted in y */
    int64_t base;         /* of its first element, in x */
} strip_job;

static strip_job strip_of(const job *j, int64_t strip) {
    const int64_t o = strip / j->strips, column = strip % j->strips * WIDTH;
    return (strip_job){j, o * j->inner + column, tni_min(WIDTH, j->inner - column),
                       o * j->n * j->inner + column};
}

/* x (rows, width) starting at row `row` of the strip. */
static void load_rows(const strip_job *s, int64_t row, int64_t rows, block *out) {
    const job *j = s->j;
    const int64_t run = j->inner == 1 ? rows : s->width, runs = j->inner == 1 ? 1 : rows;
    for (int64_t r = 0; r < runs; r++) {
        const void *at = tni_view_at(j->x, s->base + (row + r) * j->inner);
        if (j->is_float)
            tni_load_f64(tni_ix(j->x), at, 1, run, out->f + r * run);
        else
            tni_load_i64(tni_ix(j->x), at, 1, run, out->i + r * run);
    }
}

static void reduce_rows(void *arg, int64_t begin, int64_t end, void *partial) {
    const strip_job *s = arg;
    block x;
    for (int64_t rows; begin < end; begin += rows) {
        rows = tni_min(TNI_BLOCK / s->width, end - begin);
        load_rows(s, begin, rows, &x);
        s->j->how->rows[s->j->is_float](partial, &x, rows, s->width, begin);
    }
}

static void store_strip(const strip_job *s, const state *result) {
    const int ix = tni_ix(s->j->y);
    for (int64_t k = 0; k < s->width; k++) {
        const int64_t position = result[k].next - 1;
        void *at = tni_view_at(s->j->y, s->first + k);
        if (s->j->how->position)
            tni_store_i64(ix, at, 1, 1, &position);
        else if (s->j->is_float)
            tni_store_f64(ix, at, 1, 1, &result[k].f);
        else
            tni_store_i64(ix, at, 1, 1, &result[k].i);
    }
}

static void reduce_strips(void *arg, int64_t begin, int64_t end) {
    for (; begin < end; begin++) {
        state result[WIDTH] = {0};
        strip_job s = strip_of(arg, begin);
        reduce_rows(&s, 0, s.j->n, result);
        store_strip(&s, result);
    }
}

/* n too large for one chunk: threads share each strip. */
static tn_status reduce_long_strips(tn_call *c, const job *j, int64_t strips) {
    for (int64_t strip = 0; strip < strips; strip++) {
        state result[WIDTH] = {0};
        strip_job s = strip_of(j, strip);
        const tn_status status = tn_plugin_host->parallel_reduce(
            tn_plugin_self, j->n, TNI_GRAIN, c->max_threads, reduce_rows, j->how->join[j->is_float],
            &s, result, sizeof result);
        if (status != TN_OK)
            return tni_fail(c, status, "%s: could not combine partial results", j->how->op);
        store_strip(&s, result);
    }
    return TN_OK;
}

static tn_status run_reduction(tn_call *c, const reduction *how) {
    const tn_view *x = tni_arg(c, 0);
    job j = {how, x, tni_out(c, 0), tni_is_float(tni_ix(x)), x->sizes[1], x->sizes[2], 0};
    const int64_t width = tni_min(WIDTH, j.inner);
    j.strips = (j.inner + WIDTH - 1) / WIDTH;
    const int64_t strips = x->sizes[0] * j.strips;
    if (j.n == 0 && strips > 0 && !how->of_none)
        return tni_fail(c, TN_ERR_SHAPE, "%s: the reduced dims of x hold no elements", how->op);
    if (j.n > TNI_GRAIN) return reduce_long_strips(c, &j, strips);
    tni_parallel(c, strips, j.n * width, reduce_strips, &j);
    return TN_OK;
}

tn_status tni_ref_sum_dim(const void *plan, tn_call *c) {
    (void)plan;
    return run_reduction(c, &sum_reduction);
}

tn_status tni_ref_amax(const void *plan, tn_call *c) {
    (void)plan;
    return run_reduction(c, &max_reduction);
}

tn_status tni_ref_amin(const void *plan, tn_call *c) {
    (void)plan;
    return run_reduction(c, &min_reduction);
}

tn_status tni_ref_argmax(const void *plan, tn_call *c) {
    (void)plan;
    return run_reduction(c, &argmax_reduction);
}
