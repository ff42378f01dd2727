/* reduce.c - sums, means, products, largest, smallest, any, all, argmax, argmin over [outer, n,
 * inner].
 *
 * Invariant: where n is cut (reduce.h), and in what order partial results meet, follows from the
 * shape alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/reduce.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum {
    NARROW_TILE = 16, /* columns done together when n is cut: a partial is 256 bytes */
    BLOCK = 2048      /* narrow elements widened at a time */
};

#define REDUCTION(name, op, kind, of_none, position)                                               \
    static const blas_reduction of_##name = {op, BLAS_##kind, BLAS_OF_NONE_##of_none, position,    \
                                             false}
static const blas_reduction of_mean = {"mean.dim", BLAS_SUM, BLAS_OF_NONE_0, false, true};
REDUCTION(sum, "sum.dim", SUM, 0, false);
REDUCTION(prod, "prod.dim", PROD, 1, false);
REDUCTION(amax, "amax", MAX, FAILS, false);
REDUCTION(amin, "amin", MIN, FAILS, false);
REDUCTION(argmax, "argmax", MAX, FAILS, true);
REDUCTION(argmin, "argmin", MIN, FAILS, true);
REDUCTION(any, "any", ANY, 0, false);
REDUCTION(all, "all", ALL, 1, false);

typedef struct job {
    const blas_reduction *how;
    const tn_view *x, *y;
    int type;              /* of lanes */
    blas_convert_fn widen; /* NULL: elements are lanes */
    bool is_float;
    int64_t n, inner, tiles; /* tiles: of BLAS_COLS columns per outer */
    int64_t element, cols;   /* cut along n: first element of x, columns */
} job;

/* Results under way: of up to BLAS_COLS columns. where: argmax and argmin alone. */
typedef struct partial {
    blas_acc best[NARROW_TILE];
    int64_t where[NARROW_TILE];
} partial;

static blas_acc start_value(const job *j) {
    static const double of_floats[BLAS_REDUCE_COUNT] = {0, 1, -(double)INFINITY, (double)INFINITY,
                                                        0, 1};
    static const int64_t of_ints[BLAS_REDUCE_COUNT] = {0, 1, INT64_MIN, INT64_MAX, 0, 1};
    const int kind = j->how->kind;
    return j->is_float ? (blas_acc){.f = of_floats[kind]} : (blas_acc){.i = of_ints[kind]};
}

/* Is b to be taken instead of a, which came before it? */
static bool is_better(const job *j, blas_acc a, blas_acc b) {
    const bool largest = j->how->kind == BLAS_MAX;
    if (!j->is_float) return largest ? b.i > a.i : b.i < a.i;
    return (largest ? b.f > a.f : b.f < a.f) || (isnan(b.f) && !isnan(a.f));
}

/* a[k] op b[k]; both are lanes of 8 bytes themselves. */
static void join(const job *j, int64_t n, blas_acc *a, const blas_acc *b) {
    blas_code(reduce)->cols[j->how->kind][j->is_float ? BLAS_F64 : BLAS_I64](b, 1, n, n, a);
}

/* ---- Rows and columns of any dtype ----------------------------------------------------------- */

typedef union lanes {
    int32_t i[BLOCK];
    float f[BLOCK];
} lanes;

/* n elements from `at`, the first of them being number `first` of its row. */
static void take_row(const job *j, const char *at, int64_t n, int64_t first, blas_acc *best,
                     int64_t *where) {
    lanes block;
    const int kind = j->how->kind;
    const int64_t bytes = j->x->dtype.bits / 8;
    for (int64_t i = 0, m; i < n; i += m, at += m * bytes) {
        m = j->widen ? tnk_min(BLOCK, n - i) : n;
        if (j->widen) j->widen(m, &block, at);
        const void *x = j->widen ? (const void *)&block : at;
        const blas_acc here = blas_code(reduce)->row[kind][j->type](x, m);
        const bool is_first = first + i == 0;
        if (!j->how->position) {
            if (is_first)
                *best = here;
            else
                join(j, 1, best, &here);
        } else if (is_first || is_better(j, *best, here)) {
            *best = here, *where = first + i + blas_code(reduce)->find[j->type](x, m, here);
        }
    }
}

