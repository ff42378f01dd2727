/* moments.c - over [outer, n, inner], in double: mean and sum((x - mean)^2), in two passes; std,
 * which is made of them; and norm of order 2, which is sum(x^2) and one pass.
 *
 * Invariant: as in reduce.c, where n is cut, and in what order partial sums meet, follows from
 * the shape alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/moments.h"

#include <math.h>
#include <string.h>

#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"
#include "backends/cpu_blas/kernels/reduce.h"

enum { MOMENTS, STD, NORM };
static const uint8_t of_moments = MOMENTS, of_std = STD, of_norm = NORM;

enum { NARROW_TILE = 32, BLOCK = 2048 }; /* as in reduce.c */

typedef struct job {
    int kind;
    const tn_view *x;
    const tn_view *mean, *spread; /* mean: or NULL; spread: sum of squares, std, norm */
    double divisor;               /* of squares, under the root */
    int wide;                     /* f64 lanes, else f32 */
    blas_convert_fn widen;        /* NULL: elements are lanes */
    int64_t n, inner, tiles;
    int64_t element, cols; /* cut along n: first element of x, columns */
    const double *centre;  /* cut along n: NULL for the sums, then the means */
} job;

/* acc[k] += the sum over `rows` rows of column k, of x or of its squared distance from
 * centre[k]. */
static void add_rows(const job *j, const char *at, int64_t rows, int64_t cols, const double *centre,
                     double *acc) {
    float lanes[BLOCK];
    const int type = j->wide ? BLAS_F64 : BLAS_F32;
    const int64_t bytes = j->x->dtype.bits / 8, run = j->inner == 1 ? 1 : cols;
    for (int64_t r = 0, m; r < rows; r += m, at += m * j->inner * bytes) {
        m = j->widen ? tnk_min(BLOCK / run, rows - r) : rows;
        if (j->widen && j->inner == 1) j->widen(m, lanes, at);
        for (int64_t k = 0; j->widen && j->inner > 1 && k < m; k++)
            j->widen(cols, lanes + k * cols, at + k * j->inner * bytes);
        const void *x = j->widen ? (const void *)lanes : at;
        const int64_t ld = j->widen ? cols : j->inner;
        if (j->inner == 1)
            *acc += centre ? blas_code(moments)->squares_row[j->wide](x, m, *centre)
                           : blas_code(reduce)->row[BLAS_SUM][type](x, m).f;
        else if (centre)
            blas_code(moments)->squares_cols[j->wide](x, m, ld, cols, centre, acc);
        else
            blas_code(reduce)->cols[BLAS_SUM][type](x, m, ld, cols, (blas_acc *)(void *)acc);
    }
}

/* ---- Results --------------------------------------------------------------------------------- */

static long double root(const job *j, long double squares) {
    return j->kind == MOMENTS ? squares : sqrtl(squares / (long double)j->divisor);
}

/* Of f64: squares beyond the range of doubles, or so small beside the mean that rounding it
 * shows. */
static bool is_lost(const job *j, double mean, double squares) {
    return j->wide && (!(squares < 0x1p1000) || squares < 0x1p-900 ||
                       mean * 0x1p-26 * mean * 0x1p-26 > squares / (double)j->n);
}

/* Result number `at` again, in a type of more range and digits. */
static void take_wide(const job *j, int64_t at, double *mean, double *spread) {
    const double *x = tnk_at(j->x, at / j->inner * j->n * j->inner + at % j->inner);
    long double sum = 0, squares = 0;
    for (int64_t i = 0; j->kind != NORM && i < j->n; i++) sum += (long double)x[i * j->inner];
    const long double centre = j->kind == NORM ? 0 : sum / (long double)j->n;
    for (int64_t i = 0; i < j->n; i++)
        squares += (x[i * j->inner] - centre) * (x[i * j->inner] - centre);
    *mean = (double)centre, *spread = (double)root(j, squares);
}

static void put(const job *j, int64_t at, double *mean, double *squares, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (is_lost(j, mean[i], squares[i]))
            take_wide(j, at + i, &mean[i], &squares[i]);
        else
            squares[i] = (double)root(j, (long double)squares[i]);
    }
    if (j->mean) memcpy(tnk_at(j->mean, at), mean, (size_t)n * sizeof *mean);
    blas_store_acc(j->spread, at, (const blas_acc *)(const void *)squares, n, true);
}

