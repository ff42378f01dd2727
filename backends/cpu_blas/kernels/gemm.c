/* gemm.c - products of f32 and f64, [B,m,k] x [B,k,n], as plans.
 *
 * A plan fixes, from shapes and strides, which of four ways a product goes:
 *   SMALL    own register tiles, A straight from memory       VECTOR  BLAS gemv, rows cut
 *   BLOCKS   own packed blocks of C, one thread each          VENDOR  BLAS gemm
 * BLOCKS is used where OpenBLAS does not know this processor's widest vectors (docs/threads.md).
 * Invariant: SMALL, VECTOR and BLOCKS give the same bits for any number of threads; VENDOR does in
 * deterministic mode, where C is cut into fixed blocks with one BLAS thread each.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/gemm.h"

#include <stdatomic.h>
#include <string.h>

#include "backends/cpu_blas/blas.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { SMALL, VECTOR, BLOCKS, VENDOR };
enum {
    VENDOR_BLOCK = 256,    /* edge of a block of C for one BLAS thread */
    VECTOR_ITEMS = 131072, /* elements of the matrix in a piece of gemv */
    MOST_SLOTS = 64
};

bool blas_gemm_own = false;

/* ---- From views to a plan -------------------------------------------------------------------- */

/* Strides as BLAS takes them: one is 1, the other (the leading dimension) covers the row or
 * column. */
static bool normalise(blas_matrix *x, int64_t rows, int64_t cols) {
    if (rows == 0 || cols == 0) return true; /* never read */
    if (cols == 1) x->col = 1;
    if (rows == 1) x->row = x->col == 1 ? cols : 1;
    const int64_t leading = x->col == 1 ? x->row : x->col;
    if (x->col == 1 && x->row >= cols) return leading <= INT32_MAX;
    if (x->row == 1 && x->col >= rows) return leading <= INT32_MAX;
    return false;
}

bool blas_gemm_fits(blas_gemm_shape *s) {
    if (s->m > INT32_MAX || s->k > INT32_MAX || s->n > INT32_MAX) return false;
    return normalise(&s->a, s->m, s->k) && normalise(&s->b, s->k, s->n);
}

static blas_matrix last_two(const tn_view *v) {
    const int32_t r = v->rank;
    return (blas_matrix){v->strides[r - 2], v->strides[r - 1], r == 3 ? v->strides[0] : 0};
}

/* 0 if views can be had, else the reason; *layout: contiguous copies would help. */
static int32_t read_shape(const tn_call *c, blas_gemm_shape *p, bool *layout) {
    const tn_view *a = tnk_arg(c, 0), *b = tnk_arg(c, 1);
    *layout = false;
    if (a->rank != b->rank || a->rank < 2 || a->rank > 3) return TN_REASON_RANK;
    const int32_t r = a->rank;
    if (r == 3 && a->sizes[0] != b->sizes[0]) return TN_REASON_RANK;
    p->batch = r == 3 ? a->sizes[0] : 1;
    p->m = a->sizes[r - 2], p->k = a->sizes[r - 1], p->n = b->sizes[r - 1];
    if (p->m > INT32_MAX || p->k > INT32_MAX || p->n > INT32_MAX) return TN_REASON_SIZE;
    p->a = last_two(a), p->b = last_two(b);
    *layout = !blas_gemm_fits(p);
    return TN_REASON_NONE;
}

void blas_gemm_supports(const tn_call *c, tn_verdict *v) {
    blas_gemm_shape s;
    bool layout;
    const int32_t reason = read_shape(c, &s, &layout);
    tnk_answer(v, reason ? TN_NO : layout ? TN_YES_IF : TN_YES, reason);
}

/* Where tiles straight from memory beat every other way (measured, docs/threads.md): A stays in
 * the cache, is not read across too many pages, and there are few rows or little to do. */
