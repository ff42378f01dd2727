/* index.c - gather, and what index.h has for the scatters.
 *
 * Invariant: nothing is touched through an index before that index was checked. Work is cut along a
 * dim that no index moves along, so elements that meet are taken in row-major order of index by one
 * thread, whatever the number of threads. An index that stays along the last dim moves whole rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/index.h"

#include <stdatomic.h>
#include <string.h>

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { BLOCK = 256, RUN = 128 };

/* ---- Walking --------------------------------------------------------------------------------- */

static void add_view(blas_index_job *j, int k, const tn_view *v, int64_t bytes) {
    j->data[k] = v->data;
    for (int32_t d = 0; d < j->rank; d++) j->strides[k][d] = v->rank ? v->strides[d] * bytes : 0;
}

blas_index_job blas_index_job_of(blas_index_run *run, const tn_view *index, const tn_view *to,
                                 int64_t to_bytes, const tn_view *other, int64_t dim) {
    blas_index_job j = {.run = run, .rank = (int32_t)tnk_max(1, index->rank), .cut = -1};
    for (int32_t d = 0; d < j.rank; d++) j.sizes[d] = index->rank ? index->sizes[d] : 1;
    add_view(&j, BLAS_INDEX, index, 8), add_view(&j, 1, to, to_bytes);
    add_view(&j, 2, other, other->dtype.bits / 8);
    j.limit = to->rank ? to->sizes[dim] : 1, j.far = to->rank ? to->strides[dim] * to_bytes : 0;
    j.strides[1][dim] = 0, j.bytes = other->dtype.bits / 8;
    for (int32_t d = 0; d < j.rank; d++)
        if (d != dim && j.sizes[d] > 1 && (j.cut < 0 || j.sizes[d] > j.sizes[j.cut])) j.cut = d;
    for (int k = 0; k < BLAS_INDEX_VIEWS; k++) j.steps[k] = j.strides[k][j.rank - 1];
    return j;
}

int64_t blas_index_numel(const blas_index_job *j) {
    int64_t n = 1;
    for (int32_t d = 0; d < j->rank; d++) n *= j->sizes[d];
    return n;
}

/* All runs with begin <= index along cut < end, in row-major order. */
static void walk(void *arg, int64_t begin, int64_t end) {
    const blas_index_job *j = arg;
    const int32_t last = j->rank - 1;
    int64_t low[TN_MAX_RANK] = {0}, high[TN_MAX_RANK], at[TN_MAX_RANK];
    char *data[BLAS_INDEX_VIEWS];
    for (int32_t d = 0; d <= last; d++) high[d] = j->sizes[d];
    if (j->cut >= 0) low[j->cut] = begin, high[j->cut] = end;
    for (int k = 0; k < BLAS_INDEX_VIEWS; k++) {
        data[k] = j->data[k];
        for (int32_t d = 0; d <= last; d++) at[d] = low[d], data[k] += low[d] * j->strides[k][d];
    }
    for (int32_t d = last; d >= 0;) {
        j->run(j, high[last] - low[last], data);
        for (d = last - 1; d >= 0; d--) {
            const bool more = ++at[d] < high[d];
            const int64_t moves = more ? 1 : low[d] + 1 - high[d];
            for (int k = 0; k < BLAS_INDEX_VIEWS; k++) data[k] += moves * j->strides[k][d];
            if (more) break;
            at[d] = low[d];
        }
    }
}

void blas_index_walk(const tn_call *c, blas_index_job *j) {
    const int64_t numel = blas_index_numel(j), size = j->cut < 0 ? 1 : j->sizes[j->cut];
    if (numel == 0) return;
    int64_t grain = tnk_max(1, TNK_GRAIN / (numel / size));
    if (j->cut == j->rank - 1)
        grain = tnk_max(grain, RUN); /* short runs lose more than they share */
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
    int64_t bad; /* lowest element, in these sizes; INT64_MAX: none */
} check;

static const int64_t *index_at(const check *k, int64_t element) {
    int64_t offset = 0;
    for (int32_t d = k->index->rank - 1; d >= 0; element /= k->sizes[d--])
        offset += element % k->sizes[d] * k->index->strides[d];
    return (const int64_t *)k->index->data + offset;
}

/* 0 <= index < limit for all n: neither index nor limit - 1 - index has its sign bit set. */
static bool all_below(int64_t limit, const int64_t *index, int64_t n, int64_t step) {
    typedef uint64_t two __attribute__((vector_size(16))); /* one register of every set */
    const uint64_t last = (uint64_t)limit - 1;
    two even = {0}, odd = {0};
    int64_t i = 0;
    for (; step == 1 && i + 4 <= n; i += 4) {
        two v, w;
        memcpy(&v, index + i, sizeof v), memcpy(&w, index + i + 2, sizeof w);
        even |= v | (last - v), odd |= w | (last - w);
    }
    uint64_t signs = even[0] | even[1] | odd[0] | odd[1];
    for (; i < n; i++) {
        const uint64_t v = (uint64_t)index[i * step];
        signs |= v | (last - v);
    }
    return signs >> 63 == 0;
}

