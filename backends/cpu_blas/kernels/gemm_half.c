/* gemm_half.c - matrix products of f16 and bf16: bf16 on AMX tiles where there are any, else as
 * an f32 product between a conversion of a and b and one of the result.
 *
 * Invariant: sums are f32, and so is what is added to them; they are rounded once. The bits are
 * the same for any number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backends/cpu_blas/kernels/amx.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/kernels/kernels.h"

bool blas_gemm_amx = false;

enum { AMX_LEAST = 16 * 16 * 32 };

/* ---- AMX: panels of all of a and b, then blocks of C ----------------------------------------- */

static int64_t amx_blocks(const blas_half *p) {
    return p->s.batch * blas_pieces(p->s.m, p->edge) * blas_pieces(p->s.n, p->edge);
}

/* Blocks as large as a 2 MiB cache has room for, and enough of them to share. */
static void cut_amx(blas_half *p) {
    const blas_gemm_shape *s = &p->s;
    p->steps = blas_pieces(s->k, BLAS_STEP);
    p->edge = 256;
    while (p->edge > 64 && amx_blocks(p) < 8) p->edge /= 2;
    const int64_t panel = p->steps * BLAS_STEP_BYTES;
    p->a_bytes = (s->a.batch ? s->batch : 1) * blas_pieces(s->m, BLAS_PANEL) * panel;
    p->b_bytes = (s->b.batch ? s->batch : 1) * blas_pieces(s->n, BLAS_PANEL) * panel;
    if (p->steps > BLAS_DEPTH) p->y_bytes = amx_blocks(p) * p->edge * p->edge * 4;
}

typedef struct amx_job {
    const blas_half *p;
    const uint16_t *from; /* packing: a or b */
    blas_lanes lanes;     /* of the first item */
    int64_t batch;        /* stride */
    char *to;
    const char *a, *b;
    float *sums; /* NULL if none are needed */
    const blas_gemm_data *d;
} amx_job;

/* Lanes side by side in memory are read a cache line each per step: several panels at a time. */
static int64_t lanes_at_once(const blas_lanes *l) {
    return l->step == 1 ? BLAS_PANEL : 8 * BLAS_PANEL;
}

static void pack_range(void *arg, int64_t begin, int64_t end) {
    const amx_job *j = arg;
    const int64_t at_once = lanes_at_once(&j->lanes), units = blas_pieces(j->lanes.n, at_once);
    const int64_t panels = blas_pieces(j->lanes.n, BLAS_PANEL),
                  panel = j->p->steps * BLAS_STEP_BYTES;
    for (int64_t i = begin; i < end; i++) {
        blas_lanes l = j->lanes;
        const int64_t item = i / units, first = i % units * at_once;
        l.x = j->from + item * j->batch + first * l.lane, l.n = tnk_min(at_once, l.n - first);
        blas_amx_pack(j->to + (item * panels + first / BLAS_PANEL) * panel, &l);
    }
}

static void pack(const tn_call *c, amx_job *j, int64_t bytes) {
    const blas_lanes *l = &j->lanes;
    const int64_t at_once = lanes_at_once(l), panel = j->p->steps * BLAS_STEP_BYTES;
    const int64_t items = bytes / (blas_pieces(l->n, BLAS_PANEL) * panel);
    tnk_parallel(c, items * blas_pieces(l->n, at_once), at_once * l->k / 2, pack_range, j);
}

static void blocks_range(void *arg, int64_t begin, int64_t end) {
    const amx_job *j = arg;
    const blas_half *p = j->p;
    const blas_gemm_shape *s = &p->s;
    const int64_t rows = blas_pieces(s->m, p->edge), cols = blas_pieces(s->n, p->edge);
    const int64_t panel = p->steps * BLAS_STEP_BYTES;
    for (int64_t u = begin; u < end; u++) {
        const int64_t item = u / (rows * cols), row = u / cols % rows * p->edge,
                      col = u % cols * p->edge;
        const int64_t a =
            (s->a.batch ? item : 0) * blas_pieces(s->m, BLAS_PANEL) + row / BLAS_PANEL;
        const uint16_t *bias = j->d->bias;
        if (j->d->biased) bias += item * j->d->bias_batch + row * j->d->bias_row + col;
        const int64_t b =
            (s->b.batch ? item : 0) * blas_pieces(s->n, BLAS_PANEL) + col / BLAS_PANEL;
        const blas_amx_block g = {.m = tnk_min(p->edge, s->m - row),
                                  .n = tnk_min(p->edge, s->n - col),
                                  .steps = p->steps,
                                  .a = j->a + a * panel,
                                  .b = j->b + b * panel,
                                  .sums = j->sums ? j->sums + u * p->edge * p->edge : NULL,
                                  .bias = bias,
                                  .bias_row = j->d->bias_row,
                                  .c = (uint16_t *)j->d->y + (item * s->m + row) * s->n + col,
                                  .ldc = s->n};
        blas_amx_run(&g);
    }
}