static bool is_small(const blas_product *p) {
    const blas_gemm_shape *s = &p->s;
    const int64_t bytes = blas_set_bytes(), item = p->f64 ? 8 : 4;
    const int64_t edge = bytes == 32 ? 20 : 10, work = s->m * s->n;
    if (s->n == 1) return false;
    if (s->m == 1 && s->b.col != 1 && s->k * s->n > 4096) return false;
    if (bytes < 64) return work <= edge * edge * edge / s->k;
    if (s->m * s->k * item > 1 << 20 || (s->a.col != 1 && s->k > 256)) return false;
    return s->m <= 64 || work <= 384 * 384 * 384 / s->k;
}

/* Columns first: B is packed once per block. A unit is little enough to share, if there is much. */
static void cut_small(blas_product *p) {
    enum { MOST_ROWS = 256, WORK = 1 << 20 };
    const int64_t rows = blas_pieces(p->s.m, MOST_ROWS);
    p->bm = blas_pieces(p->s.m, rows);
    p->bn = tnk_min(p->s.n, tnk_max(1, WORK / 32 / (p->bm * p->s.k)) * 32);
    p->rows = blas_pieces(p->s.m, p->bm), p->cols = blas_pieces(p->s.n, p->bn);
}

/* Blocks of C: as square as they come, of nearly equal size, and enough of them to share out. */
static void cut_own(blas_product *p) {
    const int64_t rows = blas_pieces(p->s.m, BLAS_BLOCK_M);
    p->bm = blas_round_up(blas_pieces(p->s.m, rows), 12);
    p->rows = blas_pieces(p->s.m, p->bm);
    int64_t wide = BLAS_BLOCK_N;
    while (wide > 128 && p->s.batch * p->rows * blas_pieces(p->s.n, wide) < 16 &&
           p->bm * tnk_min(wide, p->s.n) * p->s.k > (INT64_C(1) << 22))
        wide /= 2;
    const int64_t cols = blas_pieces(p->s.n, wide);
    p->bn = tnk_min(BLAS_BLOCK_N, blas_round_up(blas_pieces(p->s.n, cols), 32));
    p->cols = blas_pieces(p->s.n, p->bn);
    const uint64_t item = p->f64 ? 8 : 4;
    const int64_t depth = tnk_min(p->s.k, BLAS_BLOCK_K);
    p->slot_bytes =
        ((uint64_t)((BLAS_PACK_ROWS(p->bm) + BLAS_PACK_COLS(p->bn)) * depth) * item + 63) / 64 * 64;
}

static void cut_vendor(blas_product *p) {
    const bool few = p->s.m * p->s.n <= VENDOR_BLOCK * VENDOR_BLOCK;
    p->bm = p->bn = few ? VENDOR_BLOCK / 2 : VENDOR_BLOCK;
    p->rows = blas_pieces(p->s.m, p->bm), p->cols = blas_pieces(p->s.n, p->bn);
}

/* y[m] = A x, or with m == 1 the same of B transposed: rows of the matrix are cut. */
static void cut_vector(blas_product *p) {
    const int64_t out = p->s.n == 1 ? p->s.m : p->s.n;
    p->bm = tnk_max(64, VECTOR_ITEMS / tnk_max(1, p->s.k));
    p->rows = blas_pieces(out, p->bm), p->cols = 1;
}

void blas_gemm_choose(blas_product *p, int32_t max_threads) {
    if (p->s.batch == 0 || p->s.m == 0 || p->s.n == 0 || p->s.k == 0) return; /* no sums */
    p->way = p->s.n == 1 || p->s.m == 1 ? VECTOR : blas_gemm_own ? BLOCKS : VENDOR;
    if (is_small(p)) p->way = SMALL;
    if (p->way == SMALL) cut_small(p);
    if (p->way == VECTOR) cut_vector(p);
    if (p->way == VENDOR) cut_vendor(p);
    if (p->way == BLOCKS) {
        cut_own(p);
        p->slots =
            (int32_t)tnk_min(tnk_min(max_threads, MOST_SLOTS), p->s.batch * p->rows * p->cols);
        p->slots = (int32_t)tnk_max(1, p->slots);
        p->workspace_bytes = (uint64_t)p->slots * p->slot_bytes;
    }
}

