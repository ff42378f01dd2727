/* index.c - gather, scatter, scatter_add: a run along the last dim at a time.
 *
 * Invariant: nothing is touched through an index before that index was checked. Work is cut along a
 * dim that no index moves along, so elements that meet are taken in row-major order of index by one
 * thread, whatever the number of threads. An index that stays along the last dim moves whole rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/copy.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { VIEWS = 3, INDEX = 0, BLOCK = 256, RUN = 128 };

typedef struct job job;
typedef void run_fn(const job *, int64_t n, char *const *at);
struct job {
    run_fn *run;
    int32_t rank, cut; /* cut: the dim threads share out; -1: none */
    int64_t sizes[TN_MAX_RANK];
    int64_t strides[VIEWS][TN_MAX_RANK]; /* bytes; of the indexed view 0 along dim */
    int64_t steps[VIEWS];                /* bytes, along the last dim */
    char *data[VIEWS];                   /* index; what the index is into; the other */
    int64_t limit, far;                  /* size and stride in bytes of the indexed dim */
    int64_t bytes;                       /* per item */
    int type;                            /* scatter_add: of lanes */
    tni_convert_fn widen;                /* scatter_add: of src */
    _Atomic bool *bad;                   /* gather: an index is out of range */
};

/* ---- Walking --------------------------------------------------------------------------------- */

static void add_view(job *j, int k, const tn_view *v, int64_t bytes) {
    j->data[k] = v->data;
    for (int32_t d = 0; d < j->rank; d++) j->strides[k][d] = v->rank ? v->strides[d] * bytes : 0;
}

/* index [sizes], `to` indexed along dim, `other` in index's sizes; a scalar is one dim of size 1. */
static job make_job(run_fn *run, const tn_view *index, const tn_view *to, int64_t to_bytes,
                    const tn_view *other, int64_t dim) {
    job j = {.run = run, .rank = (int32_t)tni_max(1, index->rank), .cut = -1};
    for (int32_t d = 0; d < j.rank; d++) j.sizes[d] = index->rank ? index->sizes[d] : 1;
    add_view(&j, INDEX, index, 8), add_view(&j, 1, to, to_bytes);
    add_view(&j, 2, other, other->dtype.bits / 8);
    j.limit = to->rank ? to->sizes[dim] : 1, j.far = to->rank ? to->strides[dim] * to_bytes : 0;
    j.strides[1][dim] = 0, j.bytes = other->dtype.bits / 8;
    for (int32_t d = 0; d < j.rank; d++)
        if (d != dim && j.sizes[d] > 1 && (j.cut < 0 || j.sizes[d] > j.sizes[j.cut])) j.cut = d;
    for (int k = 0; k < VIEWS; k++) j.steps[k] = j.strides[k][j.rank - 1];
    return j;
}

static int64_t numel_of(const job *j) {
    int64_t n = 1;
    for (int32_t d = 0; d < j->rank; d++) n *= j->sizes[d];
    return n;
}

/* All runs with begin <= index along cut < end, in row-major order. */
static void walk(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int32_t last = j->rank - 1;
    int64_t low[TN_MAX_RANK] = {0}, high[TN_MAX_RANK], at[TN_MAX_RANK];
    char *data[VIEWS];
    for (int32_t d = 0; d <= last; d++) high[d] = j->sizes[d];
    if (j->cut >= 0) low[j->cut] = begin, high[j->cut] = end;
    for (int k = 0; k < VIEWS; k++) {
        data[k] = j->data[k];
        for (int32_t d = 0; d <= last; d++) at[d] = low[d], data[k] += low[d] * j->strides[k][d];
    }
    for (int32_t d = last; d >= 0;) {
        j->run(j, high[last] - low[last], data);
        for (d = last - 1; d >= 0; d--) {
            const bool more = ++at[d] < high[d];
            const int64_t moves = more ? 1 : low[d] + 1 - high[d];
            for (int k = 0; k < VIEWS; k++) data[k] += moves * j->strides[k][d];
            if (more) break;
            at[d] = low[d];
        }
    }
}

