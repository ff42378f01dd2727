/* scatter.c - scatter, and scatter_add: floats are added up in double, narrower ones outside of
 * the result.
 *
 * Where an index of scatter_add stays along all dims but the indexed one, as for rows of an
 * embedding, what meets at one place is chained, added up a block of columns at a time, and written
 * once. Else the sums are doubles in the workspace: of all of y, or where there are fewer indices,
 * of what they reach.
 *
 * Invariant: what meets is put or added in row-major order of index, whatever the number of
 * threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/index.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { BLOCK = 256 };

/* ---- scatter --------------------------------------------------------------------------------- */

static tn_status scatter_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *index = tnk_arg(c, 2), *y = tnk_out(c, 0);
    blas_index_job j =
        blas_index_job_of(blas_index_put, index, y, y->dtype.bits / 8, tnk_arg(c, 3), c->args[1].i);
    const tn_status s = blas_index_check(c, "scatter", index, j.limit);
    if (s != TN_OK) return s;
    blas_index_start(c, tnk_arg(c, 0), y);
    blas_index_walk(c, &j);
    return TN_OK;
}

/* ---- scatter_add: runs ----------------------------------------------------------------------- */

#define ADD(E, T, SUM)                                                                             \
    case BLAS_##E:                                                                                 \
        for (int64_t k = 0; k < n; k++) {                                                          \
            const int64_t i =                                                                      \
                *(const int64_t *)(const void *)(at[BLAS_INDEX] + k * j->steps[BLAS_INDEX]);       \
            T *y = (T *)(void *)(at[1] + k * j->steps[1] + i * j->far);                            \
            *y = (T)((SUM)*y + (SUM) * (const T *)(const void *)(src + k * step));                 \
        }                                                                                          \
        return;

/* src: lanes, step bytes apart. */
static void add_lanes(const blas_index_job *j, int64_t n, char *const *at, const char *src,
                      int64_t step) {
    const int64_t lane = j->type == BLAS_I32 ? 4 : 8;
    if (j->steps[BLAS_INDEX] == 0 && j->steps[1] == lane && step == lane) {
        char *y = at[1] + *(const int64_t *)(const void *)at[BLAS_INDEX] * j->far;
        const void *in[2] = {y, src};
        blas_code(ewise)->fn[BLAS_EW_add][j->type](n, y, in, 0, &blas_no_attrs);
        return;
    }
    switch (j->type) {
        ADD(I32, int32_t, uint32_t)
        ADD(I64, int64_t, uint64_t)
    default:
        ADD(F64, double, double)
    }
}

static void add_run(const blas_index_job *j, int64_t n, char *const *at) {
    add_lanes(j, n, at, at[2], j->steps[2]);
}

/* `count` items, step bytes apart, side by side: where they are, or in `room`. */
static const void *adjacent(int64_t bytes, const char *items, int64_t step, int64_t count,
                            void *room) {
    if (step == bytes) return items;
    blas_copy_items(room, bytes, items, step, count, bytes);
    return room;
}

static void add_narrow_run(const blas_index_job *j, int64_t n, char *const *at) {
    float items[BLOCK];
    double lanes[BLOCK];
    for (int64_t i = 0, m; i < n; i += m) {
        char *const from[BLAS_INDEX_VIEWS] = {at[0] + i * j->steps[0], at[1] + i * j->steps[1],
                                              at[2] + i * j->steps[2]};
        m = tnk_min(BLOCK, n - i);
        blas_convert(m, TN_F64, lanes, j->dtype,
                     adjacent(j->bytes, from[2], j->steps[2], m, items));
        add_lanes(j, m, from, (const char *)lanes, 8);
    }
}

/* Few indices into much: the sums of what they reach, and nothing else, are made and taken back.
 * What is reached again is made again of the same, and taken back again. */
static void reach_run(const blas_index_job *j, int64_t n, char *const *at, bool back) {
    char items[BLOCK * sizeof(float)];
    double lanes[BLOCK];
    const size_t bytes = (size_t)j->bytes;
    for (int64_t i = 0, m; i < n; i += m) {
        int64_t sum[BLOCK], item[BLOCK];
        m = tnk_min(BLOCK, n - i);
        for (int64_t k = 0; k < m; k++) {
            const char *index = at[BLAS_INDEX] + (i + k) * j->steps[BLAS_INDEX];
            const int64_t where = *(const int64_t *)(const void *)index;
            sum[k] = (i + k) * j->steps[1] + where * j->far;
            item[k] = (i + k) * j->steps[2] + where * j->other_far;
            if (back)
                memcpy(&lanes[k], at[1] + sum[k], sizeof(double));
            else
                memcpy(items + (size_t)k * bytes, at[2] + item[k], bytes);
        }
        if (back)
            blas_convert(m, j->dtype, items, TN_F64, lanes);
        else
            blas_convert(m, TN_F64, lanes, j->dtype, items);
        for (int64_t k = 0; k < m; k++) {
            if (back)
                memcpy(at[2] + item[k], items + (size_t)k * bytes, bytes);
            else
                memcpy(at[1] + sum[k], &lanes[k], sizeof(double));
        }
    }
}