/* `rows` rows of cols <= BLAS_COLS columns from `at`, the first being row `first`. */
static void take_cols(const job *j, const char *at, int64_t rows, int64_t cols, int64_t first,
                      blas_acc *best, int64_t *where) {
    lanes block;
    const int kind = j->how->kind;
    const int64_t bytes = j->x->dtype.bits / 8, ld = j->inner * bytes;
    for (int64_t r = 0, m; r < rows; r += m, at += m * ld) {
        m = j->widen ? tnk_min(BLOCK / cols, rows - r) : rows;
        for (int64_t k = 0; j->widen && k < m; k++) {
            float *to = block.f + k * cols;
            j->widen(cols, to, at + k * ld);
        }
        const void *x = j->widen ? (const void *)&block : at;
        const int64_t step = j->widen ? cols : j->inner;
        if (j->how->position)
            blas_code(reduce)->arg_cols[kind == BLAS_MIN][j->type](x, m, step, cols, first + r,
                                                                   best, where);
        else
            blas_code(reduce)->cols[kind][j->type](x, m, step, cols, best);
    }
}

/* ---- Results --------------------------------------------------------------------------------- */

/* x to a float whose last bit says whether anything was lost: rounding that to a 16-bit float gives
 * what rounding x would. */
static float odd_float(double x) {
    float y = (float)x;
    uint32_t bits;
    if (x != x || (double)y == x) return y;
    memcpy(&bits, &y, sizeof bits);
    if (fabs((double)y) > fabs(x)) bits--;
    bits |= 1;
    memcpy(&y, &bits, sizeof y);
    return y;
}

void blas_store_acc(const tn_view *v, int64_t at, const blas_acc *x, int64_t n, bool is_float) {
    const int ix = tn_dtype_index(v->dtype), type = blas_lane_type(v->dtype);
    const blas_convert_fn narrow = blas_code(ewise)->narrow[ix];
    char *to = tnk_at(v, at);
    for (int64_t i = 0; i < n; i++, to += v->dtype.bits / 8) {
        union {
            float f;
            int32_t i;
        } lane;
        if (type == BLAS_F64 || type == BLAS_I64) { /* a double that counts becomes an integer */
            const blas_acc whole = {.i = is_float && type == BLAS_I64 ? (int64_t)x[i].f : x[i].i};
            memcpy(to, &whole, sizeof whole);
            continue;
        }
        if (type == BLAS_F32)
            lane.f = narrow ? odd_float(x[i].f) : (float)x[i].f;
        else
            lane.i = (int32_t)(is_float ? (int64_t)x[i].f : x[i].i);
        if (narrow)
            narrow(1, to, &lane);
        else
            memcpy(to, &lane, sizeof lane);
    }
}

/* Sum, mean or product number `at` again, from first to last in a type of more range. A product
 * of 0 stays one: no infinity was met on the way to it. */
static double taken_wide(const job *j, int64_t at, bool is_zero) {
    const int64_t first = at / j->inner * j->n * j->inner + at % j->inner;
    long double y = j->how->kind == BLAS_PROD;
    for (int64_t i = 0; i < j->n && !(is_zero && y == 0); i++) {
        double x;
        blas_convert(1, TN_F64, &x, j->x->dtype, tnk_at(j->x, first + i * j->inner));
        y = j->how->kind == BLAS_PROD ? y * (long double)x : y + (long double)x;
    }
    return (double)(j->how->mean ? y / (long double)j->n : y);
}

/* Doubles hold every sum of narrower elements. One of f64, and any product, may leave their
 * range on its way to what they can hold: then it is taken again. */
static void finish(const job *j, int64_t at, blas_acc *y, int64_t n) {
    const bool is_product = j->how->kind == BLAS_PROD;
    for (int64_t i = 0; i < n; i++) {
        const bool is_small = is_product && fabs(y[i].f) < DBL_MIN;
        if (is_small || (!isfinite(y[i].f) && (is_product || j->type == BLAS_F64)))
            y[i].f = taken_wide(j, at + i, y[i].f == 0);
        else if (j->how->mean)
            y[i].f /= (double)j->n;
    }
}

static void put(const job *j, int64_t at, blas_acc *best, const int64_t *where, int64_t n) {
    if (j->is_float && (j->how->kind == BLAS_SUM || j->how->kind == BLAS_PROD))
        finish(j, at, best, n);
    if (j->how->position)
        memcpy(tnk_at(j->y, at), where, (size_t)n * sizeof *where);
    else
        blas_store_acc(j->y, at, best, n, j->is_float);
}

/* ---- Cutting --------------------------------------------------------------------------------- */

static void rows_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t o = begin; o < end; o++) {
        blas_acc best = start_value(j);
        int64_t where = 0;
        take_row(j, tnk_at(j->x, o * j->n), j->n, 0, &best, &where);
        put(j, o, &best, &where, 1);
    }
}