static void walk_all(const tn_call *c, job *j) {
    const int64_t numel = numel_of(j), size = j->cut < 0 ? 1 : j->sizes[j->cut];
    if (numel == 0) return;
    int64_t grain = tni_max(1, TNI_GRAIN / (numel / size));
    if (j->cut == j->rank - 1)
        grain = tni_max(grain, RUN); /* short runs lose more than they share */
    if (size <= grain)
        walk(j, 0, size);
    else
        tn_plugin_host->parallel_for(tn_plugin_self, size, grain, c->max_threads, walk, j);
}

/* ---- The check ------------------------------------------------------------------------------- */

typedef struct check {
    const tn_view *index;
    int64_t sizes[TN_MAX_RANK]; /* dims along which the index stays count as 1 */
    int64_t limit;
    _Atomic int64_t bad; /* lowest element, in these sizes; INT64_MAX: none */
} check;

static const int64_t *index_at(const check *k, int64_t element) {
    int64_t offset = 0;
    for (int32_t d = k->index->rank - 1; d >= 0; element /= k->sizes[d--])
        offset += element % k->sizes[d] * k->index->strides[d];
    return (const int64_t *)k->index->data + offset;
}

/* 0 <= index < limit for all n: neither index nor limit - 1 - index has its sign bit set. */
static bool all_below(int64_t limit, const int64_t *index, int64_t n, int64_t step) {
    typedef uint64_t four __attribute__((vector_size(32)));
    const uint64_t last = (uint64_t)limit - 1;
    four signs = {0};
    int64_t i = 0;
    for (; step == 1 && i + 4 <= n; i += 4) {
        four v;
        memcpy(&v, index + i, sizeof v);
        signs |= v | (last - v);
    }
    for (; i < n; i++) {
        const uint64_t v = (uint64_t)index[i * step];
        signs[0] |= v | (last - v);
    }
    return (signs[0] | signs[1] | signs[2] | signs[3]) >> 63 == 0;
}

static void check_range(void *arg, int64_t begin, int64_t end) {
    check *k = arg;
    const int32_t last = k->index->rank - 1;
    const int64_t run = last < 0 ? 1 : k->sizes[last],
                  step = last < 0 ? 0 : k->index->strides[last];
    for (int64_t i = begin, m; i < end; i += m) {
        const int64_t *x = index_at(k, i);
        m = tni_min(end - i, run - i % run);
        if (all_below(k->limit, x, m, step)) continue;
        int64_t n = 0, seen = atomic_load(&k->bad);
        while ((uint64_t)x[n * step] < (uint64_t)k->limit) n++;
        while (i + n < seen && !atomic_compare_exchange_weak(&k->bad, &seen, i + n)) {
        }
        return;
    }
}

static tn_status fail_index(tn_call *c, const char *op, const check *k) {
    char text[256];
    const int64_t value = *index_at(k, k->bad);
    int64_t at[TN_MAX_RANK], rest = k->bad;
    for (int32_t d = k->index->rank - 1; d >= 0; rest /= k->sizes[d--]) at[d] = rest % k->sizes[d];
    size_t used = (size_t)snprintf(text, sizeof text, "%s: index[", op);
    for (int32_t d = 0; d < k->index->rank && used < sizeof text; d++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", d ? ", " : "",
                                 (long long)at[d]);
    if (used < sizeof text)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "] is %lld, must be at least 0 and below %lld", (long long)value,
                                 (long long)k->limit);
    c->fail(c, TN_ERR_INDEX, text, used < sizeof text ? used : sizeof text - 1);
    return TN_ERR_INDEX;
}

static tn_status check_index(tn_call *c, const char *op, const tn_view *index, int64_t limit) {
    check k = {.index = index, .limit = limit, .bad = INT64_MAX};
    int64_t n = 1;
    for (int32_t d = 0; d < index->rank; d++) {
        k.sizes[d] = index->strides[d] == 0 && index->sizes[d] > 1 ? 1 : index->sizes[d];
        n *= k.sizes[d];
    }
    tni_parallel(c, n, 1, check_range, &k);
    return atomic_load(&k.bad) == INT64_MAX ? TN_OK : fail_index(c, op, &k);
}