static void take_run(const blas_index_job *j, int64_t n, char *const *at) {
    reach_run(j, n, at, false);
}
static void give_run(const blas_index_job *j, int64_t n, char *const *at) {
    reach_run(j, n, at, true);
}

/* y indexed as the sums are. */
static blas_index_job reach_job(blas_index_run *run, const tn_view *index, const tn_view *sums,
                                const tn_view *y, int64_t dim) {
    blas_index_job j = blas_index_job_of(run, index, sums, 8, y, dim);
    j.dtype = y->dtype, j.other_far = y->rank ? y->strides[dim] * j.bytes : 0;
    j.strides[2][dim] = 0, j.steps[2] = j.strides[2][j.rank - 1];
    return j;
}

static bool is_narrow(const tn_view *v) { /* a float narrower than its sums */
    return blas_lane_type(v->dtype) == BLAS_F32;
}

/* ---- Chains ---------------------------------------------------------------------------------- */

typedef struct chains {
    const tn_view *y, *src, *index;
    int64_t dim, last, n;         /* n: indices */
    int64_t *next;                /* [n]: the next index that is the same; -1: none */
    int64_t *first;               /* [firsts]: indices that no other like them comes before */
    int64_t *ends;                /* [size of the dim]: the last index of that value so far */
    int64_t firsts, rows, blocks; /* rows: of the last dim, to one index; blocks: to such a row */
} chains;

/* Does the index move along dim alone, which is not the last one? */
static bool is_chained(const tn_view *index, int64_t dim) {
    const int32_t last = index->rank - 1;
    if (index->rank < 2 || dim == last || index->sizes[last] < 2) return false;
    for (int32_t d = 0; d <= last; d++)
        if (d != dim && index->sizes[d] > 1 && index->strides[d] != 0) return false;
    return true;
}

static int64_t value_at(const chains *s, int64_t k) {
    return ((const int64_t *)s->index->data)[k * s->index->strides[s->dim]];
}

static void link_chains(chains *s) {
    for (int64_t k = 0; k < s->n; k++) s->ends[value_at(s, k)] = -1;
    for (int64_t k = 0; k < s->n; k++) {
        int64_t *end = &s->ends[value_at(s, k)];
        if (*end < 0)
            s->first[s->firsts++] = k;
        else
            s->next[*end] = k;
        s->next[k] = -1, *end = k;
    }
}

/* Offset of row number `row` from the first one, in elements. */
static int64_t row_offset(const chains *s, const tn_view *v, int64_t row) {
    int64_t offset = 0;
    for (int64_t d = s->last - 1; d >= 0; d--) {
        if (d == s->dim) continue;
        offset += row % s->index->sizes[d] * v->strides[d], row /= s->index->sizes[d];
    }
    return offset;
}

/* Adds the chain from index k on to m columns of y: src is their first column of index 0. */
static void add_chain(const chains *s, int64_t k, int64_t m, char *y, const char *src) {
    const int64_t bytes = s->y->dtype.bits / 8, step = s->y->strides[s->last] * bytes,
                  src_step = s->src->strides[s->last] * bytes,
                  far = s->src->strides[s->dim] * bytes;
    float room[BLOCK];
    double sums[BLOCK], lanes[BLOCK];
    const bool dense = step == bytes && src_step == bytes;
    if (s->next[k] < 0 && dense &&
        tn_dtype_is(s->y->dtype, TN_F32)) { /* the sum of two: the same */
        const void *in[2] = {y, src + k * far};
        blas_code(ewise)->fn[BLAS_EW_add][BLAS_F32](m, y, in, 0, &blas_no_attrs);
        return;
    }
    blas_convert(m, TN_F64, sums, s->y->dtype, adjacent(bytes, y, step, m, room));
    for (; k >= 0; k = s->next[k]) {
        const void *items = adjacent(bytes, src + k * far, src_step, m, room),
                   *in[2] = {sums, lanes};
        blas_convert(m, TN_F64, lanes, s->src->dtype, items);
        blas_code(ewise)->fn[BLAS_EW_add][BLAS_F64](m, sums, in, 0, &blas_no_attrs);
    }
    blas_convert(m, s->y->dtype, dense ? (void *)y : room, TN_F64, sums);
    if (!dense) blas_copy_items(y, step, (const char *)room, bytes, m, bytes);
}