static void tiles_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    blas_acc best[BLAS_COLS];
    int64_t where[BLAS_COLS] = {0};
    for (int64_t t = begin; t < end; t++) {
        const int64_t o = t / j->tiles, first = t % j->tiles * BLAS_COLS;
        const int64_t cols = tnk_min(BLAS_COLS, j->inner - first);
        for (int64_t i = 0; i < cols; i++) best[i] = start_value(j);
        take_cols(j, tnk_at(j->x, o * j->n * j->inner + first), j->n, cols, 0, best, where);
        put(j, o * j->inner + first, best, where, cols);
    }
}

/* A piece's first row counts as row 0 of it, so that it starts anew. */
static void piece_range(void *arg, int64_t begin, int64_t end, void *out) {
    const job *j = arg;
    partial *p = out;
    const char *x = tnk_at(j->x, j->element + begin * j->inner);
    for (int64_t i = 0; i < j->cols; i++) p->best[i] = start_value(j);
    if (j->inner == 1)
        take_row(j, x, end - begin, 0, p->best, p->where);
    else
        take_cols(j, x, end - begin, j->cols, 0, p->best, p->where);
    for (int64_t i = 0; i < j->cols; i++) p->where[i] += begin;
}

static void join_pieces(void *arg, void *left, const void *right) {
    const job *j = arg;
    partial *a = left;
    const partial *b = right;
    if (!j->how->position) {
        join(j, j->cols, a->best, b->best);
        return;
    }
    for (int64_t i = 0; i < j->cols; i++)
        if (is_better(j, a->best[i], b->best[i]))
            a->best[i] = b->best[i], a->where[i] = b->where[i];
}

/* Every outer, NARROW_TILE columns at a time, cut along n. */
static tn_status run_cut(const tn_call *c, job *j, int64_t outer) {
    for (int64_t o = 0; o < outer; o++)
        for (int64_t first = 0; first < j->inner; first += NARROW_TILE) {
            partial all;
            j->cols = tnk_min(NARROW_TILE, j->inner - first);
            j->element = o * j->n * j->inner + first;
            const tn_status s = tn_plugin_host->parallel_reduce(
                tn_plugin_self, j->n, TNK_GRAIN / j->cols, c->max_threads, piece_range, join_pieces,
                j, &all, sizeof all);
            if (s != TN_OK) return s;
            put(j, o * j->inner + first, all.best, all.where, j->cols);
        }
    return TN_OK;
}

static void fill_none(const job *j, int64_t n) {
    const int64_t none = j->how->of_none == BLAS_OF_NONE_1;
    for (int64_t i = 0; i < n; i++) {
        blas_acc x = j->is_float ? (blas_acc){.f = (double)none} : (blas_acc){.i = none};
        put(j, i, &x, NULL, 1);
    }
}

static tn_status reduce_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 0);
    const int64_t outer = x->sizes[0], n = x->sizes[1], inner = x->sizes[2];
    job j = {.how = c->user, .x = x, .y = tnk_out(c, 0), .n = n, .inner = inner};
    j.type = blas_lane_type(x->dtype), j.is_float = j.type >= BLAS_F32;
    j.widen = blas_code(ewise)->widen[tn_dtype_index(x->dtype)];
    if (outer == 0 || inner == 0) return TN_OK;
    if (n == 0 && j.how->of_none == BLAS_OF_NONE_FAILS)
        return tnk_fail(c, TN_ERR_SHAPE, "%s: the reduced dims of x hold no elements", j.how->op);
    if (n == 0) {
        fill_none(&j, outer * inner);
        return TN_OK;
    }
    if (blas_is_cut_along_n(n, inner)) return run_cut(c, &j, outer);
    if (inner == 1) {
        tnk_parallel(c, outer, n, rows_range, &j);
        return TN_OK;
    }
    j.tiles = blas_pieces(inner, BLAS_COLS);
    tnk_parallel(c, outer * j.tiles, n * tnk_min(inner, BLAS_COLS), tiles_range, &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
#define REDUCE(op_, name, mask)                                                                    \
    {BLAS_ROW(op_, 3), .dtypes = mask, .user = &of_##name, .run = reduce_run}
static const tn_kernel rows[] = {
    REDUCE(sum_dim, sum, TN_MASK_ALL),
    REDUCE(mean_dim, mean, TN_MASK_FLOAT),
    REDUCE(prod_dim, prod, TN_MASK_ALL),
    REDUCE(amax, amax, TN_MASK_ALL),
    REDUCE(amin, amin, TN_MASK_ALL),
    REDUCE(argmax, argmax, TN_MASK_ALL),
    REDUCE(argmin, argmin, TN_MASK_ALL),
    REDUCE(any, any, TN_MASK_ALL),
    REDUCE(all, all, TN_MASK_ALL),
};
/* clang-format on */
const tnk_family blas_reduce_rows = TNK_FAMILY(rows);