/* ---- Items moved: gather takes them from what is indexed, scatter puts them there ------------- */

/* steps as in a job, then far; where they are constants the compiler sees them. */
static inline __attribute__((always_inline)) void move_items(int64_t n, char *const *at,
                                                             bool gather, size_t size,
                                                             int64_t index_step, int64_t step,
                                                             int64_t other_step, int64_t far) {
    char *index = at[INDEX], *line = at[1], *other = at[2];
    for (int64_t k = 0; k < n; k++) {
        char *there = line + k * step, *here = other + k * other_step;
        there += *(const int64_t *)(const void *)(index + k * index_step) * far;
        memcpy(gather ? here : there, gather ? there : here, size);
    }
}

#define MOVE(T)                                                                                    \
    if (dense)                                                                                     \
        move_items(n, at, gather, sizeof(T), 8, 0, sizeof(T), sizeof(T));                          \
    else                                                                                           \
        move_items(n, at, gather, sizeof(T), j->steps[INDEX], j->steps[1], j->steps[2], j->far);   \
    return;

static inline __attribute__((always_inline)) void move_run(const job *j, int64_t n, char *const *at,
                                                           bool gather) {
    const bool dense =
        j->steps[INDEX] == 8 && j->steps[1] == 0 && j->steps[2] == j->bytes && j->far == j->bytes;
    if (j->steps[INDEX] == 0 && j->steps[1] == j->bytes && j->steps[2] == j->bytes) { /* a row */
        char *far = at[1] + *(const int64_t *)(const void *)at[INDEX] * j->far;
        memcpy(gather ? at[2] : far, gather ? far : at[2], (size_t)(n * j->bytes));
        return;
    }
    switch (j->bytes) {
    case 1:
        MOVE(uint8_t)
    case 2:
        MOVE(uint16_t)
    case 4:
        MOVE(uint32_t)
    default:
        MOVE(uint64_t)
    }
}

/* Checks as it goes, while the indices are in the caches; what is wrong is looked for later. */
static void gather_run(const job *j, int64_t n, char *const *at) {
    const int64_t step = j->steps[INDEX] / 8, most = step ? BLOCK : n;
    char *from[VIEWS] = {at[INDEX], at[1], at[2]};
    for (int64_t m; n > 0; n -= m) {
        const int64_t *index = (const int64_t *)(const void *)from[INDEX];
        m = tni_min(n, most);
        if (!all_below(j->limit, index, step ? m : 1, step)) {
            atomic_store_explicit(j->bad, true, memory_order_relaxed);
            return;
        }
        move_run(j, m, from, true);
        for (int k = 0; k < VIEWS; k++) from[k] += m * j->steps[k];
    }
}
static void scatter_run(const job *j, int64_t n, char *const *at) { move_run(j, n, at, false); }

tn_status tni_gather_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tni_arg(c, 0), *index = tni_arg(c, 2), *y = tni_out(c, 0);
    job j = make_job(gather_run, index, x, x->dtype.bits / 8, y, c->args[1].i);
    for (int32_t d = 0; d < j.rank; d++) /* no two elements meet: any dim may be cut */
        if (j.cut < 0 || j.sizes[d] > j.sizes[j.cut]) j.cut = d;
    _Atomic bool bad = false;
    j.bad = &bad;
    walk_all(c, &j);
    return bad ? check_index(c, "gather", index, j.limit) : TN_OK;
}

/* y starts as x; in place it is x. */
static void start_result(const tn_call *c, const tn_view *x, const tn_view *y) {
    static const int64_t one[1] = {1};
    tn_view from = *x, to = *y;
    if (x->data == y->data) return;
    if (x->rank == 0)
        from.rank = to.rank = 1, from.sizes = to.sizes = from.strides = to.strides = one;
    tni_copy_views(c, &to, &from);
}

tn_status tni_scatter_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *index = tni_arg(c, 2), *y = tni_out(c, 0);
    job j = make_job(scatter_run, index, y, y->dtype.bits / 8, tni_arg(c, 3), c->args[1].i);
    const tn_status s = check_index(c, "scatter", index, j.limit);
    if (s != TN_OK) return s;
    start_result(c, tni_arg(c, 0), y);
    walk_all(c, &j);
    return TN_OK;
}