static void chains_range(void *arg, int64_t begin, int64_t end) {
    const chains *s = arg;
    for (int64_t u = begin; u < end; u++) {
        const int64_t k = s->first[u / s->blocks / s->rows], row = u / s->blocks % s->rows,
                      col = u % s->blocks * BLOCK;
        const int64_t to = row_offset(s, s->y, row) + value_at(s, k) * s->y->strides[s->dim] +
                           col * s->y->strides[s->last];
        const int64_t from = row_offset(s, s->src, row) + col * s->src->strides[s->last];
        add_chain(s, k, tnk_min(BLOCK, s->index->sizes[s->last] - col), tnk_at(s->y, to),
                  tnk_at(s->src, from));
    }
}

static void add_chained(const tn_call *c) {
    const tn_view *index = tnk_arg(c, 2), *y = tnk_out(c, 0);
    const int64_t dim = c->args[1].i, n = index->sizes[dim], last = index->rank - 1;
    int64_t *room = c->workspace;
    chains s = {.y = y, .src = tnk_arg(c, 3), .index = index, .dim = dim, .last = last, .n = n};
    s.next = room, s.first = room + n, s.ends = room + 2 * n, s.rows = 1;
    s.blocks = blas_pieces(index->sizes[last], BLOCK);
    for (int64_t d = 0; d < last; d++)
        if (d != dim) s.rows *= index->sizes[d];
    blas_index_start(c, tnk_arg(c, 0), y);
    link_chains(&s);
    if (s.firsts * s.rows == 0) return;
    tnk_parallel(c, s.firsts * s.rows * s.blocks, n / s.firsts * BLOCK, chains_range, &s);
}

/* ---- The row --------------------------------------------------------------------------------- */

static tn_status scatter_add_plan(tn_call *c, tn_plan *plan) {
    const tn_view *x = tnk_arg(c, 0), *index = tnk_arg(c, 2);
    const int64_t dim = c->args[1].i;
    if (!is_narrow(x)) return TN_OK;
    uint64_t cells = (uint64_t)tn_view_numel(x);
    if (is_chained(index, dim)) cells = 2 * (uint64_t)index->sizes[dim] + (uint64_t)x->sizes[dim];
    if (__builtin_mul_overflow(cells, sizeof(double), &plan->workspace_bytes))
        return tn_fail(c, TN_ERR_OVERFLOW, "scatter_add: room for the sums overflows");
    return TN_OK;
}

/* y, which is x so far, plus src; sums: room for as many doubles as y has elements. */
static void add_narrow(const tn_call *c, blas_index_job *add, const tn_view *x,
                       const tn_view *sums) {
    const tn_view *index = tnk_arg(c, 2), *y = tnk_out(c, 0);
    const bool all = blas_index_numel(add) >= tn_view_numel(y);
    blas_index_job take = reach_job(take_run, index, sums, y, c->args[1].i);
    blas_index_job give = reach_job(give_run, index, sums, y, c->args[1].i);
    blas_index_start(c, x, all ? sums : y);
    if (!all) blas_index_walk(c, &take);
    blas_index_walk(c, add);
    if (all)
        blas_index_start(c, sums, y);
    else
        blas_index_walk(c, &give);
}

static tn_status scatter_add_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 0), *index = tnk_arg(c, 2), *y = tnk_out(c, 0);
    const bool narrow = is_narrow(x);
    int64_t strides[TN_MAX_RANK] = {1}, step = 1;
    tn_view sums = *y; /* contiguous, of y's sizes */
    for (int32_t d = y->rank - 1; d >= 0; step *= y->sizes[d--]) strides[d] = step;
    if (narrow) sums.data = c->workspace, sums.strides = strides, sums.dtype = TN_F64;
    blas_index_job j = blas_index_job_of(narrow ? add_narrow_run : add_run, index, &sums,
                                         sums.dtype.bits / 8, tnk_arg(c, 3), c->args[1].i);
    j.type = blas_lane_type(sums.dtype), j.dtype = x->dtype;
    const tn_status s = blas_index_check(c, "scatter_add", index, j.limit);
    if (s != TN_OK) return s;
    if (narrow && is_chained(index, c->args[1].i)) {
        add_chained(c);
        return TN_OK;
    }
    if (narrow) {
        add_narrow(c, &j, x, &sums);
        return TN_OK;
    }
    blas_index_start(c, x, y);
    blas_index_walk(c, &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(scatter, 4), .dtypes = TN_MASK_ALL, .run = scatter_run},
    {BLAS_ROW(scatter_add, 4), .dtypes = TN_MASK_FLOAT | TN_MASK(I32) | TN_MASK(I64),
     .plan = scatter_add_plan, .run = scatter_add_run},
};
/* clang-format on */
const tnk_family blas_scatter_rows = TNK_FAMILY(rows);
