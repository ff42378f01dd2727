/* reduce.c - sum, mean, prod, largest, smallest, any, all, moments, std of x (outer, n, inner),
 * contiguous, into (outer, inner).
 *
 * Invariant: every result is made from chunks of TNK_GRAIN elements, each taken from first to last,
 * combined in the host's fixed tree; which thread did what cannot change a bit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* One result under way; long double, for doubles would add up to more than a double. All zero bits:
 * nothing seen yet. */
typedef struct state {
    union {
        long double f;
        int64_t i;
    };
    int64_t next; /* 1 + index of the element taken; 0: none */
} state;

enum { WIDTH = 8 }; /* neighbouring results worked on together; a partial has 256 bytes */

typedef union block {
    long double f[REF_BLOCK];
    int64_t i[REF_BLOCK];
} block;

/* ---- What is done with one element, and with two partials ------------------------------------ */

static inline void take_f(state *s, long double x, int64_t at) { s->f = x, s->next = at + 1; }
static inline void take_i(state *s, int64_t x, int64_t at) { s->i = x, s->next = at + 1; }

static inline void sum_f(state *s, long double x, int64_t at) { take_f(s, s->f + x, at); }
static inline void sum_i(state *s, int64_t x, int64_t at) {
    take_i(s, (int64_t)((uint64_t)s->i + (uint64_t)x), at);
}
static inline void prod_f(state *s, long double x, int64_t at) {
    take_f(s, s->next ? s->f * x : x, at);
}
static inline void prod_i(state *s, int64_t x, int64_t at) {
    take_i(s, s->next ? (int64_t)((uint64_t)s->i * (uint64_t)x) : x, at);
}
static inline void any_f(state *s, long double x, int64_t at) {
    take_f(s, s->f != 0 || x != 0, at);
}
static inline void any_i(state *s, int64_t x, int64_t at) { take_i(s, s->i != 0 || x != 0, at); }
static inline void all_f(state *s, long double x, int64_t at) {
    take_f(s, (s->next == 0 || s->f != 0) && x != 0, at);
}
static inline void all_i(state *s, int64_t x, int64_t at) {
    take_i(s, (s->next == 0 || s->i != 0) && x != 0, at);
}
/* The first of equals stays; the first NaN stays whatever follows. */
static inline void max_f(state *s, long double x, int64_t at) {
    if (s->next == 0 || x > s->f || (x != x && s->f == s->f)) take_f(s, x, at);
}
static inline void max_i(state *s, int64_t x, int64_t at) {
    if (s->next == 0 || x > s->i) take_i(s, x, at);
}
static inline void min_f(state *s, long double x, int64_t at) {
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
#define ROWS_BOTH(op) ROWS(op, f) ROWS(op, i)
ROWS_BOTH(sum)
ROWS_BOTH(prod)
ROWS_BOTH(max)
ROWS_BOTH(min)
ROWS_BOTH(any)
ROWS_BOTH(all)

typedef struct reduction {
    const char *op;
    void (*rows[2])(state *, const block *, int64_t rows, int64_t width,
                    int64_t first); /* int, float */
    tn_combine_fn join[2];
    int of_none;   /* the result for n == 0, NOTHING if there is none */
    bool position; /* the result is where the element was, not the element */
    uint8_t then;  /* what is made of a sum */
} reduction;

enum { NOTHING = -1 };
enum { ITSELF, MEAN, MOMENTS, STD };

#define REDUCTION_THEN(op, how, of_none, position, then)                                           \
    { op, {how##_i_rows, how##_f_rows}, {how##_i_join, how##_f_join}, of_none, position, then }
#define REDUCTION(op, how, of_none, position) REDUCTION_THEN(op, how, of_none, position, ITSELF)
static const reduction sum_reduction = REDUCTION("sum.dim", sum, 0, false);
static const reduction prod_reduction = REDUCTION("prod.dim", prod, 1, false);
static const reduction any_reduction = REDUCTION("any", any, 0, false);
static const reduction all_reduction = REDUCTION("all", all, 1, false);
static const reduction amax_reduction = REDUCTION("amax", max, NOTHING, false);
static const reduction amin_reduction = REDUCTION("amin", min, NOTHING, false);
static const reduction argmax_reduction = REDUCTION("argmax", max, NOTHING, true);
static const reduction argmin_reduction = REDUCTION("argmin", min, NOTHING, true);
static const reduction mean_reduction = REDUCTION_THEN("mean.dim", sum, 0, false, MEAN);
static const reduction moments_reduction = REDUCTION_THEN("moments", sum, 0, false, MOMENTS);
static const reduction std_reduction = REDUCTION_THEN("std", sum, 0, false, STD);

/* ---- The driver ------------------------------------------------------------------------------ */

typedef struct job {
    const reduction *how;
    const tn_view *x, *y, *m2; /* m2: of moments alone, where y is the mean */
    double freedom;            /* of std: n - correction */
    int32_t max_threads;
    bool is_float;
    int64_t n, inner,
        strips; /* a strip: up to WIDTH neighbouring results; strips per outer index */
} job;

typedef struct strip_job {
    const job *j;
    int64_t first, width;      /* of its results, counted in y */
    int64_t base;              /* of its first element, in x */
    const long double *centre; /* NULL, or per result: (x - centre)^2 is reduced instead of x */
} strip_job;

static strip_job strip_of(const job *j, int64_t strip) {
    const int64_t o = strip / j->strips, column = strip % j->strips * WIDTH;
    return (strip_job){j, o * j->inner + column, tnk_min(WIDTH, j->inner - column),
                       o * j->n * j->inner + column, NULL};
}

/* x (rows, width) starting at row `row` of the strip. */
static void load_rows(const strip_job *s, int64_t row, int64_t rows, block *out) {
    const job *j = s->j;
    const int64_t run = j->inner == 1 ? rows : s->width, runs = j->inner == 1 ? 1 : rows;
    double x[REF_BLOCK];
    for (int64_t r = 0; r < runs; r++) {
        const void *at = tnk_at(j->x, s->base + (row + r) * j->inner);
        if (j->is_float)
            ref_load_f64(tnk_dtype_index(j->x), at, 1, run, x + r * run);
        else
            ref_load_i64(tnk_dtype_index(j->x), at, 1, run, out->i + r * run);
    }
    for (int64_t i = 0; j->is_float && i < rows * s->width; i++) {
        const long double d = x[i] - (s->centre ? s->centre[i % s->width] : 0);
        out->f[i] = s->centre ? d * d : d;
    }
}

static void reduce_rows(void *arg, int64_t begin, int64_t end, void *partial) {
    const strip_job *s = arg;
    block x;
    for (int64_t rows; begin < end; begin += rows) {
        rows = tnk_min(REF_BLOCK / s->width, end - begin);
        load_rows(s, begin, rows, &x);
        s->j->how->rows[s->j->is_float](partial, &x, rows, s->width, begin);
    }
}

/* n too large for one chunk: threads share the strip. */
static tn_status reduce_strip(strip_job *s, state result[WIDTH]) {
    const job *j = s->j;
    memset(result, 0, WIDTH * sizeof *result);
    if (j->n > TNK_GRAIN)
        return tn_plugin_host->parallel_reduce(tn_plugin_self, j->n, TNK_GRAIN, j->max_threads,
                                               reduce_rows, j->how->join[j->is_float], s, result,
                                               WIDTH * sizeof *result);
    reduce_rows(s, 0, j->n, result);
    return TN_OK;
}

static void store_float(const tn_view *y, int64_t at, long double x) {
    const double rounded = (double)x;
    ref_store_f64(tnk_dtype_index(y), tnk_at(y, at), 1, 1, &rounded);
}

static void store_strip(const strip_job *s, const state *result) {
    const job *j = s->j;
    const int ix = tnk_dtype_index(j->y);
    for (int64_t k = 0; k < s->width; k++) {
        const int64_t none = j->how->of_none, position = result[k].next - 1;
        void *at = tnk_at(j->y, s->first + k);
        if (j->how->position)
            ref_store_i64(ix, at, 1, 1, &position);
        else if (j->how->then == MEAN)
            store_float(j->y, s->first + k, result[k].f / (long double)j->n);
        else if (result[k].next == 0)
            ref_store_i64(ix, at, 1, 1, &none);
        else if (j->is_float)
            store_float(j->y, s->first + k, result[k].f);
        else
            ref_store_i64(ix, at, 1, 1, &result[k].i);
    }
}

/* The sum has been taken; the squares of what is left without the mean follow. */
static tn_status store_moments(strip_job *s, state result[WIDTH]) {
    const job *j = s->j;
    long double mean[WIDTH] = {0};
    for (int64_t k = 0; k < s->width; k++) mean[k] = result[k].f / (long double)j->n;
    s->centre = mean;
    const tn_status status = reduce_strip(s, result);
    for (int64_t k = 0; k < s->width; k++) {
        const long double squares = result[k].f;
        if (j->m2) store_float(j->m2, s->first + k, squares);
        store_float(j->y, s->first + k, j->m2 ? mean[k] : sqrtl(squares / (long double)j->freedom));
    }
    return status;
}

static tn_status run_strip(const job *j, int64_t strip) {
    state result[WIDTH];
    strip_job s = strip_of(j, strip);
    const tn_status status = reduce_strip(&s, result);
    if (status != TN_OK) return status;
    if (j->how->then >= MOMENTS) return store_moments(&s, result);
    store_strip(&s, result);
    return TN_OK;
}

static void run_strips(void *arg, int64_t begin, int64_t end) {
    for (; begin < end; begin++) run_strip(arg, begin);
}

static tn_status run_reduction(tn_call *c, const reduction *how) {
    const tn_view *x = tnk_arg(c, 0);
    job j = {.how = how,
             .x = x,
             .y = tnk_out(c, 0),
             .m2 = c->n_outs > 1 ? tnk_out(c, 1) : NULL,
             .max_threads = c->max_threads,
             .is_float = ref_is_float(tnk_dtype_index(x)),
             .n = x->sizes[1],
             .inner = x->sizes[2]};
    if (how->then == STD) j.freedom = fmax(0, (double)j.n - c->args[2].f);
    j.strips = (j.inner + WIDTH - 1) / WIDTH;
    const int64_t strips = x->sizes[0] * j.strips;
    if (j.n == 0 && strips > 0 && how->of_none == NOTHING)
        return tnk_fail(c, TN_ERR_SHAPE, "%s: the reduced dims of x hold no elements", how->op);
    if (j.n <= TNK_GRAIN) {
        tnk_parallel(c, strips, j.n * tnk_min(WIDTH, j.inner), run_strips, &j);
        return TN_OK;
    }
    for (int64_t strip = 0; strip < strips; strip++) {
        const tn_status status = run_strip(&j, strip);
        if (status != TN_OK)
            return tnk_fail(c, status, "%s: could not combine partial results", how->op);
    }
    return TN_OK;
}

#define REDUCE(name, how)                                                                          \
    tn_status ref_##name(const void *plan, tn_call *c) {                                           \
        (void)plan;                                                                                \
        return run_reduction(c, &how##_reduction);                                                 \
    }
REDUCE(sum_dim, sum)
REDUCE(prod_dim, prod)
REDUCE(amax, amax)
REDUCE(amin, amin)
REDUCE(argmax, argmax)
REDUCE(argmin, argmin)
REDUCE(any, any)
REDUCE(all, all)
REDUCE(moments, moments)
REDUCE(mean_dim, mean)
REDUCE(std, std)
