/* ewise.c - elementwise ops: a loop over blocks that are widened, computed, and rounded or cut.
 *
 * Invariant: a block is read completely before it is written, so a result may be the memory of an
 * argument. What is computed stands in the rows of the ops, as formulas.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/formula.h"
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

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
    job j = {.n_views = (int32_t)n + 1, .views = {tnk_out(c, 0)}};
    for (uint32_t k = 0; k < n; k++) j.views[k + 1] = tnk_arg(c, k);
    for (int32_t k = 0; k < j.n_views; k++) j.wide_f[k] = ref_is_float(tnk_dtype_index(j.views[k]));
    return j;
}

static tn_status run_job(tn_call *c, job *j, loop_fn loop) {
    j->loop = loop;
    tnk_parallel(c, tn_view_numel(j->views[0]), 1, run_range, j);
    return TN_OK;
}

/* ---- Integers without a result: they are looked for before anything is written ---------------- */

typedef int64_t (*refuse_fn)(int64_t n, const block *in); /* the first of n elements, or n */

typedef struct refuse_job {
    const job *j;
    refuse_fn refuse;
    int64_t first; /* position of the first one, or INT64_MAX */
} refuse_job;

static void refuse_range(void *arg, int64_t begin, int64_t end) {
    refuse_job *r = arg;
    block in[REF_WALK_VIEWS - 1];
    ref_walk w;
    ref_walk_start(&w, r->j->n_views, r->j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        load_blocks(r->j, &w, n, in);
        const int64_t first = r->refuse(n, in);
        if (first < n) {
            tnk_note_lowest(&r->first, begin + first);
            return;
        }
    }
}

static tn_status refuse_integers(tn_call *c, const job *j, refuse_fn refuse, const char *op,
                                 const char *why) {
    refuse_job r = {j, refuse, INT64_MAX};
    tnk_parallel(c, tn_view_numel(j->views[0]), 1, refuse_range, &r);
    if (r.first == INT64_MAX) return TN_OK;
    return tnk_fail(c, TN_ERR_INVALID,
                    "%s: element %lld: %s, which has no integer result; convert to a floating "
                    "dtype first",
                    op, (long long)r.first, why);
}

/* ---- Formulas: a loop for each kind of dtype, and the kernel --------------------------------- */

typedef struct formulas { /* of one op */
    const char *op;
    uint32_t n_args;
    loop_fn floats, integers, booleans; /* NULL: not of them */
    refuse_fn refuse;                   /* NULL: every integer has a result */
    const char *why;                    /* not */
} formulas;

static tn_status run_formulas(tn_call *c, const formulas *f) {
    job j = make_job(c, f->n_args);
    if (j.wide_f[1]) return run_job(c, &j, f->floats);
    if (f->refuse) {
        const tn_status s = refuse_integers(c, &j, f->refuse, f->op, f->why);
        if (s) return s;
    }
    const bool booleans = tn_dtype_in(j.views[1]->dtype, TN_MASK(BOOL));
    return run_job(c, &j, booleans ? f->booleans : f->integers);
}

/* Narrower dtypes are widened first, then rounded or cut to their own width: for wrapping integers
 * that equals computing in that width. */
#define LANE_f            f
#define LANE_i            i
#define LANE_b            i
#define TYPE_f            double
#define TYPE_i            int64_t
#define TYPE_b            int64_t
#define RESULT_same(of)   LANE_##of
#define RESULT_bool(of)   i
#define LOOP_f(op)        op##_f
#define LOOP_i(op)        op##_i
#define LOOP_b(op)        op##_b
#define LOOP_none(op)     NULL
#define REFUSE_refuse(op) op##_refuse, op##_why
#define REFUSE_none(op)   NULL, NULL

#define FORMULA_ARG(of, name, at)                                                                  \
    const TYPE_##of name = in[at].LANE_##of[k];                                                    \
    (void)name;
#define FORMULA(op, of, result, args, value)                                                       \
    static void op##_##of(const job *j, int64_t n, const block *in, block *out) {                  \
        (void)j;                                                                                   \
        for (int64_t k = 0; k < n; k++) {                                                          \
            args out->RESULT_##result(of)[k] = value;                                              \
        }                                                                                          \
    }
#define FORMULA_REFUSE(op, args, where, why)                                                       \
    static const char op##_why[] = why;                                                            \
    static int64_t op##_refuse(int64_t n, const block *in) {                                       \
        for (int64_t k = 0; k < n; k++) {                                                          \
            args if (where) return k;                                                              \
        }                                                                                          \
        return n;                                                                                  \
    }
#define FORMULA_OP(op, name, n_args, dtypes, f, i, b, refuse)                                      \
    tn_status ref_##op(const void *plan, tn_call *c) {                                             \
        static const formulas of = {name,         n_args,       LOOP_##f(op),                      \
                                    LOOP_##i(op), LOOP_##b(op), REFUSE_##refuse(op)};              \
        _Static_assert(n_args < REF_WALK_VIEWS, "more arguments than a job has views");            \
        (void)plan;                                                                                \
        return run_formulas(c, &of);                                                               \
    }
#include "modules/math/math_formulas.inc"

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