tn_status blas_gemm_shape_of(tn_call *c, blas_gemm_shape *s) {
    bool layout;
    if (!read_shape(c, s, &layout) && !layout) return TN_OK;
    return tn_fail(c, TN_ERR_UNSUPPORTED,
                   "gemm: the layout of a or b changed after it was accepted");
}

tn_status blas_gemm_keep(tn_call *c, tn_plan *out, const char *op, const void *plan, size_t bytes) {
    out->data = tn_plugin_host->alloc(tn_plugin_self, bytes);
    out->plan_bytes = bytes;
    if (!out->data) return tnk_fail(c, TN_ERR_NOMEM, "%s: no memory for the plan", op);
    memcpy(out->data, plan, bytes);
    return TN_OK;
}

static tn_status gemm_plan(tn_call *c, tn_plan *out) {
    blas_product p = {.f64 = blas_is_f64(tnk_arg(c, 0))};
    const tn_status s = blas_gemm_shape_of(c, &p.s);
    if (s != TN_OK) return s;
    blas_gemm_choose(&p, c->max_threads);
    out->workspace_bytes = p.workspace_bytes;
    return blas_gemm_keep(c, out, "gemm", &p, sizeof p);
}

void blas_gemm_drop(void *data) { tn_plugin_host->free(tn_plugin_self, data); }

/* ---- Running --------------------------------------------------------------------------------- */

typedef struct job {
    const blas_product *p;
    const blas_gemm_data *d;
    _Atomic uint64_t free_slots; /* bit i: slot i of the workspace is free */
} job;

static const char *step(const void *base, const blas_product *p, int64_t elements) {
    return (const char *)base + elements * (p->f64 ? 8 : 4);
}

static blas_gemm_block whole_item(const job *j, int64_t batch) {
    const blas_product *p = j->p;
    const void *bias = j->d->bias;
    if (bias) bias = step(bias, p, batch * j->d->bias_batch);
    return (blas_gemm_block){.m = p->s.m,
                             .n = p->s.n,
                             .k = p->s.k,
                             .a = step(j->d->a, p, batch * p->s.a.batch),
                             .a_row = p->s.a.row,
                             .a_col = p->s.a.col,
                             .b = step(j->d->b, p, batch * p->s.b.batch),
                             .b_row = p->s.b.row,
                             .b_col = p->s.b.col,
                             .bias = bias,
                             .bias_row = j->d->bias_row,
                             .c = (char *)j->d->y + batch * p->s.m * p->s.n * (p->f64 ? 8 : 4),
                             .ldc = p->s.n};
}

/* Block `unit` of batch * rows * cols. */
static blas_gemm_block block_at(const job *j, int64_t unit) {
    const blas_product *p = j->p;
    blas_gemm_block g = whole_item(j, unit / (p->rows * p->cols));
    const int64_t i = unit / p->cols % p->rows * p->bm, n = unit % p->cols * p->bn;
    g.m = tnk_min(p->bm, p->s.m - i), g.n = tnk_min(p->bn, p->s.n - n);
    g.a = step(g.a, p, i * p->s.a.row), g.b = step(g.b, p, n * p->s.b.col);
    g.c = (char *)g.c + (i * g.ldc + n) * (p->f64 ? 8 : 4);
    if (g.bias) g.bias = step(g.bias, p, i * g.bias_row + n);
    return g;
}

/* With a bias, products are added to rows of it. */
static void put_bias(const blas_gemm_block *g, bool f64) {
    const int64_t item = f64 ? 8 : 4;
    for (int64_t i = 0; g->bias && i < g->m; i++)
        memcpy((char *)g->c + i * g->ldc * item, (const char *)g->bias + i * g->bias_row * item,
               (size_t)(g->n * item));
}

