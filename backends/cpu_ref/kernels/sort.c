/* sort.c - stable merge sort of the lines of x (outer, n, inner), contiguous, along n.
 *
 * Invariant: elements are compared by an integer key that has their order, NaN above everything and
 * -0 equal to 0; equal keys keep their order, in both directions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

typedef struct entry {
    int64_t key;
    int64_t index;
} entry;

enum { MAX_PARTS = 16 }; /* lines are cut into this many parts, each with its own workspace */

typedef struct job {
    const tn_view *x, *values, *indices;
    int64_t n, inner, grain;
    bool descending;
    entry *workspace; /* (parts, 2, n) */
} job;

/* The order of doubles as an order of integers: the bits of negative ones are mirrored. */
static int64_t key_of_f64(double x) {
    int64_t bits;
    if (x != x) return INT64_MAX;
    if (x == 0) return 0;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? bits ^ INT64_MAX : bits;
}

static void load_entries(const job *j, const void *at, entry *out) {
    const int ix = tnk_dtype_index(j->x);
    for (int64_t k = 0; k < j->n; k++) {
        const char *element = (const char *)at + k * j->inner * tnk_item_bytes(j->x);
        double f = 0;
        out[k].index = k;
        if (ref_is_float(ix)) {
            ref_load_f64(ix, element, 1, 1, &f);
            out[k].key = key_of_f64(f);
        } else {
            ref_load_i64(ix, element, 1, 1, &out[k].key);
        }
        if (j->descending) out[k].key = ~out[k].key;
    }
}

/* Merges from[low, middle) and from[middle, high) into to[low, high). */
static void merge(const entry *from, entry *to, int64_t low, int64_t middle, int64_t high) {
    int64_t left = low, right = middle;
    for (int64_t k = low; k < high; k++) {
        const bool take_right =
            left == middle || (right < high && from[right].key < from[left].key);
        to[k] = take_right ? from[right++] : from[left++];
    }
}

/* Sorts `a`, using `b` as room; returns the one that holds the result. */
static const entry *merge_sort(entry *a, entry *b, int64_t n) {
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t low = 0; low < n; low += 2 * width)
            merge(a, b, low, tnk_min(low + width, n), tnk_min(low + 2 * width, n));
        entry *swap = a;
        a = b, b = swap;
    }
    return a;
}

static void sort_lines(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const size_t bytes = (size_t)tnk_item_bytes(j->x);
    entry *room = j->workspace + begin / j->grain * 2 * j->n;
    for (; begin < end; begin++) {
        const int64_t base = begin / j->inner * j->n * j->inner + begin % j->inner;
        load_entries(j, tnk_at(j->x, base), room);
        const entry *sorted = merge_sort(room, room + j->n, j->n);
        for (int64_t k = 0; k < j->n; k++) {
            const int64_t to = base + k * j->inner, from = base + sorted[k].index * j->inner;
            memcpy(tnk_at(j->values, to), tnk_at(j->x, from), bytes);
            memcpy(tnk_at(j->indices, to), &sorted[k].index, sizeof(int64_t));
        }
    }
}

static int64_t lines_of(const tn_view *x) {
    return x->sizes[1] == 0 ? 0 : x->sizes[0] * x->sizes[2];
}

/* Lines per part, so that there are at most MAX_PARTS parts. */
static int64_t grain_of(const tn_view *x) {
    return tnk_max(1, (lines_of(x) + MAX_PARTS - 1) / MAX_PARTS);
}

tn_status ref_sort_plan(tn_call *c, tn_plan *plan) {
    const tn_view *x = tnk_arg(c, 0);
    const int64_t parts = (lines_of(x) + grain_of(x) - 1) / grain_of(x);
    if (__builtin_mul_overflow((uint64_t)x->sizes[1], 2 * sizeof(entry), &plan->workspace_bytes) ||
        __builtin_mul_overflow(plan->workspace_bytes, (uint64_t)parts, &plan->workspace_bytes))
        return tnk_fail(c, TN_ERR_OVERFLOW, "sort: room for %lld elements overflows",
                        (long long)x->sizes[1]);
    return TN_OK;
}

tn_status ref_sort(const void *plan, tn_call *c) {
    (void)plan;
    const tn_view *x = tnk_arg(c, 0);
    job j = {x,           tnk_out(c, 0), tnk_out(c, 1),         x->sizes[1],
             x->sizes[2], grain_of(x),   tnk_flag(&c->args[2]), c->workspace};
    if (lines_of(x) > 0)
        tn_plugin_host->parallel_for(tn_plugin_self, lines_of(x), j.grain, c->max_threads,
                                     sort_lines, &j);
    return TN_OK;
}
