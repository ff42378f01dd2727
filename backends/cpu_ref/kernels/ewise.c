/* ewise.c - elementwise ops: a loop over blocks that are widened, computed, and rounded or cut.
 *
 * Invariant: a block is read completely before it is written, so a result may be the memory of an
 * argument. What is computed stands in ewise.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

/* Integers wrap; unsigned arithmetic says so. */
static inline int64_t wrap_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static inline int64_t wrap_sub(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}
static inline int64_t wrap_mul(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a * (uint64_t)b);
}
static inline int64_t wrap_pow(int64_t a, int64_t b) {
    int64_t power = 1;
    for (; b > 0; b >>= 1, a = wrap_mul(a, a))
        if (b & 1) power = wrap_mul(power, a);
    return power;
}

#define REF_BY_ZERO                                                                                \
    "division by zero, which has no integer result; convert to a floating dtype first"

/* Floored division, as Python does it: what is left has the divisor's sign. The rounded quotient
 * may be one off where a / b is close to an integer; a - fmod(a, b) is a multiple of b. */
static inline double floor_remainder(double a, double b) {
    const double rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
static inline double floor_div(double a, double b) {
    if (b == 0) return a / b;
    const double rest = fmod(a, b), quotient = (a - rest) / b;
    const double whole = rint(quotient) - (rest != 0 && (rest < 0) != (b < 0));
    return whole == 0 ? copysign(0, a / b) : whole;
}
static inline int64_t floor_remainder_i(int64_t a, int64_t b) {
    const int64_t rest = b == -1 ? 0 : a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
static inline int64_t floor_div_i(int64_t a, int64_t b) {
    if (b == -1) return wrap_sub(0, a);
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

/* ---- The driver ------------------------------------------------------------------------------ */

typedef union block {
    double f[REF_BLOCK];
    int64_t i[REF_BLOCK];
} block;

typedef struct job job;
typedef void (*loop_fn)(const job *, int64_t n, const block *in, block *out);
struct job {
    loop_fn loop;
    int32_t n_views; /* the result, then the arguments */
    const tn_view *views[REF_WALK_VIEWS];
    bool wide_f[REF_WALK_VIEWS]; /* widened to double, else to int64 */
    double f[2];                 /* clamp: bounds */
    int64_t i[2];
    int64_t bad; /* checked ops: first position where they fail */
};

static void load_blocks(const job *j, const ref_walk *w, int64_t n, block *in) {
    for (int32_t k = 1; k < j->n_views; k++) {
        if (j->wide_f[k])
            ref_walk_load_f64(w, k, n, in[k - 1].f);
        else
            ref_walk_load_i64(w, k, n, in[k - 1].i);
    }
}

static void run_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    block in[REF_WALK_VIEWS - 1], out;
    ref_walk w;
    ref_walk_start(&w, j->n_views, j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        load_blocks(j, &w, n, in);
        j->loop(j, n, in, &out);
        if (j->wide_f[0])
            ref_walk_store_f64(&w, 0, n, out.f);
        else
            ref_walk_store_i64(&w, 0, n, out.i);
    }
}

/* The job of a call: result 0 and the leading n arguments, each widened by its own dtype. */
static job make_job(const tn_call *c, uint32_t n) {
    job j = {.n_views = (int32_t)n + 1, .views = {tnk_out(c, 0)}, .bad = INT64_MAX};
    for (uint32_t k = 0; k < n; k++) j.views[k + 1] = tnk_arg(c, k);
    for (int32_t k = 0; k < j.n_views; k++) j.wide_f[k] = ref_is_float(tnk_dtype_index(j.views[k]));
    return j;
}

static tn_status run_job(tn_call *c, job *j, loop_fn loop) {
    j->loop = loop;
    tnk_parallel(c, tn_view_numel(j->views[0]), 1, run_range, j);
    return TN_OK;
}

static tn_status run_ewise(tn_call *c, uint32_t n, loop_fn loop_f, loop_fn loop_i) {
    job j = make_job(c, n);
    return run_job(c, &j, j.wide_f[1] ? loop_f : loop_i);
}

/* ---- Rows of ewise.def: op_f(double), op_i(int64), their loops, and the kernel --------------- */

#define LOOP1(op, t, T, out_t)                                                                     \
    static void op##_##t##_loop(const job *j, int64_t n, const block *in, block *out) {            \
        (void)j;                                                                                   \
        for (int64_t k = 0; k < n; k++) out->out_t[k] = op##_##t(in[0].t[k]);                      \
    }
#define LOOP2(op, t, T, out_t)                                                                     \
    static void op##_##t##_loop(const job *j, int64_t n, const block *in, block *out) {            \
        (void)j;                                                                                   \
        for (int64_t k = 0; k < n; k++) out->out_t[k] = op##_##t(in[0].t[k], in[1].t[k]);          \
    }