static void small_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        const blas_gemm_block g = block_at(j, i);
        put_bias(&g, j->p->f64);
        blas_code(gemm)->small[j->p->f64](&g);
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
        blas_gemm_block g = block_at(j, i);
        g.pack = (char *)j->d->workspace + (uint64_t)slot * j->p->slot_bytes;
        put_bias(&g, j->p->f64);
        blas_code(gemm)->block[j->p->f64](&g);
    }
    atomic_fetch_or(&j->free_slots, UINT64_C(1) << slot);
}

static void run_blocks(const tn_call *c, job *j) {
    const blas_product *p = j->p;
    const int32_t threads = c->max_threads < p->slots ? c->max_threads : p->slots;
    atomic_store(&j->free_slots, p->slots == 64 ? ~UINT64_C(0) : (UINT64_C(1) << p->slots) - 1);
    const int64_t units = p->s.batch * p->rows * p->cols;
    const int64_t grain =
        tnk_max(1, (1 << 20) / (p->bm * p->bn * p->s.k)); /* batches of little ones */
    if (units <= grain)
        blocks_range(j, 0, units);
    else
        tn_plugin_host->parallel_for(tn_plugin_self, units, grain, threads, blocks_range, j);
}

static void call_gemm(const blas_gemm_block *g, bool f64) {
    const int ta = g->a_col == 1 ? BLAS_PLAIN : BLAS_TRANS;
    const int tb = g->b_col == 1 ? BLAS_PLAIN : BLAS_TRANS;
    const int lda = (int)(g->a_col == 1 ? g->a_row : g->a_col);
    const int ldb = (int)(g->b_col == 1 ? g->b_row : g->b_col);
    const int m = (int)g->m, n = (int)g->n, k = (int)g->k, ldc = (int)g->ldc;
    put_bias(g, f64);
    if (f64)
        blas_lib.dgemm(BLAS_ROW_MAJOR, ta, tb, m, n, k, 1, g->a, lda, g->b, ldb, g->bias != NULL,
                       g->c, ldc);
    else
        blas_lib.sgemm(BLAS_ROW_MAJOR, ta, tb, m, n, k, 1, g->a, lda, g->b, ldb, g->bias != NULL,
                       g->c, ldc);
}

static void vendor_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int before = blas_library_threads(1);
    for (int64_t i = begin; i < end; i++) {
        const blas_gemm_block g = block_at(j, i);
        call_gemm(&g, j->p->f64);
    }
    blas_library_threads(before);
}

static void vendor_item_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int before = blas_library_threads(1);
    for (int64_t i = begin; i < end; i++) {
        const blas_gemm_block g = whole_item(j, i);
        call_gemm(&g, j->p->f64);
    }
    blas_library_threads(before);
}

static void run_vendor(const tn_call *c, job *j, bool fixed) {
    const blas_product *p = j->p;
    const int64_t work = p->s.m * p->s.n * p->s.k;
    const bool shares = blas_lib.omp_set_threads != NULL || c->max_threads == 1;
    if (work <= (INT64_C(1) << 21)) { /* too small to cut; the batch is what there is to share */
        tnk_parallel(c, p->s.batch, work / 32, vendor_item_range, j);
    } else if (fixed || !shares) {
        tnk_parallel(c, p->s.batch * p->rows * p->cols, TNK_GRAIN, vendor_range, j);
    } else {
        const int before = blas_library_threads(c->max_threads);
        for (int64_t i = 0; i < p->s.batch; i++) {
            const blas_gemm_block g = whole_item(j, i);
            call_gemm(&g, p->f64);
        }
        blas_library_threads(before);
    }
}

/* A piece of y[first .. first + rows) = X x; y is zero or the bias first, so that old NaNs do not
 * come through. */
