/* copy.c - copy_ from any dtype to any dtype, any layout, and fill_.
 *
 * Flat copies are memcpy, transposed ones go through square tiles, the rest a run along the last
 * dim at a time. Conversions, those of vector/copy.inc and convert.inc, are rounded once. dst and
 * src never overlap (the core sees to that).
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/copy.h"

#include <string.h>

#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { TILE = 64, BLOCK = 512 };

typedef struct job {
    const tn_view *dst, *src;
    int64_t dst_bytes, src_bytes; /* per element */
    bool same;                    /* bytes are copied as they are */
    int32_t turned;               /* the dim along which one side is dense; -1: none */
    int64_t row_tiles, col_tiles; /* transposed: tiles along `turned` and along the last dim */
} job;

/* ---- Items side by side ---------------------------------------------------------------------- */

/* Lanes of src to what narrow takes for dst, or to dst itself. NULL: nothing to do. */
static blas_lanes_fn between(int dst_ix, tn_dtype dst, tn_dtype src) {
    const int from = blas_lane_type(src), to = blas_lane_type(dst);
    const bool small = dst_ix == TN_IX_F16 || dst_ix == TN_IX_BF16;
    if (dst_ix == TN_IX_BOOL) return blas_code(copy)->nonzero[from];
    if (small && from != BLAS_F32) return blas_code(copy)->odd[from];
    return blas_code(copy)->lanes[from][to];
}

static void limits_of(tn_dtype dst, double *low, double *high) {
    const bool is_signed = dst.code == 0;
    const double half = (double)(UINT64_C(1) << (dst.bits - 1));
    *low = is_signed ? -half : 0;
    *high = is_signed ? half - 1 : 2 * half - 1; /* of 64 bits: 2^63, see to_i64 */
}

/* The same where items of both dtypes are lanes; convert: NULL if they are of one type. */
static void convert_lanes(int64_t n, tn_dtype dst, void *to, const void *from,
                          blas_lanes_fn convert) {
    double low, high;
    limits_of(dst, &low, &high);
    if (convert)
        convert(n, to, from, low, high);
    else if (to != from)
        memcpy(to, from, (size_t)(n * (dst.bits / 8)));
}

void blas_convert(int64_t n, tn_dtype dst, void *to, tn_dtype src, const void *from) {
    const int dst_ix = tn_dtype_index(dst), src_ix = tn_dtype_index(src);
    const blas_convert_fn widen = blas_code(ewise)->widen[src_ix];
    const blas_convert_fn narrow = blas_code(ewise)->narrow[dst_ix];
    const blas_lanes_fn convert = between(dst_ix, dst, src);
    if (!widen && !narrow) {
        convert_lanes(n, dst, to, from, convert);
        return;
    }
    double wide[BLOCK], lanes[BLOCK], low, high;
    limits_of(dst, &low, &high);
    for (int64_t i = 0, m; i < n; i += m) {
        m = tnk_min(BLOCK, n - i);
        const void *x = (const char *)from + i * (src.bits / 8);
        char *y = (char *)to + i * (dst.bits / 8);
        if (widen) {
            void *out = convert || narrow ? wide : (void *)y;
            widen(m, out, x), x = out;
        }
        if (convert) {
            void *out = narrow ? lanes : (void *)y;
            convert(m, out, x, low, high), x = out;
        }
        if (narrow)
            narrow(m, y, x);
        else if (x != y)
            memcpy(y, x, (size_t)(m * (dst.bits / 8)));
    }
}

void blas_copy_items(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n,
                     int64_t bytes) {
    if (from_step == bytes && to_step == bytes) {
        memcpy(to, from, (size_t)(n * bytes));
        return;
    }
    switch (bytes) { /* a size known here is one instruction */
    case 1:
        for (int64_t i = 0; i < n; i++) to[i * to_step] = from[i * from_step];
        return;
    case 2:
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 2);
        return;
    case 4:
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 4);
        return;
    default:
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step, from + i * from_step, 8);
    }
}

/* n times the same item, side by side. */
static void repeat_item(char *to, const char *item, int64_t n, int64_t bytes) {
    if (bytes >= 4) {
        blas_code(copy)->fill[bytes == 8](n, to, item);
        return;
    }
    memcpy(to, item, (size_t)(n > 0 ? bytes : 0));
    for (int64_t done = 1, m; done < n; done += m) { /* what is there, again */
        m = tnk_min(BLOCK, tnk_min(done, n - done));
        memcpy(to + done * bytes, to, (size_t)(m * bytes));
    }
}

static void convert_items(const job *j, char *to, int64_t to_step, const char *from,
                          int64_t from_step, int64_t n) {
    double items[BLOCK], results[BLOCK];
    const bool whole = to_step == j->dst_bytes && from_step == j->src_bytes;
    for (int64_t i = 0, m; i < n; i += m) {
        m = whole ? n : tnk_min(BLOCK, n - i);
        const char *x = from + i * from_step;
        char *y = to + i * to_step;
        const bool dense_x = from_step == j->src_bytes, dense_y = to_step == j->dst_bytes;
        if (!dense_x) blas_copy_items((char *)items, j->src_bytes, x, from_step, m, j->src_bytes);
        blas_convert(m, j->dst->dtype, dense_y ? y : (char *)results, j->src->dtype,
                     dense_x ? x : (const char *)items);
        if (!dense_y)
            blas_copy_items(y, to_step, (const char *)results, j->dst_bytes, m, j->dst_bytes);
    }
}