#define FORMULA1(op, t, T, out_t, R, formula)                                                      \
    static inline R op##_##t(T x) { return formula; }                                              \
    LOOP1(op, t, T, out_t)
#define FORMULA2(op, t, T, out_t, R, formula)                                                      \
    static inline R op##_##t(T a, T b) { return formula; }                                         \
    LOOP2(op, t, T, out_t)
#define LOOP3(op, t, T, out_t)                                                                     \
    static void op##_##t##_loop(const job *j, int64_t n, const block *in, block *out) {            \
        (void)j;                                                                                   \
        for (int64_t k = 0; k < n; k++)                                                            \
            out->out_t[k] = op##_##t(in[0].t[k], in[1].t[k], in[2].t[k]);                          \
    }
#define FORMULA3(op, t, T, out_t, R, formula)                                                      \
    static inline R op##_##t(T a, T b, T c) { return formula; }                                    \
    LOOP3(op, t, T, out_t)
#define RUN(op, n, loop_f, loop_i)                                                                 \
    tn_status ref_##op(const void *plan, tn_call *c) {                                             \
        (void)plan;                                                                                \
        return run_ewise(c, n, loop_f, loop_i);                                                    \
    }

#define UNARY_FLOAT(op, formula)                                                                   \
    FORMULA1(op, f, double, f, double, formula)                                                    \
    RUN(op, 1, op##_f_loop, NULL)
#define UNARY(op, formula_f, formula_i)                                                            \
    FORMULA1(op, f, double, f, double, formula_f)                                                  \
    FORMULA1(op, i, int64_t, i, int64_t, formula_i)                                                \
    RUN(op, 1, op##_f_loop, op##_i_loop)
#define PREDICATE(op, formula_f, formula_i)                                                        \
    FORMULA1(op, f, double, i, int64_t, formula_f)                                                 \
    FORMULA1(op, i, int64_t, i, int64_t, formula_i)                                                \
    RUN(op, 1, op##_f_loop, op##_i_loop)
#define BINARY_FLOAT(op, formula)                                                                  \
    FORMULA2(op, f, double, f, double, formula)                                                    \
    RUN(op, 2, op##_f_loop, NULL)
#define TERNARY_FLOAT(op, formula)                                                                 \
    FORMULA3(op, f, double, f, double, formula)                                                    \
    RUN(op, 3, op##_f_loop, NULL)
#define BINARY(op, formula_f, formula_i)                                                           \
    FORMULA2(op, f, double, f, double, formula_f)                                                  \
    FORMULA2(op, i, int64_t, i, int64_t, formula_i)                                                \
    RUN(op, 2, op##_f_loop, op##_i_loop)
/* Booleans, 0 and 1 here, keep the lowest bit: the others of ~x are no part of them. */
#define BITS1(op, formula_i)                                                                       \
    FORMULA1(op, i, int64_t, i, int64_t, formula_i)                                                \
    static void op##_b_loop(const job *j, int64_t n, const block *in, block *out) {                \
        op##_i_loop(j, n, in, out);                                                                \
        for (int64_t k = 0; k < n; k++) out->i[k] &= 1;                                            \
    }                                                                                              \
    tn_status ref_##op(const void *plan, tn_call *c) {                                             \
        (void)plan;                                                                                \
        return run_ewise(c, 1, NULL, tnk_dtype_index(tnk_arg(c, 0)) ? op##_i_loop : op##_b_loop);  \
    }
#define BITS2(op, formula_i)                                                                       \
    FORMULA2(op, i, int64_t, i, int64_t, formula_i)                                                \
    RUN(op, 2, NULL, op##_i_loop)
#define COMPARE(op, formula)                                                                       \
    FORMULA2(op, f, double, i, int64_t, formula)                                                   \
    FORMULA2(op, i, int64_t, i, int64_t, formula)                                                  \
    RUN(op, 2, op##_f_loop, op##_i_loop)
#include "backends/cpu_ref/ewise.def"

/* ---- Checked rows: integers are looked through before anything is written -------------------- */

typedef int64_t (*check_fn)(int64_t n, const block *in); /* first bad element, or n */

typedef struct check_job {
    job *j;
    check_fn check;
} check_job;

static void check_range(void *arg, int64_t begin, int64_t end) {
    const check_job *cj = arg;
    block in[REF_WALK_VIEWS - 1];
    ref_walk w;
    ref_walk_start(&w, cj->j->n_views, cj->j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        load_blocks(cj->j, &w, n, in);
        const int64_t first = cj->check(n, in);
        if (first < n) {
            tnk_note_lowest(&cj->j->bad, begin + first);
            return;
        }
    }
}

static tn_status run_checked(tn_call *c, loop_fn loop_f, loop_fn loop_i, check_fn check,
                             const char *op, const char *text) {
    job j = make_job(c, 2);
    check_job cj = {&j, check};
    if (!j.wide_f[1]) tnk_parallel(c, tn_view_numel(j.views[0]), 1, check_range, &cj);
    if (j.bad != INT64_MAX)
        return tnk_fail(c, TN_ERR_INVALID, "%s: element %lld: %s", op, (long long)j.bad, text);
    return run_job(c, &j, j.wide_f[1] ? loop_f : loop_i);
}

#define BINARY_CHECKED(op, formula_f, formula_i, bad_, text)                                       \
    FORMULA2(op, f, double, f, double, formula_f)                                                  \
    FORMULA2(op, i, int64_t, i, int64_t, formula_i)                                                \
    static inline bool op##_bad(int64_t a, int64_t b) {                                            \
        (void)a, (void)b;                                                                          \
        return bad_;                                                                               \
    }                                                                                              \
    static int64_t op##_check(int64_t n, const block *in) {                                        \
        int64_t k = 0;                                                                             \
        while (k < n && !op##_bad(in[0].i[k], in[1].i[k])) k++;                                    \
        return k;                                                                                  \
    }                                                                                              \
    tn_status ref_##op(const void *plan, tn_call *c) {                                             \
        (void)plan;                                                                                \
        return run_checked(c, op##_f_loop, op##_i_loop, op##_check, #op, text);                    \
    }
#include "backends/cpu_ref/ewise.def"

/* ---- Ops with more than two operands --------------------------------------------------------- */

/* NaN passes through from x and from a bound; where min > max the result is max. */
static void clamp_f_loop(const job *j, int64_t n, const block *in, block *out) {
    const double low = j->f[0], high = j->f[1];
    for (int64_t k = 0; k < n; k++) {
        double x = in[0].f[k];
        if (x < low || low != low) x = low;
        if (x > high || high != high) x = high;
        out->f[k] = x;
    }
}

static void clamp_i_loop(const job *j, int64_t n, const block *in, block *out) {
    for (int64_t k = 0; k < n; k++) {
        const int64_t x = tnk_max(in[0].i[k], j->i[0]);
        out->i[k] = tnk_min(x, j->i[1]);
    }
}

/* A bound of an integer tensor, cut to a whole number and saturated to the tensor's dtype. */
static int64_t bound_like(const tn_view *x, const tn_value *bound, double absent) {
    const bool is_signed = x->dtype.code == 0;
    const int64_t high = is_signed ? INT64_MAX >> (64 - x->dtype.bits) : UINT8_MAX;
    const int64_t low = is_signed ? -high - 1 : 0;
    if (x->dtype.code == 6) return tnk_number(bound, absent) != 0;
    if (bound->tag == TN_TAG_INT || bound->tag == TN_TAG_BOOL)
        return tnk_min(tnk_max(bound->i, low), high);
    return ref_f64_to_int(tnk_number(bound, absent), low, high);
}

tn_status ref_clamp(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c, 1);
    const double absent[2] = {-INFINITY, INFINITY};
    for (int k = 0; k < 2; k++) {
        j.f[k] = tnk_number(&c->args[k + 1], absent[k]);
        j.i[k] = bound_like(j.views[1], &c->args[k + 1], absent[k]);
    }
    return run_job(c, &j, j.wide_f[1] ? clamp_f_loop : clamp_i_loop);
}

/* Moves whole cells, whichever type they hold. */
static void where_loop(const job *j, int64_t n, const block *in, block *out) {
    (void)j;
    for (int64_t k = 0; k < n; k++) out->i[k] = in[0].i[k] ? in[1].i[k] : in[2].i[k];
}

tn_status ref_where(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c, 3);
    return run_job(c, &j, where_loop);
}
