/* gemm.c - y (B, m, n) = a (B, m, k) times b (B, k, n), any strides.
 *
 * Invariant: every element of y is a sum over p = 0 .. k-1 in that order, of floats in double,
 * rounded once, of integers wrapping.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

enum { ROWS = 8, DEPTH = 64 }; /* a tile: ROWS rows of y, REF_BLOCK columns, DEPTH steps of k */

typedef struct job job;
struct job {
    const tn_view *a, *b, *y;
    int64_t strips; /* strips of ROWS rows per batch */
    void (*tile)(const job *, int64_t i, int64_t row, int64_t rows, int64_t column,
                 int64_t columns);
};

static const void *at3(const tn_view *v, int64_t i, int64_t row, int64_t column) {
    return tnk_at(v, i * v->strides[0] + row * v->strides[1] + column * v->strides[2]);
}

/* y[i][row .. row+rows)[column .. column+columns), its numbers loaded, added and stored as
 * `number` */
#define TILE(name, number, load, store)                                                            \
    static void name(const job *j, int64_t i, int64_t row, int64_t rows, int64_t column,           \
                     int64_t columns) {                                                            \
        const int64_t k = j->a->sizes[2];                                                          \
        number a[ROWS][DEPTH], b[REF_BLOCK], sum[ROWS][REF_BLOCK] = {0};                           \
        for (int64_t p0 = 0; p0 < k; p0 += DEPTH) {                                                \
            const int64_t depth = tnk_min(DEPTH, k - p0);                                          \
            for (int64_t r = 0; r < rows; r++)                                                     \
                load(tnk_dtype_index(j->a), at3(j->a, i, row + r, p0), j->a->strides[2], depth,    \
                     a[r]);                                                                        \
            for (int64_t p = 0; p < depth; p++) {                                                  \
                load(tnk_dtype_index(j->b), at3(j->b, i, p0 + p, column), j->b->strides[2],        \
                     columns, b);                                                                  \
                for (int64_t r = 0; r < rows; r++)                                                 \
                    for (int64_t q = 0; q < columns; q++) sum[r][q] += a[r][p] * b[q];             \
            }                                                                                      \
        }                                                                                          \
        for (int64_t r = 0; r < rows; r++)                                                         \
            store(tnk_dtype_index(j->y), (void *)(uintptr_t)at3(j->y, i, row + r, column),         \
                  j->y->strides[2], columns, sum[r]);                                              \
    }

/* Modulo 2^64; narrower integers are cut to their width when they are stored. */
static void load_u64(int ix, const void *at, int64_t stride, int64_t n, uint64_t *out) {
    ref_load_i64(ix, at, stride, n, (int64_t *)out);
}
static void store_u64(int ix, void *at, int64_t stride, int64_t n, const uint64_t *in) {
    ref_store_i64(ix, at, stride, n, (const int64_t *)in);
}

TILE(float_tile, double, ref_load_f64, ref_store_f64)
TILE(integer_tile, uint64_t, load_u64, store_u64)

static void gemm_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t m = j->y->sizes[1], n = j->y->sizes[2];
    for (; begin < end; begin++) {
        const int64_t i = begin / j->strips, row = begin % j->strips * ROWS;
        for (int64_t column = 0; column < n; column += REF_BLOCK)
            j->tile(j, i, row, tnk_min(ROWS, m - row), column, tnk_min(REF_BLOCK, n - column));
    }
}

tn_status ref_gemm(const void *plan, tn_call *c) {
    (void)plan;
    job j = {tnk_arg(c, 0), tnk_arg(c, 1), tnk_out(c, 0), 0, integer_tile};
    if (ref_is_float(tnk_dtype_index(j.y))) j.tile = float_tile;
    if (tn_view_numel(j.y) == 0) return TN_OK;
    j.strips = (j.y->sizes[1] + ROWS - 1) / ROWS;
    const double cost =
        (double)ROWS * (double)j.y->sizes[2] * (double)tnk_max(1, j.a->sizes[2]) / 8;
    tnk_parallel(c, j.y->sizes[0] * j.strips, cost < TNK_GRAIN ? (int64_t)cost : TNK_GRAIN,
                 gemm_range, &j);
    return TN_OK;
}