static void copy_part(void *arg, int64_t n, char *const *at) {
    const job *j = arg;
    const int32_t last = j->dst->rank - 1;
    const int64_t to = j->dst->strides[last] * j->dst_bytes;
    const int64_t from = j->src->strides[last] * j->src_bytes;
    if (!j->same)
        convert_items(j, at[0], to, at[1], from, n);
    else if (from == 0 && to == j->dst_bytes)
        repeat_item(at[0], at[1], n, j->dst_bytes);
    else
        blas_copy_items(at[0], to, at[1], from, n, j->dst_bytes);
}

/* ---- Transposed: one side dense along the last dim, the other along an earlier one ----------- */

/* The dim d < last with dst (.., d: any, last: 1) and src (.., d: 1, last: any), or the other way
 * round; -1 if there is none, or nothing to win. */
static int32_t find_turned(const job *j) {
    const int32_t last = j->dst->rank - 1;
    const int64_t to = j->dst->strides[last], from = j->src->strides[last];
    const tn_view *other = to == 1 ? j->src : j->dst;
    if (!j->same) return -1;
    if ((to == 1) == (from == 1) || other->strides[last] == 0) return -1;
    for (int32_t d = last - 1; d >= 0; d--)
        if (other->strides[d] == 1 && other->sizes[d] >= 8 && other->sizes[last] >= 8) return d;
    return -1;
}

static void turned_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const tn_view *dst = j->dst, *src = j->src;
    const int32_t last = dst->rank - 1, turned = j->turned;
    const blas_turn_fn turn = blas_code(copy)->turn[__builtin_ctz((uint32_t)j->dst_bytes)];
    for (int64_t t = begin; t < end; t++) {
        const int64_t col = t % j->col_tiles * TILE, row = t / j->col_tiles % j->row_tiles * TILE;
        int64_t rest = t / j->col_tiles / j->row_tiles;
        int64_t to = col * dst->strides[last] + row * dst->strides[turned];
        int64_t from = col * src->strides[last] + row * src->strides[turned];
        for (int32_t d = last - 1; d >= 0; d--) {
            if (d == turned) continue;
            const int64_t index = rest % dst->sizes[d];
            rest /= dst->sizes[d];
            to += index * dst->strides[d], from += index * src->strides[d];
        }
        const int64_t cols = tnk_min(TILE, dst->sizes[last] - col);
        const int64_t rows = tnk_min(TILE, dst->sizes[turned] - row);
        void *y = tnk_at(dst, to);
        const void *x = tnk_at(src, from);
        if (dst->strides[last] == 1)
            turn(cols, rows, y, dst->strides[turned], x, src->strides[last]);
        else
            turn(rows, cols, y, dst->strides[last], x, src->strides[turned]);
    }
}

static job make_job(const tn_view *dst, const tn_view *src) {
    job j = {.dst = dst, .src = src, .dst_bytes = dst->dtype.bits / 8};
    j.src_bytes = src->dtype.bits / 8;
    j.same = tn_dtype_is(dst->dtype, src->dtype);
    return j;
}

static void run_job(const tn_call *c, job *j) {
    const int64_t numel = tn_view_numel(j->dst);
    if (numel == 0) return;
    j->turned = find_turned(j);
    if (j->turned < 0) {
        blas_runs r = {{j->dst, j->src}, 2, copy_part, j, 0};
        blas_runs_walk(c, &r);
        return;
    }
    const int64_t rows = j->dst->sizes[j->turned], cols = j->dst->sizes[j->dst->rank - 1];
    j->row_tiles = blas_pieces(rows, TILE), j->col_tiles = blas_pieces(cols, TILE);
    tnk_parallel(c, numel / rows / cols * j->row_tiles * j->col_tiles, TILE * TILE, turned_range,
                 j);
}

void blas_copy_views(const tn_call *c, const tn_view *dst, const tn_view *src) {
    job j = make_job(dst, src);
    run_job(c, &j);
}

/* Any byte but 0 of a bool becomes 1. */
static tn_status copy_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(tnk_out(c, 0), tnk_arg(c, 1));
    j.same = j.same && !tn_dtype_is(j.dst->dtype, TN_BOOL);
    run_job(c, &j);
    return TN_OK;
}

/* ---- fill_ ----------------------------------------------------------------------------------- */

/* The value, converted once, is a view with stride 0 everywhere. */
static tn_status fill_run(const void *plan, tn_call *c) {
    (void)plan;
    static const int64_t zeros[TN_MAX_RANK];
    const tn_value *value = &c->args[1];
    int64_t item;
    tn_view one = *tnk_out(c, 0);
    const tn_dtype from = value->tag == TN_TAG_FLOAT ? TN_F64 : TN_I64;
    blas_convert(1, one.dtype, &item, from,
                 value->tag == TN_TAG_FLOAT ? (const void *)&value->f : (const void *)&value->i);
    one.strides = zeros, one.data = &item;
    blas_copy_views(c, tnk_out(c, 0), &one);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(copy_, 2), .dtypes = TN_MASK_ALL, .run = copy_run},
    {BLAS_ROW(fill_, 2), .dtypes = TN_MASK_ALL, .run = fill_run},
};
/* clang-format on */
const tnk_family blas_copy_rows = TNK_FAMILY(rows);