/* ---- scatter_add: lanes are added in place, 16-bit floats as f32 in the workspace -------------- */

#define ADD(E, T, SUM)                                                                             \
    case TNI_##E:                                                                                  \
        for (int64_t k = 0; k < n; k++) {                                                          \
            const int64_t i = *(const int64_t *)(const void *)(at[INDEX] + k * j->steps[INDEX]);   \
            T *y = (T *)(void *)(at[1] + k * j->steps[1] + i * j->far);                            \
            *y = (T)((SUM)*y + (SUM) * (const T *)(const void *)(src + k * step));                 \
        }                                                                                          \
        return;

/* src: lanes, step bytes apart. */
static void add_lanes(const job *j, int64_t n, char *const *at, const char *src, int64_t step) {
    const int64_t lane = j->type == TNI_I64 || j->type == TNI_F64 ? 8 : 4;
    if (j->steps[INDEX] == 0 && j->steps[1] == lane && step == lane) {
        char *y = at[1] + *(const int64_t *)(const void *)at[INDEX] * j->far;
        const void *in[2] = {y, src};
        tni_vec->ewise->fn[TNI_EW_add][j->type](n, y, in, 0, &tni_no_attrs);
        return;
    }
    switch (j->type) {
        ADD(I32, int32_t, uint32_t)
        ADD(I64, int64_t, uint64_t)
        ADD(F32, float, float)
    default:
        ADD(F64, double, double)
    }
}

static void add_run(const job *j, int64_t n, char *const *at) {
    uint16_t items[BLOCK];
    float lanes[BLOCK];
    if (!j->widen) {
        add_lanes(j, n, at, at[2], j->steps[2]);
        return;
    }
    for (int64_t i = 0, m; i < n; i += m) {
        char *const from[VIEWS] = {at[0] + i * j->steps[0], at[1] + i * j->steps[1],
                                   at[2] + i * j->steps[2]};
        m = tni_min(BLOCK, n - i);
        for (int64_t k = 0; j->steps[2] != 2 && k < m; k++)
            memcpy(&items[k], from[2] + k * j->steps[2], 2);
        j->widen(m, lanes, j->steps[2] == 2 ? (const void *)from[2] : items);
        add_lanes(j, m, from, (const char *)lanes, 4);
    }
}

static bool is_small_float(const tn_view *v) {
    return tn_dtype_is(v->dtype, TN_F16) || tn_dtype_is(v->dtype, TN_BF16);
}

tn_status tni_scatter_add_plan(tn_call *c, tn_plan *plan) {
    const tn_view *x = tni_arg(c, 0);
    if (is_small_float(x) &&
        __builtin_mul_overflow((uint64_t)tn_view_numel(x), sizeof(float), &plan->workspace_bytes))
        return tn_fail(c, TN_ERR_OVERFLOW, "scatter_add: room for the sums overflows");
    return TN_OK;
}

tn_status tni_scatter_add_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tni_arg(c, 0), *index = tni_arg(c, 2), *y = tni_out(c, 0);
    const bool small = is_small_float(x);
    int64_t strides[TN_MAX_RANK] = {1}, step = 1;
    tn_view sums = *y; /* contiguous, of y's sizes */
    for (int32_t d = y->rank - 1; d >= 0; step *= y->sizes[d--]) strides[d] = step;
    if (small) sums.data = c->workspace, sums.strides = strides, sums.dtype = TN_F32;
    job j = make_job(add_run, index, &sums, sums.dtype.bits / 8, tni_arg(c, 3), c->args[1].i);
    j.type = tni_lane_type(sums.dtype);
    j.widen = small ? tni_vec->ewise->widen[tn_dtype_index(x->dtype)] : NULL;
    const tn_status s = check_index(c, "scatter_add", index, j.limit);
    if (s != TN_OK) return s;
    start_result(c, x, &sums);
    walk_all(c, &j);
    if (small) start_result(c, &sums, y);
    return TN_OK;
}