static void run_amx(const blas_half *p, const tn_call *c, const blas_gemm_data *d) {
    const blas_gemm_shape *s = &p->s;
    char *space = d->workspace;
    amx_job a = {.p = p, .from = d->a, .batch = s->a.batch, .to = space};
    amx_job b = {.p = p, .from = d->b, .batch = s->b.batch, .to = space + p->a_bytes};
    a.lanes = (blas_lanes){.lane = s->a.row, .step = s->a.col, .n = s->m, .k = s->k};
    b.lanes = (blas_lanes){.lane = s->b.col, .step = s->b.row, .n = s->n, .k = s->k, .pairs = true};
    pack(c, &a, p->a_bytes), pack(c, &b, p->b_bytes);
    amx_job y = {.p = p, .a = a.to, .b = b.to, .d = d};
    if (p->y_bytes) y.sums = (float *)(void *)(b.to + p->b_bytes);
    const int64_t work = tnk_min(p->edge, s->m) * tnk_min(p->edge, s->n) * s->k;
    tnk_parallel(c, amx_blocks(p), work / 128, blocks_range, &y);
}

/* ---- As f32 ---------------------------------------------------------------------------------- */

/* A matrix as lines of adjacent items. */
typedef struct lines {
    int64_t n, length, stride, items, item; /* lines of a matrix; matrices, and their stride */
} lines;

static lines lines_of(const blas_matrix *x, int64_t rows, int64_t cols, int64_t batch) {
    const bool by_row = x->col == 1;
    return (lines){.n = by_row ? rows : cols,
                   .length = by_row ? cols : rows,
                   .stride = by_row ? x->row : x->col,
                   .items = x->batch ? batch : 1,
                   .item = x->batch};
}

static int64_t lines_bytes(const lines *l) {
    return blas_round_up(l->items * l->n * l->length * (int64_t)sizeof(float), 64);
}

/* The strides of a tight copy. */
static blas_matrix tight(const blas_matrix *x, const lines *l) {
    const int64_t item = x->batch ? l->n * l->length : 0;
    return x->col == 1 ? (blas_matrix){l->length, 1, item} : (blas_matrix){1, l->length, item};
}

/* The bias as lines of n; .n of a batch. */
static lines bias_lines(const blas_gemm_shape *s, const blas_gemm_data *d) {
    return (lines){.n = d->bias_row ? s->m : 1,
                   .length = s->n,
                   .stride = d->bias_row,
                   .items = d->bias_batch ? s->batch : 1,
                   .item = d->bias_batch};
}

static void choose_wide(blas_half *p, int32_t max_threads, const blas_gemm_data *bias) {
    const blas_gemm_shape *s = &p->s;
    const lines a = lines_of(&s->a, s->m, s->k, s->batch),
                b = lines_of(&s->b, s->k, s->n, s->batch);
    p->wide.s = *s;
    p->wide.s.a = tight(&s->a, &a), p->wide.s.b = tight(&s->b, &b);
    blas_gemm_fits(&p->wide.s); /* they do: for the strides of single rows and columns */
    const lines added = bias_lines(s, bias);
    p->a_bytes = lines_bytes(&a), p->b_bytes = lines_bytes(&b);
    p->bias_bytes = bias->biased ? lines_bytes(&added) : 0;
    p->y_bytes = blas_round_up(s->batch * s->m * s->n * (int64_t)sizeof(float), 64);
    blas_gemm_choose(&p->wide, max_threads);
}

typedef struct convert_job {
    blas_convert_fn convert;
    lines l;
    int64_t from_item, to_item; /* bytes */
    const char *from;
    char *to;
} convert_job;

