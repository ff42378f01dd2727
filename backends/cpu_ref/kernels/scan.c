/* scan.c - cumsum, cumprod, cummax, cummin, logcumsumexp, linear_scan along the lines of x
 * (outer, n, inner).
 *
 * Invariant: a line is walked from its first element to its last by one thread; lines are
 * independent. Accumulated in f64, or in i64 wrapping around.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* Where a line stands. next: 1 + index of the element it took last; 0: none yet. */
typedef struct state {
    union {
        double f;
        int64_t i;
    };
    int64_t next;
} state;

typedef union block {
    double f[REF_BLOCK];
    int64_t i[REF_BLOCK];
} block;

static inline void take_f(state *s, double x, int64_t at) { s->f = x, s->next = at + 1; }
static inline void take_i(state *s, int64_t x, int64_t at) { s->i = x, s->next = at + 1; }

/* ---- One step: element x at index `at`, with the factor a in linear_scan --------------------- */

static inline void sum_f(state *s, double x, double a, int64_t at) {
    (void)a;
    take_f(s, s->f + x, at);
}
static inline void sum_i(state *s, int64_t x, int64_t at) {
    take_i(s, (int64_t)((uint64_t)s->i + (uint64_t)x), at);
}
static inline void prod_f(state *s, double x, double a, int64_t at) {
    (void)a;
    take_f(s, at ? s->f * x : x, at);
}
static inline void prod_i(state *s, int64_t x, int64_t at) {
    take_i(s, at ? (int64_t)((uint64_t)s->i * (uint64_t)x) : x, at);
}
/* The last of equals; from the first NaN on, the last NaN. */
static inline void max_f(state *s, double x, double a, int64_t at) {
    (void)a;
    if (at == 0 || x != x || x >= s->f) take_f(s, x, at);
}
static inline void max_i(state *s, int64_t x, int64_t at) {
    if (at == 0 || x >= s->i) take_i(s, x, at);
}
static inline void min_f(state *s, double x, double a, int64_t at) {
    (void)a;
    if (at == 0 || x != x || x <= s->f) take_f(s, x, at);
}
static inline void min_i(state *s, int64_t x, int64_t at) {
    if (at == 0 || x <= s->i) take_i(s, x, at);
}
/* log(exp(s) + exp(x)), the larger one taken out of both; s is -inf before the first. */
static inline void lse_f(state *s, double x, double a, int64_t at) {
    (void)a;
    const double have = at ? s->f : -(double)INFINITY;
    const double high = x > have ? x : have, low = x > have ? have : x;
    take_f(s, isinf(high) && low == low ? high : high + log1p(exp(low - high)), at);
}
static inline void linear_f(state *s, double x, double a, int64_t at) {
    take_f(s, at ? a * s->f + x : x, at);
}

/* op_t: n elements of a line, the first being element `first`; x becomes the results. */
#define STEPS_F(op)                                                                                \
    static void op##_f_steps(state *s, block *x, const double *a, int64_t *where, int64_t n,       \
                             int64_t first) {                                                      \
        for (int64_t k = 0; k < n; k++) {                                                          \
            op##_f(s, x->f[k], a[k], first + k);                                                   \
            x->f[k] = s->f, where[k] = s->next - 1;                                                \
        }                                                                                          \
    }
#define STEPS_I(op)                                                                                \
    static void op##_i_steps(state *s, block *x, const double *a, int64_t *where, int64_t n,       \
                             int64_t first) {                                                      \
        (void)a;                                                                                   \
        for (int64_t k = 0; k < n; k++) {                                                          \
            op##_i(s, x->i[k], first + k);                                                         \
            x->i[k] = s->i, where[k] = s->next - 1;                                                \
        }                                                                                          \
    }
STEPS_F(sum)
STEPS_I(sum)
STEPS_F(prod)
STEPS_I(prod)
STEPS_F(max)
STEPS_I(max)
STEPS_F(min)
STEPS_I(min)
STEPS_F(lse)
STEPS_F(linear)

typedef void steps_fn(state *, block *x, const double *a, int64_t *where, int64_t n, int64_t first);

/* ---- The driver ------------------------------------------------------------------------------ */

typedef struct job {
    steps_fn *steps;
    const tn_view *x, *a, *y, *where; /* a, where: NULL if the op has none */
    bool is_float;
    int64_t n, inner;
} job;

/* n elements of the line that starts at `base`, from the first-th on. */
static void scan_block(const job *j, state *s, int64_t base, int64_t first, int64_t n) {
    const int64_t at = base + first * j->inner;
    double a[REF_BLOCK] = {0};
    int64_t where[REF_BLOCK];
    block x;

    if (j->a) ref_load_f64(tnk_dtype_index(j->a), tnk_at(j->a, at), j->inner, n, a);
    if (j->is_float)
        ref_load_f64(tnk_dtype_index(j->x), tnk_at(j->x, at), j->inner, n, x.f);
    else
        ref_load_i64(tnk_dtype_index(j->x), tnk_at(j->x, at), j->inner, n, x.i);
    j->steps(s, &x, a, where, n, first);
    if (j->is_float)
        ref_store_f64(tnk_dtype_index(j->y), tnk_at(j->y, at), j->inner, n, x.f);
    else
        ref_store_i64(tnk_dtype_index(j->y), tnk_at(j->y, at), j->inner, n, x.i);
    if (j->where)
        ref_store_i64(tnk_dtype_index(j->where), tnk_at(j->where, at), j->inner, n, where);
}

static void scan_lines(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (; begin < end; begin++) {
        const int64_t base = begin / j->inner * j->n * j->inner + begin % j->inner;
        state s = {{0}, 0};
        for (int64_t first = 0, n; first < j->n; first += n) {
            n = tnk_min(REF_BLOCK, j->n - first);
            scan_block(j, &s, base, first, n);
        }
    }
}

static tn_status run_scan(tn_call *c, steps_fn *of_floats, steps_fn *of_ints) {
    const tn_view *x = tnk_arg(c, 0);
    const bool is_float = ref_is_float(tnk_dtype_index(x));
    job j = {.steps = is_float ? of_floats : of_ints,
             .x = x,
             .a = of_floats == linear_f_steps ? tnk_arg(c, 1) : NULL,
             .y = tnk_out(c, 0),
             .where = c->n_outs > 1 ? tnk_out(c, 1) : NULL,
             .is_float = is_float,
             .n = x->sizes[1],
             .inner = x->sizes[2]};
    tnk_parallel(c, x->sizes[0] * j.inner, j.n, scan_lines, &j);
    return TN_OK;
}

#define SCAN(name, of_floats, of_ints)                                                             \
    tn_status ref_##name(const void *plan, tn_call *c) {                                           \
        (void)plan;                                                                                \
        return run_scan(c, of_floats, of_ints);                                                    \
    }
SCAN(cumsum, sum_f_steps, sum_i_steps)
SCAN(cumprod, prod_f_steps, prod_i_steps)
SCAN(cummax, max_f_steps, max_i_steps)
SCAN(cummin, min_f_steps, min_i_steps)
SCAN(logcumsumexp, lse_f_steps, NULL)
SCAN(linear_scan, linear_f_steps, NULL)
