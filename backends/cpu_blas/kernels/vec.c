/* vec.c - which table of vector code is used, and how strided views are walked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

#include <cpuid.h>
#include <string.h>

const blas_vec_table *blas_vec = &blas_vec_sse2;

/* clang's __builtin_cpu_supports does not know it; the registers it uses are AVX's. */
static bool has_f16c(void) {
    uint32_t a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const blas_vec_table *blas_vec_find(const char *name) {
    __builtin_cpu_init(); /* feature bits and what the kernel saves, never the model number */
    const blas_vec_table *widest_first[] = {has_avx512() ? &blas_vec_avx512 : NULL,
                                            has_avx2() ? &blas_vec_avx2 : NULL, &blas_vec_sse2};
    for (int i = 0; i < 3; i++)
        if (widest_first[i] && (!name || strcmp(name, widest_first[i]->name) == 0))
            return widest_first[i];
    return NULL;
}

void blas_vec_select(const blas_vec_table *table) { blas_vec = table; }

static void runs_range(void *arg, int64_t begin, int64_t end) {
    const blas_runs *r = arg;
    const tn_view *o = r->views[0];
    const int32_t last = o->rank - 1;
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t start = piece % r->pieces * TNK_GRAIN;
        int64_t row = piece / r->pieces, offset[4] = {0};
        for (int32_t d = last; d >= 0; d--) {
            const int64_t index = d == last ? start : row % o->sizes[d];
            if (d < last) row /= o->sizes[d];
            for (uint32_t k = 0; k < r->n_views; k++) offset[k] += index * r->views[k]->strides[d];
        }
        char *at[4];
        for (uint32_t k = 0; k < r->n_views; k++) at[k] = tnk_at(r->views[k], offset[k]);
        r->body(r->arg, tnk_min(TNK_GRAIN, o->sizes[last] - start), at);
    }
}

void blas_runs_walk(const tn_call *c, blas_runs *r) {
    const tn_view *o = r->views[0];
    const int64_t numel = tn_view_numel(o);
    if (numel == 0) return;
    const int64_t run = o->sizes[o->rank - 1];
    r->pieces = (run + TNK_GRAIN - 1) / TNK_GRAIN;
    tnk_parallel(c, numel / run * r->pieces, tnk_min(run, TNK_GRAIN), runs_range, r);
}
