/* sets.h - the instruction sets vector code is compiled for, and which one is used.
 *
 * A family of kernels that has vector code declares a struct blas_NAME_code of its functions, and
 * BLAS_CODE(NAME) behind it; vector/ defines one such struct per set. Drivers call
 * blas_code(NAME)->function. Invariant: blas_set is chosen once, before any kernel runs; code of
 * different sets agrees to rounding only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_SETS_H
#define TENON_CPU_BLAS_SETS_H

#include <tenon/kit.h>

enum { BLAS_SET_SSE2, BLAS_SET_AVX2, BLAS_SET_AVX512, BLAS_SETS };

extern int blas_set; /* BLAS_SET_* */

/* The widest set this processor has, or the one of that name; -1 if it has no such set. */
int blas_set_find(const char *name);
const char *blas_set_name(int set);
static inline int64_t blas_set_bytes(void) { return INT64_C(16) << blas_set; } /* of a vector */

#define BLAS_CODE(family)                                                                          \
    extern const struct blas_##family##_code blas_##family##_sse2, blas_##family##_avx2,           \
        blas_##family##_avx512;                                                                    \
    static inline const struct blas_##family##_code *blas_##family##_in_use(void) {                \
        static const struct blas_##family##_code *const of[BLAS_SETS] = {                          \
            &blas_##family##_sse2, &blas_##family##_avx2, &blas_##family##_avx512};                \
        return of[blas_set];                                                                       \
    }
#define blas_code(family) blas_##family##_in_use()

/* The lanes that vector code computes with. */
enum { BLAS_I32, BLAS_I64, BLAS_F32, BLAS_F64, BLAS_LANE_TYPES };

/* BLAS_I32 .. BLAS_F64, for any dtype. */
static inline int blas_lane_type(tn_dtype d) {
    return (d.code == 2 || d.code == 4) * 2 + (d.bits == 64);
}

#endif
