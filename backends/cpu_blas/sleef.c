/* sleef.c - opens SLEEF, if it is there. It stays open for good.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/sleef.h"

#include "backends/cpu_blas/kernels/kernels.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

blas_sleef_code blas_sleef;

#define SLOT(name)                                                                                 \
    { #name, offsetof(blas_sleef_code, name) }
static const struct {
    const char *name;
    size_t offset;
} better[] = {
    /* than libm's: docs/vector-code.md */
    SLOT(exp), SLOT(exp2), SLOT(expm1), SLOT(log),  SLOT(log2), SLOT(log10), SLOT(sin),   SLOT(cos),
    SLOT(tan), SLOT(asin), SLOT(acos),  SLOT(atan), SLOT(tanh), SLOT(atanh), SLOT(atan2),
};

/* Of at most 1 ulp, with fused multiply-add. */
static bool find_all(void *library, blas_sleef_code *out) {
    const char *lanes = blas_set_bytes() == 64 ? "d8_u10avx512f" : "d4_u10avx2";
    for (size_t i = 0; i < sizeof better / sizeof *better; i++) {
        char symbol[64];
        snprintf(symbol, sizeof symbol, "Sleef_finz_%s%s", better[i].name, lanes);
        void *const found = dlsym(library, symbol);
        if (!found) return false;
        memcpy((char *)out + better[i].offset, &found, sizeof found);
    }
    return true;
}

/* clang passes a vector in registers only where the whole file is built for its set. */
#ifdef __clang__
enum { CAN_CALL = 0 };
#else
enum { CAN_CALL = 1 };
#endif

tn_status blas_sleef_open(const tn_host *host, tn_plugin *self) {
    const char *wanted = host->option(self, "sleef");
    const bool off = wanted && strcmp(wanted, "off") == 0;
    const bool possible = CAN_CALL && blas_set_bytes() >= 32;
    blas_sleef_code code = {0};
    void *library = NULL;
    if (!off && possible)
        library = dlopen(wanted ? wanted : "libsleef.so.3", RTLD_NOW | RTLD_LOCAL);
    const bool found = library && find_all(library, &code);
    if (wanted && !off && !found)
        return tnk_fail_start(
            TN_ERR_NOTFOUND, "option \"sleef\" is \"%.200s\": %s; use off, or leave the option out",
            wanted,
            possible ? "no SLEEF 3.5 or later is there (Debian: libsleef3)"
                     : "only a build by gcc with AVX2 or AVX-512 can call SLEEF");
    if (found) blas_sleef = code;
    host->describe(self, found ? "functions of f64 by SLEEF" : "functions of f64 by libm");
    return TN_OK;
}
