/* sets.c - see sets.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/sets.h"

#include <cpuid.h>
#include <string.h>

int blas_set = BLAS_SET_SSE2;

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

const char *blas_set_name(int set) {
    static const char *const names[BLAS_SETS] = {"sse2", "avx2", "avx512"};
    return names[set];
}

int blas_set_find(const char *name) {
    __builtin_cpu_init(); /* feature bits and what the kernel saves, never the model number */
    const bool has[BLAS_SETS] = {true, has_avx2(), has_avx512()};
    for (int set = BLAS_SETS - 1; set >= 0; set--)
        if (has[set] && (!name || strcmp(name, blas_set_name(set)) == 0)) return set;
    return -1;
}