static void call_gemv(const blas_gemm_block *g, bool f64, int64_t first, int64_t rows) {
    const bool column = g->n == 1; /* C is a column: X = A, x = B; else X = B transposed, x = A */
    const int64_t row = column ? g->a_row : g->b_col, col = column ? g->a_col : g->b_row;
    const int64_t item = f64 ? 8 : 4;
    const char *matrix_at = (const char *)(column ? g->a : g->b) + first * row * item;
    const void *x = column ? g->b : g->a;
    const int inc = (int)(column ? g->b_row : g->a_col), m = (int)rows, k = (int)g->k;
    const int order = col == 1 ? BLAS_ROW_MAJOR : BLAS_COL_MAJOR;
    const int ld = (int)(col == 1 ? row : col);
    char *y = (char *)g->c + first * item;
    if (!g->bias)
        memset(y, 0, (size_t)(rows * item));
    else /* y is a column of C, or a row */
        for (int64_t i = 0; i < rows; i++)
            memcpy(y + i * item,
                   (const char *)g->bias + (first + i) * (column ? g->bias_row : 1) * item,
                   (size_t)item);
    if (f64)
        blas_lib.dgemv(order, BLAS_PLAIN, m, k, 1, (const double *)(const void *)matrix_at, ld, x,
                       inc, 1, (double *)(void *)y, 1);
    else
        blas_lib.sgemv(order, BLAS_PLAIN, m, k, 1, (const float *)(const void *)matrix_at, ld, x,
                       inc, 1, (float *)(void *)y, 1);
}

static void vector_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const blas_product *p = j->p;
    const int before = blas_library_threads(1);
    for (int64_t i = begin; i < end; i++) {
        const blas_gemm_block g = whole_item(j, i / p->rows);
        const int64_t first = i % p->rows * p->bm, out = p->s.n == 1 ? p->s.m : p->s.n;
        call_gemv(&g, p->f64, first, tnk_min(p->bm, out - first));
    }
    blas_library_threads(before);
}

void blas_gemm_product(const blas_product *p, const tn_call *c, const blas_gemm_data *d,
                       bool fixed) {
    job j = {.p = p, .d = d};
    const int64_t batch = p->s.batch, m = p->s.m, n = p->s.n, k = p->s.k;
    if (batch == 0 || m == 0 || n == 0) return;
    if (k == 0) {
        memset(d->y, 0, (size_t)(batch * m * n) * (p->f64 ? 8 : 4));
        for (int64_t i = 0; i < batch; i++) {
            const blas_gemm_block g = whole_item(&j, i);
            put_bias(&g, p->f64);
        }
        return;
    }
    switch (p->way) {
    case SMALL:
        tnk_parallel(c, batch * p->rows * p->cols, tnk_max(1, p->bm * p->bn * k / 32), small_range,
                     &j);
        break;
    case VECTOR:
        tnk_parallel(c, batch * p->rows, tnk_min(p->bm, m * n) * k, vector_range, &j);
        break;
    case BLOCKS:
        run_blocks(c, &j);
        break;
    default:
        run_vendor(c, &j, fixed);
    }
}

static tn_status gemm_run(const void *plan, tn_call *c) {
    const blas_gemm_data d = {.a = tnk_arg(c, 0)->data,
                              .b = tnk_arg(c, 1)->data,
                              .y = tnk_out(c, 0)->data,
                              .workspace = c->workspace};
    blas_gemm_product(plan, c, &d, (c->flags & TN_CALL_DETERMINISTIC) != 0);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
#define PRODUCT(op_)                                                                               \
    {BLAS_ROW(op_, 2), .dtypes = BLAS_F32_F64, .supports = blas_gemm_supports,                     \
     .plan = gemm_plan, .run = gemm_run, .drop = blas_gemm_drop}
static const tn_kernel rows[] = {
    PRODUCT(gemm),
    PRODUCT(matmul),
    PRODUCT(bmm),
    PRODUCT(mm),
};
/* clang-format on */
const tnk_family blas_gemm_rows = TNK_FAMILY(rows);