static void tiles_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t t = begin; t < end; t++) {
        const int64_t o = t / j->tiles, first = t % j->tiles * BLAS_COLS;
        const int64_t cols = tnk_min(BLAS_COLS, j->inner - first);
        const char *x = tnk_at(j->x, o * j->n * j->inner + first);
        double mean[BLAS_COLS] = {0}, squares[BLAS_COLS] = {0};
        if (j->kind != NORM) add_rows(j, x, j->n, cols, NULL, mean);
        for (int64_t i = 0; j->kind != NORM && i < cols; i++) mean[i] /= (double)j->n;
        add_rows(j, x, j->n, cols, mean, squares);
        put(j, o * j->inner + first, mean, squares, cols);
    }
}

/* ---- n cut into pieces ----------------------------------------------------------------------- */

static void piece_range(void *arg, int64_t begin, int64_t end, void *partial) {
    const job *j = arg;
    memset(partial, 0, (size_t)j->cols * sizeof(double));
    add_rows(j, tnk_at(j->x, j->element + begin * j->inner), end - begin, j->cols, j->centre,
             partial);
}

static void add_pieces(void *arg, void *left, const void *right) {
    const job *j = arg;
    for (int64_t i = 0; i < j->cols; i++) ((double *)left)[i] += ((const double *)right)[i];
}

static tn_status sum_pieces(const tn_call *c, job *j, const double *centre, double *out) {
    j->centre = centre;
    return tn_plugin_host->parallel_reduce(tn_plugin_self, j->n, TNK_GRAIN / j->cols,
                                           c->max_threads, piece_range, add_pieces, j, out,
                                           (uint32_t)((uint64_t)j->cols * sizeof *out));
}

static tn_status run_cut(const tn_call *c, job *j, int64_t outer) {
    double mean[NARROW_TILE] = {0}, squares[NARROW_TILE];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t first = 0; first < j->inner; first += NARROW_TILE) {
            j->cols = tnk_min(NARROW_TILE, j->inner - first);
            j->element = o * j->n * j->inner + first;
            tn_status s = j->kind == NORM ? TN_OK : sum_pieces(c, j, NULL, mean);
            for (int64_t i = 0; j->kind != NORM && i < j->cols; i++) mean[i] /= (double)j->n;
            if (s == TN_OK) s = sum_pieces(c, j, mean, squares);
            if (s != TN_OK) return s;
            put(j, o * j->inner + first, mean, squares, j->cols);
        }
    return TN_OK;
}

/* Other orders are powers: decomposed. */
static void norm_supports(const tn_call *c, tn_verdict *v) {
    const bool two = c->args[1].f == 2;
    tnk_answer(v, two ? TN_YES : TN_NO, two ? TN_REASON_NONE : TN_REASON_ATTRIBUTE);
}

static tn_status moments_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 0);
    const int64_t outer = x->sizes[0], n = x->sizes[1], inner = x->sizes[2];
    job j = {.kind = *(const uint8_t *)c->user, .x = x, .n = n, .inner = inner, .divisor = 1};
    if (j.kind == MOMENTS) j.mean = tnk_out(c, 0);
    j.spread = tnk_out(c, j.kind == MOMENTS);
    if (j.kind == STD) j.divisor = fmax(0, (double)n - c->args[2].f);
    j.wide = blas_is_f64(x), j.widen = blas_code(ewise)->widen[tn_dtype_index(x->dtype)];
    if (outer == 0 || inner == 0) return TN_OK;
    if (blas_is_cut_along_n(n, inner)) return run_cut(c, &j, outer);
    j.tiles = blas_pieces(inner, BLAS_COLS);
    tnk_parallel(c, outer * j.tiles, n * tnk_min(inner, BLAS_COLS), tiles_range, &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(moments, 3), .dtypes = TN_MASK_FLOAT, .user = &of_moments, .run = moments_run},
    {BLAS_ROW(std, 4), .dtypes = TN_MASK_FLOAT, .user = &of_std, .run = moments_run},
    {BLAS_ROW(norm, 4), .dtypes = TN_MASK_FLOAT, .user = &of_norm, .supports = norm_supports,
     .run = moments_run},
};
/* clang-format on */
const tnk_family blas_moments_rows = TNK_FAMILY(rows);
