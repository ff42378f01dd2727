/* plugin.c - cpu_blas, the fast provider of the cpu: its families of kernels and its entry.
 *
 * Vector code is chosen by feature bits, OpenBLAS is opened at start. What a row declines, and
 * every dtype outside its mask, goes to the reference.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/blas.h"
#include "backends/cpu_blas/families.h"
#include "backends/cpu_blas/kernels/amx.h"
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/kernels/kernels.h"
#include "backends/cpu_blas/sleef.h"

#include <stdio.h>
#include <string.h>

#define FAMILY(name) &blas_##name##_rows,
static const tnk_family *const families[] = {BLAS_FAMILIES(FAMILY)};

/* The option "vectors" holds the code down to a narrower set, for comparing. */
static tn_status select_vectors(const tn_host *host, tn_plugin *self) {
    const char *wanted = host->option(self, "vectors");
    const int set = blas_set_find(wanted);
    char text[64];
    if (set < 0)
        return tnk_fail_start(TN_ERR_INVALID,
                              "option \"vectors\" is \"%.32s\", which this processor lacks or "
                              "nobody knows; use sse2, avx2 or avx512, or leave it out",
                              wanted);
    blas_set = set;
    snprintf(text, sizeof text, "vector code for %s", blas_set_name(set));
    host->describe(self, text);
    return TN_OK;
}

/* The option "gemm" is "own" or "openblas"; left out, own code runs where it has wider vectors. */
static tn_status select_gemm(const tn_host *host, tn_plugin *self) {
    const char *wanted = host->option(self, "gemm");
    blas_gemm_own = blas_set_bytes() == 64 && !blas_lib.has_avx512_code;
    if (wanted) {
        blas_gemm_own = strcmp(wanted, "own") == 0;
        if (!blas_gemm_own && strcmp(wanted, "openblas") != 0)
            return tnk_fail_start(TN_ERR_INVALID,
                                  "option \"gemm\" must be own or openblas, or be left out");
    }
    host->describe(self, blas_gemm_own ? "large matrix products by own code"
                                       : "large matrix products by OpenBLAS");
    blas_gemm_amx = blas_set_bytes() == 64 && blas_amx_ask();
    if (blas_gemm_amx) host->describe(self, "bf16 matrix products on AMX");
    return TN_OK;
}

static tn_status start(const tn_host *host, tn_plugin *self) {
    tn_status s = blas_library_open(host, self);
    if (s == TN_OK) s = select_vectors(host, self);
    if (s == TN_OK) s = select_gemm(host, self);
    if (s == TN_OK) s = blas_sleef_open(host, self);
    if (s != TN_OK) return s;
    return tnk_add_families(families, sizeof families / sizeof *families);
}

TN_PLUGIN("cpu_blas", "0.1.0", "kernels", "Apache-2.0", "environment=OPENBLAS_,OMP_\n", start,
          NULL);
