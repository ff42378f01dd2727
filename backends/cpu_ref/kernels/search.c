/* search.c - searchsorted: where values belong in sorted lines.
 *
 * Invariant: of a line only order is assumed; whatever it holds, the result is within it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

typedef struct job {
    const tn_view *sorted, *values, *out;
    bool right; /* behind equals, not before them */
} job;

/* Does x belong behind the element at offset `at` of the line? Behind everything if it is NaN. */
static bool behind_f(const job *j, int64_t at, double x) {
    double element = 0;
    ref_load_f64(tnk_dtype_index(j->sorted), tnk_at(j->sorted, at), 1, 1, &element);
    return j->right ? !(element > x) : !(element >= x);
}

static bool behind_i(const job *j, int64_t at, int64_t x) {
    int64_t element = 0;
    ref_load_i64(tnk_dtype_index(j->sorted), tnk_at(j->sorted, at), 1, 1, &element);
    return j->right ? element <= x : element < x;
}

/* x: a double or an int64_t; line: offset of its first element */
static int64_t search(const job *j, int64_t line, const void *x, bool is_float) {
    const int32_t last = j->sorted->rank - 1;
    int64_t low = 0, high = j->sorted->sizes[last];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t at = line + middle * j->sorted->strides[last];
        if (is_float ? behind_f(j, at, *(const double *)x) : behind_i(j, at, *(const int64_t *)x))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The line for the value that the walk stands at: the only one, or the one at its leading index. */
static int64_t line_at(const job *j, const ref_walk *w) {
    int64_t line = 0;
    for (int32_t d = 0; d < j->sorted->rank - 1; d++) line += w->index[d] * j->sorted->strides[d];
    return line;
}

static void search_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const bool is_float = ref_is_float(tnk_dtype_index(j->values));
    ref_walk w;
    ref_walk_start(&w, 1, &j->values, begin);
    for (; begin < end; begin++, ref_walk_next(&w, 1)) {
        int64_t i = 0, position;
        double f = 0;
        if (is_float)
            ref_walk_load_f64(&w, 0, 1, &f);
        else
            ref_walk_load_i64(&w, 0, 1, &i);
        position = search(j, line_at(j, &w), is_float ? (const void *)&f : &i, is_float);
        memcpy(tnk_at(j->out, begin), &position, sizeof position);
    }
}

tn_status ref_searchsorted(const void *plan, tn_call *c) {
    (void)plan;
    job j = {tnk_arg(c, 0), tnk_arg(c, 1), tnk_out(c, 0), tnk_flag(&c->args[2])};
    int64_t n = 1;
    for (int32_t d = 0; d < j.out->rank; d++) n *= j.out->sizes[d];
    tnk_parallel(c, n, 32, search_range, &j);
    return TN_OK;
}