static void convert_range(void *arg, int64_t begin, int64_t end) {
    const convert_job *j = arg;
    const lines *l = &j->l;
    for (int64_t i = begin; i < end; i++) {
        const int64_t from = i / l->n * l->item + i % l->n * l->stride;
        j->convert(l->length, j->to + i * l->length * j->to_item, j->from + from * j->from_item);
    }
}

static void widen(const blas_half *p, const tn_call *c, const void *from, lines l, void *to) {
    convert_job j = {blas_code(ewise)->widen[tn_dtype_index(p->dtype)], l, 2, 4, from, to};
    if (l.length > 0) tnk_parallel(c, l.items * l.n, l.length, convert_range, &j);
}

static void run_wide(const blas_half *p, const tn_call *c, const blas_gemm_data *d) {
    const blas_gemm_shape *s = &p->s;
    const lines added = bias_lines(s, d);
    char *a = d->workspace, *b = a + p->a_bytes, *bias = b + p->b_bytes,
         *wide = bias + p->bias_bytes;
    widen(p, c, d->a, lines_of(&s->a, s->m, s->k, s->batch), a);
    widen(p, c, d->b, lines_of(&s->b, s->k, s->n, s->batch), b);
    blas_gemm_data f32 = {.a = a, .b = b, .y = wide, .workspace = wide + p->y_bytes};
    if (d->biased) {
        widen(p, c, d->bias, added, bias);
        f32.bias = bias, f32.bias_row = d->bias_row ? s->n : 0;
        f32.bias_batch = d->bias_batch ? added.n * s->n : 0;
    }
    blas_gemm_product(&p->wide, c, &f32, true);
    const lines all = {.n = s->batch * s->m, .length = s->n, .stride = s->n, .items = 1};
    convert_job j = {blas_code(ewise)->narrow[tn_dtype_index(p->dtype)], all, 4, 2, wide, d->y};
    if (s->n > 0) tnk_parallel(c, all.n, all.length, convert_range, &j);
}

/* ---- Either ---------------------------------------------------------------------------------- */

void blas_half_choose(blas_half *p, int32_t max_threads, const blas_gemm_data *bias) {
    const bool bf16 = tn_dtype_is(p->dtype, TN_BF16);
    p->amx = blas_gemm_amx && bf16 && p->s.m * p->s.n * p->s.k >= AMX_LEAST;
    if (p->amx)
        cut_amx(p);
    else
        choose_wide(p, max_threads, bias);
    p->workspace_bytes =
        (uint64_t)(p->a_bytes + p->b_bytes + p->bias_bytes + p->y_bytes) + p->wide.workspace_bytes;
}

void blas_half_product(const blas_half *p, const tn_call *c, const blas_gemm_data *d) {
    if (p->s.batch == 0 || p->s.m == 0 || p->s.n == 0) return;
    if (p->amx)
        run_amx(p, c, d);
    else
        run_wide(p, c, d);
}

/* ---- gemm, matmul, bmm, mm ------------------------------------------------------------------- */

static tn_status gemm_half_plan(tn_call *c, tn_plan *out) {
    const blas_gemm_data no_bias = {0};
    blas_half p = {.dtype = tnk_arg(c, 0)->dtype};
    const tn_status s = blas_gemm_shape_of(c, &p.s);
    if (s != TN_OK) return s;
    blas_half_choose(&p, c->max_threads, &no_bias);
    out->workspace_bytes = p.workspace_bytes;
    return blas_gemm_keep(c, out, "gemm", &p, sizeof p);
}

static tn_status gemm_half_run(const void *plan, tn_call *c) {
    const blas_gemm_data d = {.a = tnk_arg(c, 0)->data,
                              .b = tnk_arg(c, 1)->data,
                              .y = tnk_out(c, 0)->data,
                              .workspace = c->workspace};
    blas_half_product(plan, c, &d);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
#define PRODUCT(op_)                                                                               \
    {BLAS_ROW(op_, 2), .dtypes = TN_MASK(F16) | TN_MASK(BF16), .supports = blas_gemm_supports,     \
     .plan = gemm_half_plan, .run = gemm_half_run, .drop = blas_gemm_drop}
static const tn_kernel rows[] = {
    PRODUCT(gemm),
    PRODUCT(matmul),
    PRODUCT(bmm),
    PRODUCT(mm),
};
/* clang-format on */
const tnk_family blas_gemm_half_rows = TNK_FAMILY(rows);