static void check_range(void *arg, int64_t begin, int64_t end) {
    check *k = arg;
    const int32_t last = k->index->rank - 1;
    const int64_t run = last < 0 ? 1 : k->sizes[last],
                  step = last < 0 ? 0 : k->index->strides[last];
    for (int64_t i = begin, m; i < end; i += m) {
        const int64_t *x = index_at(k, i);
        m = tnk_min(end - i, run - i % run);
        if (all_below(k->limit, x, m, step)) continue;
        int64_t n = 0;
        while ((uint64_t)x[n * step] < (uint64_t)k->limit) n++;
        tnk_note_lowest(&k->bad, i + n);
        return;
    }
}

static tn_status fail_index(tn_call *c, const char *op, const check *k) {
    char position[TNK_LIST_BYTES];
    return tnk_fail(c, TN_ERR_INDEX, "%s: index%s is %lld, must be at least 0 and below %lld", op,
                    tnk_position_text(k->sizes, k->index->rank, k->bad, position),
                    (long long)*index_at(k, k->bad), (long long)k->limit);
}

tn_status blas_index_check(tn_call *c, const char *op, const tn_view *index, int64_t limit) {
    check k = {.index = index, .limit = limit, .bad = INT64_MAX};
    int64_t n = 1;
    for (int32_t d = 0; d < index->rank; d++) {
        k.sizes[d] = index->strides[d] == 0 && index->sizes[d] > 1 ? 1 : index->sizes[d];
        n *= k.sizes[d];
    }
    tnk_parallel(c, n, 1, check_range, &k);
    return k.bad == INT64_MAX ? TN_OK : fail_index(c, op, &k);
}

/* ---- Items moved: gather takes them from what is indexed, scatter puts them there ------------ */

/* steps as in a job, then far; where they are constants the compiler sees them. */
static inline __attribute__((always_inline)) void move_items(int64_t n, char *const *at,
                                                             bool gather, size_t size,
                                                             int64_t index_step, int64_t step,
                                                             int64_t other_step, int64_t far) {
    char *index = at[BLAS_INDEX], *line = at[1], *other = at[2];
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
        move_items(n, at, gather, sizeof(T), j->steps[BLAS_INDEX], j->steps[1], j->steps[2],       \
                   j->far);                                                                        \
    return;

static inline __attribute__((always_inline)) void move_run(const blas_index_job *j, int64_t n,
                                                           char *const *at, bool gather) {
    const bool dense = j->steps[BLAS_INDEX] == 8 && j->steps[1] == 0 && j->steps[2] == j->bytes &&
                       j->far == j->bytes;
    if (j->steps[BLAS_INDEX] == 0 && j->steps[1] == j->bytes &&
        j->steps[2] == j->bytes) { /* a row */
        char *far = at[1] + *(const int64_t *)(const void *)at[BLAS_INDEX] * j->far;
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
static void gather_items(const blas_index_job *j, int64_t n, char *const *at) {
    const int64_t step = j->steps[BLAS_INDEX] / 8, most = step ? BLOCK : n;
    char *from[BLAS_INDEX_VIEWS] = {at[BLAS_INDEX], at[1], at[2]};
    for (int64_t m; n > 0; n -= m) {
        const int64_t *index = (const int64_t *)(const void *)from[BLAS_INDEX];
        m = tnk_min(n, most);
        if (!all_below(j->limit, index, step ? m : 1, step)) {
            atomic_store_explicit(j->bad, true, memory_order_relaxed);
            return;
        }
        move_run(j, m, from, true);
        for (int k = 0; k < BLAS_INDEX_VIEWS; k++) from[k] += m * j->steps[k];
    }
}

void blas_index_put(const blas_index_job *j, int64_t n, char *const *at) {
    move_run(j, n, at, false);
}

static tn_status gather_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 0), *index = tnk_arg(c, 2), *y = tnk_out(c, 0);
    blas_index_job j =
        blas_index_job_of(gather_items, index, x, x->dtype.bits / 8, y, c->args[1].i);
    for (int32_t d = 0; d < j.rank; d++) /* no two elements meet: any dim may be cut */
        if (j.cut < 0 || j.sizes[d] > j.sizes[j.cut]) j.cut = d;
    _Atomic bool bad = false;
    j.bad = &bad;
    blas_index_walk(c, &j);
    return bad ? blas_index_check(c, "gather", index, j.limit) : TN_OK;
}

void blas_index_start(const tn_call *c, const tn_view *x, const tn_view *y) {
    static const int64_t one[1] = {1};
    tn_view from = *x, to = *y;
    if (x->data == y->data) return;
    if (x->rank == 0)
        from.rank = to.rank = 1, from.sizes = to.sizes = from.strides = to.strides = one;
    blas_copy_views(c, &to, &from);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(gather, 3), .dtypes = TN_MASK_ALL, .run = gather_run},
};
/* clang-format on */
const tnk_family blas_index_rows = TNK_FAMILY(rows);
