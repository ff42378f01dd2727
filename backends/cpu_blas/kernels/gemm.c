/* gemm.c - gemm [B,m,k] x [B,k,n] and matmul, as plans.
 *
 * A plan fixes, from shapes and strides, which of four ways a product goes:
 *   SMALL    own register tiles, straight from memory         VECTOR  BLAS gemv, rows cut
 *   BLOCKS   own packed blocks of C, one thread each          VENDOR  BLAS gemm
 * BLOCKS is used where OpenBLAS does not know this processor's widest vectors (docs/threads.md).
 * Invariant: SMALL, VECTOR and BLOCKS give the same bits for any number of threads; VENDOR does in
 * deterministic mode, where C is cut into fixed blocks with one BLAS thread each.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/blas.h"
#include "backends/cpu_blas/kernels/kernels.h"

#include <stdatomic.h>
#include <string.h>

enum { SMALL, VECTOR, BLOCKS, VENDOR };
enum {
    VENDOR_BLOCK = 256,    /* edge of a block of C for one BLAS thread */
    VECTOR_ITEMS = 131072, /* elements of the matrix in a piece of gemv */
    MOST_SLOTS = 64
};

typedef struct matrix {
    int64_t row, col; /* strides; one of them is 1 */
    int64_t batch;
} matrix;

typedef struct plan {
    int64_t batch, m, n, k;
    matrix a, b;
    int64_t bm, bn, rows, cols; /* a block of C; how many of them */
    int32_t way, slots;
    uint64_t slot_bytes;
    bool f64;
} plan;

bool tni_gemm_own = false;

/* ---- From views to a plan -------------------------------------------------------------------- */

/* Strides as BLAS takes them: one is 1, the other (the leading dimension) covers the row or column.
 */
static bool normalise(matrix *x, int64_t rows, int64_t cols) {
    if (rows == 0 || cols == 0) return true; /* never read */
    if (cols == 1) x->col = 1;
    if (rows == 1) x->row = x->col == 1 ? cols : 1;
    const int64_t leading = x->col == 1 ? x->row : x->col;
    if (x->col == 1 && x->row >= cols) return leading <= INT32_MAX;
    if (x->row == 1 && x->col >= rows) return leading <= INT32_MAX;
    return false;
}

static matrix last_two(const tn_view *v) {
    const int32_t r = v->rank;
    return (matrix){v->strides[r - 2], v->strides[r - 1], r == 3 ? v->strides[0] : 0};
}

/* 0 if the plan stands, else the reason; *layout: contiguous copies would help. */
static int32_t read_views(const tn_call *c, plan *p, bool *layout) {
    const tn_view *a = tni_arg(c, 0), *b = tni_arg(c, 1);
    *layout = false;
    if (a->rank != b->rank || a->rank < 2 || a->rank > 3) return TN_REASON_RANK;
    const int32_t r = a->rank;
    if (r == 3 && a->sizes[0] != b->sizes[0]) return TN_REASON_RANK;
    p->batch = r == 3 ? a->sizes[0] : 1, p->f64 = tni_is_f64(a);
    p->m = a->sizes[r - 2], p->k = a->sizes[r - 1], p->n = b->sizes[r - 1];
    if (p->m > INT32_MAX || p->k > INT32_MAX || p->n > INT32_MAX) return TN_REASON_SIZE;
    p->a = last_two(a), p->b = last_two(b);
    *layout = !normalise(&p->a, p->m, p->k) || !normalise(&p->b, p->k, p->n);
    return TN_REASON_NONE;
}

void tni_gemm_supports(const tn_call *c, tn_verdict *v) {
    plan p;
    bool layout;
    const int32_t reason = read_views(c, &p, &layout);
    tni_answer(v, reason ? TN_NO : layout ? TN_YES_IF : TN_YES, reason);
}

/* Up to where our tiles, straight from memory, beat every other way (measured, docs/threads.md). */
static int64_t small_edge(void) {
    return tni_vec->vector_bytes == 64 ? 128 : tni_vec->vector_bytes == 32 ? 20 : 10;
}

