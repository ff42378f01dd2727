/* sleef.h - functions of double lanes from SLEEF, for the instruction set in use.
 *
 * Opened by name, as OpenBLAS is; without it, for SSE2, and where libm is the better one, libm computes
 * lane by lane: docs/vector-code.md has the figures. Invariant: the same bits for 4 and for 8 lanes,
 * and in every lane, as SLEEF promises of its "finz" functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CPU_BLAS_SLEEF_H
#define CPU_BLAS_SLEEF_H

#include "backends/cpu_blas/kernels/ewise.h"

/* What vector code takes from libm: functions of ONE number and of TWO. */
#define BLAS_LIBM_FUNCTIONS(ONE, TWO)                                                              \
    BLAS_LIBM_LIST(ONE)                                                                            \
    ONE(exp, V1, "")                                                                               \
    ONE(log, V1, "") ONE(tanh, V1, "") TWO(atan2, V2, "") TWO(pow, N2, "") TWO(fmod, Z2, "")

typedef struct blas_sleef_code { /* of whole vectors; NULL: libm's */
#define SLOT(name, kind, attributes) void (*name)(void);
    BLAS_LIBM_FUNCTIONS(SLOT, SLOT)
#undef SLOT
} blas_sleef_code;

extern blas_sleef_code blas_sleef; /* filled at start, then left alone */

/* After the set was chosen. The option "sleef" names a library, or is "off". */
tn_status blas_sleef_open(const tn_host *host, tn_plugin *self);

#endif