static bool is_small(const plan *p) {
    const int64_t edge = small_edge();
    if (p->b.col != 1 && p->k * p->n > TNI_SMALL_B) return false;
    if (p->m > 256 || p->n > 256 || p->k > 256 || p->n == 1) return false;
    return p->m * p->n * p->k <= edge * edge * edge;
}

/* Blocks of C: as square as they come, of nearly equal size, and enough of them to share out. */
static void cut_own(plan *p) {
    const int64_t rows = (p->m + TNI_BLOCK_M - 1) / TNI_BLOCK_M;
    p->bm = ((p->m + rows - 1) / rows + 11) / 12 * 12;
    p->rows = (p->m + p->bm - 1) / p->bm;
    int64_t wide = TNI_BLOCK_N;
    while (wide > 128 && p->batch * p->rows * ((p->n + wide - 1) / wide) < 16 &&
           p->bm * tni_min(wide, p->n) * p->k > (INT64_C(1) << 22))
        wide /= 2;
    const int64_t cols = (p->n + wide - 1) / wide;
    p->bn = tni_min(TNI_BLOCK_N, ((p->n + cols - 1) / cols + 31) / 32 * 32);
    p->cols = (p->n + p->bn - 1) / p->bn;
    const uint64_t item = p->f64 ? 8 : 4;
    const int64_t depth = tni_min(p->k, TNI_BLOCK_K);
    p->slot_bytes =
        ((uint64_t)((TNI_PACK_ROWS(p->bm) + TNI_PACK_COLS(p->bn)) * depth) * item + 63) / 64 * 64;
}

static void cut_vendor(plan *p) {
    const bool few = p->m * p->n <= VENDOR_BLOCK * VENDOR_BLOCK;
    p->bm = p->bn = few ? VENDOR_BLOCK / 2 : VENDOR_BLOCK;
    p->rows = (p->m + p->bm - 1) / p->bm, p->cols = (p->n + p->bn - 1) / p->bn;
}

/* y[m] = A x, or with m == 1 the same of B transposed: rows of the matrix are cut. */
static void cut_vector(plan *p) {
    const int64_t out = p->n == 1 ? p->m : p->n;
    p->bm = tni_max(64, VECTOR_ITEMS / tni_max(1, p->k));
    p->rows = (out + p->bm - 1) / p->bm, p->cols = 1;
}

tn_status tni_gemm_plan(tn_call *c, tn_plan *out) {
    plan p = {0};
    bool layout;
    if (read_views(c, &p, &layout) || layout)
        return tn_fail(c, TN_ERR_UNSUPPORTED,
                       "gemm: the layout of a or b changed after it was accepted");
    p.way = p.n == 1 || p.m == 1 ? VECTOR : tni_gemm_own ? BLOCKS : VENDOR;
    if (is_small(&p)) p.way = SMALL;
    if (p.way == VECTOR) cut_vector(&p);
    if (p.way == VENDOR) cut_vendor(&p);
    if (p.way == BLOCKS) {
        cut_own(&p);
        p.slots = (int32_t)tni_min(tni_min(c->max_threads, MOST_SLOTS), p.batch * p.rows * p.cols);
        p.slots = (int32_t)tni_max(1, p.slots);
        out->workspace_bytes = (uint64_t)p.slots * p.slot_bytes;
    }
    plan *kept = tn_plugin_host->alloc(tn_plugin_self, sizeof p);
    if (!kept) return tn_fail(c, TN_ERR_NOMEM, "gemm: no memory for the plan");
    *kept = p;
    out->data = kept;
    return TN_OK;
}

void tni_gemm_drop(void *data) { tn_plugin_host->free(tn_plugin_self, data); }

/* ---- Running --------------------------------------------------------------------------------- */

typedef struct job {
    const plan *p;
    const tn_call *c;
    const char *a, *b;
    char *y;
    _Atomic uint64_t free_slots; /* bit i: slot i of the workspace is free */
} job;

static const char *step(const char *base, const plan *p, int64_t elements) {
    return base + elements * (p->f64 ? 8 : 4);
}

static tni_gemm_block whole_item(const job *j, int64_t batch) {
    const plan *p = j->p;
    return (tni_gemm_block){.m = p->m,
                            .n = p->n,
                            .k = p->k,
                            .a = step(j->a, p, batch * p->a.batch),
                            .a_row = p->a.row,
                            .a_col = p->a.col,
                            .b = step(j->b, p, batch * p->b.batch),
                            .b_row = p->b.row,
                            .b_col = p->b.col,
                            .c = j->y + batch * p->m * p->n * (p->f64 ? 8 : 4),
                            .ldc = p->n};
}

/* Block `unit` of batch * rows * cols. */
static tni_gemm_block block_at(const job *j, int64_t unit) {
    const plan *p = j->p;
    tni_gemm_block g = whole_item(j, unit / (p->rows * p->cols));
    const int64_t i = unit / p->cols % p->rows * p->bm, n = unit % p->cols * p->bn;
    g.m = tni_min(p->bm, p->m - i), g.n = tni_min(p->bn, p->n - n);
    g.a = step(g.a, p, i * p->a.row), g.b = step(g.b, p, n * p->b.col);
    g.c = (char *)g.c + (i * g.ldc + n) * (p->f64 ? 8 : 4);
    return g;
}

static void small_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        const tni_gemm_block g = whole_item(j, i);
        tni_vec->gemm_small[j->p->f64](&g);
    }
}

/* There are as many slots as threads, so one is always free. */
static int take_slot(job *j) {
    uint64_t seen = atomic_load(&j->free_slots);
    while (!atomic_compare_exchange_weak(&j->free_slots, &seen, seen & (seen - 1))) {
    }
    return __builtin_ctzll(seen);
}

static void blocks_range(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    const int slot = take_slot(j);
    for (int64_t i = begin; i < end; i++) {
        tni_gemm_block g = block_at(j, i);
        g.pack = (char *)j->c->workspace + (uint64_t)slot * j->p->slot_bytes;
        tni_vec->gemm_block[j->p->f64](&g);
    }
    atomic_fetch_or(&j->free_slots, UINT64_C(1) << slot);
}

static void run_blocks(const tn_call *c, job *j) {
    const plan *p = j->p;
    const int32_t threads = c->max_threads < p->slots ? c->max_threads : p->slots;
    atomic_store(&j->free_slots, p->slots == 64 ? ~UINT64_C(0) : (UINT64_C(1) << p->slots) - 1);
    const int64_t units = p->batch * p->rows * p->cols;
    const int64_t grain =
        tni_max(1, (1 << 20) / (p->bm * p->bn * p->k)); /* batches of little ones */
    if (units <= grain)
        blocks_range(j, 0, units);
    else
        tn_plugin_host->parallel_for(tn_plugin_self, units, grain, threads, blocks_range, j);
}

static void call_gemm(const tni_gemm_block *g, bool f64) {
    const int ta = g->a_col == 1 ? TNI_BLAS_PLAIN : TNI_BLAS_TRANS;
    const int tb = g->b_col == 1 ? TNI_BLAS_PLAIN : TNI_BLAS_TRANS;
    const int lda = (int)(g->a_col == 1 ? g->a_row : g->a_col);
    const int ldb = (int)(g->b_col == 1 ? g->b_row : g->b_col);
    const int m = (int)g->m, n = (int)g->n, k = (int)g->k, ldc = (int)g->ldc;
    if (f64)
        tni_blas.dgemm(TNI_BLAS_ROW_MAJOR, ta, tb, m, n, k, 1, g->a, lda, g->b, ldb, 0, g->c, ldc);
    else
        tni_blas.sgemm(TNI_BLAS_ROW_MAJOR, ta, tb, m, n, k, 1, g->a, lda, g->b, ldb, 0, g->c, ldc);
}

static void vendor_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int before = tni_blas_threads(1);
    for (int64_t i = begin; i < end; i++) {
        const tni_gemm_block g = block_at(j, i);
        call_gemm(&g, j->p->f64);
    }
    tni_blas_threads(before);
}

static void vendor_item_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int before = tni_blas_threads(1);
    for (int64_t i = begin; i < end; i++) {
        const tni_gemm_block g = whole_item(j, i);
        call_gemm(&g, j->p->f64);
    }
    tni_blas_threads(before);
}

static void run_vendor(const tn_call *c, job *j) {
    const plan *p = j->p;
    const int64_t work = p->m * p->n * p->k;
    const bool fixed = (c->flags & TN_CALL_DETERMINISTIC) != 0;
    const bool shares = tni_blas.omp_set_threads != NULL || c->max_threads == 1;
    if (work <= (INT64_C(1) << 21)) { /* too small to cut; the batch is what there is to share */
        tni_parallel(c, p->batch, work / 32, vendor_item_range, j);
    } else if (fixed || !shares) {
        tni_parallel(c, p->batch * p->rows * p->cols, TNI_GRAIN, vendor_range, j);
    } else {
        const int before = tni_blas_threads(c->max_threads);
        for (int64_t i = 0; i < p->batch; i++) {
            const tni_gemm_block g = whole_item(j, i);
            call_gemm(&g, p->f64);
        }
        tni_blas_threads(before);
    }
}

/* A piece of y[first .. first + rows) = X x; y is zeroed first, so that old NaNs do not come
 * through. */
static void call_gemv(const tni_gemm_block *g, bool f64, int64_t first, int64_t rows) {
    const bool column = g->n == 1; /* C is a column: X = A, x = B; else X = B transposed, x = A */
    const int64_t row = column ? g->a_row : g->b_col, col = column ? g->a_col : g->b_row;
    const int64_t item = f64 ? 8 : 4;
    const char *matrix_at = (const char *)(column ? g->a : g->b) + first * row * item;
    const void *x = column ? g->b : g->a;
    const int inc = (int)(column ? g->b_row : g->a_col), m = (int)rows, k = (int)g->k;
    const int order = col == 1 ? TNI_BLAS_ROW_MAJOR : TNI_BLAS_COL_MAJOR;
    const int ld = (int)(col == 1 ? row : col);
    char *y = (char *)g->c + first * item;
    memset(y, 0, (size_t)(rows * item));
    if (f64)
        tni_blas.dgemv(order, TNI_BLAS_PLAIN, m, k, 1, (const double *)(const void *)matrix_at, ld,
                       x, inc, 1, (double *)(void *)y, 1);
    else
        tni_blas.sgemv(order, TNI_BLAS_PLAIN, m, k, 1, (const float *)(const void *)matrix_at, ld,
                       x, inc, 1, (float *)(void *)y, 1);
}

static void vector_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const plan *p = j->p;
    const int before = tni_blas_threads(1);
    for (int64_t i = begin; i < end; i++) {
        const tni_gemm_block g = whole_item(j, i / p->rows);
        const int64_t first = i % p->rows * p->bm, out = p->n == 1 ? p->m : p->n;
        call_gemv(&g, p->f64, first, tni_min(p->bm, out - first));
    }
    tni_blas_threads(before);
}

tn_status tni_gemm_run(const void *data, tn_call *c) {
    const plan *p = data;
    job j = {.p = p,
             .c = c,
             .a = tni_arg(c, 0)->data,
             .b = tni_arg(c, 1)->data,
             .y = tni_out(c, 0)->data};
    if (p->batch == 0 || p->m == 0 || p->n == 0) return TN_OK;
    if (p->k == 0) {
        memset(j.y, 0, (size_t)(p->batch * p->m * p->n) * (p->f64 ? 8 : 4));
        return TN_OK;
    }
    switch (p->way) {
    case SMALL:
        tni_parallel(c, p->batch, tni_max(1, p->m * p->n * p->k / 32), small_range, &j);
        break;
    case VECTOR:
        tni_parallel(c, p->batch * p->rows, tni_min(p->bm, p->m * p->n) * p->k, vector_range, &j);
        break;
    case BLOCKS:
        run_blocks(c, &j);
        break;
    default:
        run_vendor(c, &j);
    }
    return TN_OK;
}
