/* plugin.c - cpu_blas, the fast provider of the cpu: its table of kernels and its entry.
 *
 * Vector code is chosen by feature bits, OpenBLAS is opened at start. What a row declines, and
 * every dtype outside its mask, goes to the reference.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/blas.h"
#include "backends/cpu_blas/kernels/amx.h"
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/kernels/kernels.h"
#include "backends/cpu_blas/kernels/lines.h"
#include "backends/cpu_blas/kernels/reduce.h"

#include <stdio.h>
#include <string.h>

#define SIZES .size = sizeof(tn_kernel), .device = "cpu"
#define F     (TN_MASK(F32) | TN_MASK(F64))

#define EWISE(op_, kind, attrs_, mask)                                                             \
    {SIZES,          .n_args = BLAS_IN_##kind + sizeof attrs_ - 1, .op = #op_,                     \
     .dtypes = mask, .user = &blas_ewise_ops[BLAS_EW_##op_],       .run = blas_ewise_run},
#define EWISE_ALL(op_, kind, attrs_)    EWISE(op_, kind, attrs_, TN_MASK_ALL)
#define EWISE_NUMBER(op_, kind, attrs_) EWISE(op_, kind, attrs_, TN_MASK_ALL & ~TN_MASK(BOOL))
#define EWISE_FLOAT(op_, kind, attrs_)  EWISE(op_, kind, attrs_, TN_MASK_FLOAT)
#define EWISE_INT(op_, kind, attrs_)    EWISE(op_, kind, attrs_, TN_MASK_INT | TN_MASK(BOOL))
#define REDUCE(op_, name_)                                                                         \
    {                                                                                              \
        SIZES, .op = op_, .dtypes = TN_MASK_ALL, .user = &blas_reduce_##name_,                     \
               .run = blas_reduce_run                                                              \
    }
#define LINES(op_, name_, mask_)                                                                   \
    {                                                                                              \
        SIZES, .op = op_, .dtypes = mask_, .user = &blas_line_ops[BLAS_LINE_##name_],              \
               .plan = blas_lines_plan, .run = blas_lines_run                                      \
    }
#define ROW(op_, mask_, run_)                                                                      \
    { SIZES, .op = op_, .dtypes = mask_, .run = run_ }
#define ROW_IF(op_, run_, supports_)                                                               \
    { SIZES, .op = op_, .dtypes = F, .run = run_, .supports = supports_ }
#define OPTIMIZER(op_, run_, supports_)                                                            \
    { SIZES, .op = op_, .dtypes = F, .plan = blas_optim_plan, .run = run_, .supports = supports_ }
#define PLANNED(op_, dtypes_, kernel, supports_)                                                   \
    {                                                                                              \
        SIZES, .op = op_, .dtypes = dtypes_, .supports = supports_, .plan = kernel##_plan,         \
               .run = kernel##_run, .drop = blas_gemm_drop                                         \
    }
#define GEMM(op_)                                                                                  \
    PLANNED(op_, F, blas_gemm, blas_gemm_supports),                                                \
        PLANNED(op_, TN_MASK(F16) | TN_MASK(BF16), blas_gemm_half, blas_gemm_supports)

/* clang-format off */
static const tn_kernel kernels[] = {
    BLAS_EWISE_LIST(EWISE_ALL, EWISE_NUMBER, EWISE_FLOAT, EWISE_INT)
    REDUCE("sum.dim", sum),
    {SIZES, .op = "mean.dim", .dtypes = TN_MASK_FLOAT, .user = &blas_reduce_mean, .run = blas_reduce_run},
    REDUCE("prod.dim", prod),
    REDUCE("amax", amax),
    REDUCE("amin", amin),
    REDUCE("argmax", argmax),
    REDUCE("argmin", argmin),
    REDUCE("any", any),
    REDUCE("all", all),
    {SIZES, .op = "moments", .dtypes = TN_MASK_FLOAT, .user = &blas_moments, .run = blas_moments_run},
    {SIZES, .op = "std", .dtypes = TN_MASK_FLOAT, .user = &blas_std, .run = blas_moments_run},
    {SIZES, .op = "norm", .dtypes = TN_MASK_FLOAT, .user = &blas_norm,
     .supports = blas_norm_supports, .run = blas_moments_run},
    LINES("softmax", SOFTMAX, TN_MASK_FLOAT),
    LINES("log_softmax", LOG_SOFTMAX, TN_MASK_FLOAT),
    LINES("softmax_bwd", SOFTMAX_BWD, TN_MASK_FLOAT),
    LINES("log_softmax_bwd", LOG_SOFTMAX_BWD, TN_MASK_FLOAT),
    LINES("cumsum", CUMSUM, TN_MASK_ALL),
    LINES("cumprod", CUMPROD, TN_MASK_ALL),
    LINES("cummax", CUMMAX, TN_MASK_ALL),
    LINES("cummin", CUMMIN, TN_MASK_ALL),
    LINES("linear_scan", LINEAR_SCAN, TN_MASK_FLOAT),
    LINES("sort", SORT, TN_MASK_ALL),
    {SIZES, .op = "cross_entropy", .n_args = 2, .dtypes = TN_MASK_FLOAT, .run = blas_cross_entropy_run,
     .supports = blas_cross_entropy_supports},
    {SIZES, .op = "cross_entropy_bwd", .n_args = 3, .dtypes = TN_MASK_FLOAT, .run = blas_cross_entropy_bwd_run,
     .supports = blas_cross_entropy_bwd_supports},
    {SIZES, .op = "layer_norm", .dtypes = TN_MASK_FLOAT, .supports = blas_layer_norm_supports,
     .plan = blas_layer_norm_plan, .run = blas_layer_norm_run},
    {SIZES, .op = "layer_norm_bwd", .dtypes = TN_MASK_FLOAT, .supports = blas_layer_norm_bwd_supports,
     .plan = blas_layer_norm_bwd_plan, .run = blas_layer_norm_bwd_run},
    ROW("copy_", TN_MASK_ALL, blas_copy_run),
    ROW("fill_", TN_MASK_ALL, blas_fill_run),
    ROW("gather", TN_MASK_ALL, blas_gather_run),
    ROW("scatter", TN_MASK_ALL, blas_scatter_run),
    {SIZES, .op = "scatter_add", .dtypes = TN_MASK_FLOAT | TN_MASK(I32) | TN_MASK(I64),
     .plan = blas_scatter_add_plan, .run = blas_scatter_add_run},
    ROW_IF("uniform", blas_uniform_run, blas_random_supports),
    ROW_IF("normal", blas_normal_run, blas_random_supports),
    ROW_IF("random_bits", blas_random_bits_run, blas_random_bits_supports),
    {SIZES, .op = "dropout", .dtypes = TN_MASK_FLOAT, .run = blas_dropout_run,
     .supports = blas_dropout_supports},
    OPTIMIZER("sgd_", blas_sgd_run, blas_sgd_supports),
    OPTIMIZER("adam_", blas_adam_run, blas_adam_supports),
    OPTIMIZER("adamw_", blas_adamw_run, blas_adam_supports),
    GEMM("gemm"),
    GEMM("matmul"),
    GEMM("bmm"),
    GEMM("mm"),
    PLANNED("linear", TN_MASK_FLOAT, blas_linear, blas_linear_supports),
    PLANNED("addmm", TN_MASK_FLOAT, blas_addmm, blas_addmm_supports),
    PLANNED("baddbmm", TN_MASK_FLOAT, blas_addmm, blas_addmm_supports),
    PLANNED("linear_bwd", TN_MASK_FLOAT, blas_linear_bwd, blas_linear_bwd_supports),
};
/* clang-format on */

/* The option "vectors" holds the code down to a narrower set, for comparing. */
static tn_status select_vectors(const tn_host *host, tn_plugin *self) {
    const char *wanted = host->option(self, "vectors");
    const blas_vec_table *table = blas_vec_find(wanted);
    char text[64];
    if (!table)
        return tnk_fail_start(TN_ERR_INVALID,
                              "option \"vectors\" is \"%.32s\", which this processor lacks or "
                              "nobody knows; use sse2, avx2 or avx512, or leave it out",
                              wanted);
    blas_vec_select(table);
    snprintf(text, sizeof text, "vector code for %s", table->name);
    host->describe(self, text);
    return TN_OK;
}

/* The option "gemm" is "own" or "openblas"; left out, own code runs where it has wider vectors. */
static tn_status select_gemm(const tn_host *host, tn_plugin *self) {
    const char *wanted = host->option(self, "gemm");
    blas_gemm_own = blas_vec->vector_bytes == 64 && !blas_lib.has_avx512_code;
    if (wanted) {
        blas_gemm_own = strcmp(wanted, "own") == 0;
        if (!blas_gemm_own && strcmp(wanted, "openblas") != 0)
            return tnk_fail_start(TN_ERR_INVALID,
                                  "option \"gemm\" must be own or openblas, or be left out");
    }
    host->describe(self, blas_gemm_own ? "large matrix products by own code"
                                       : "large matrix products by OpenBLAS");
    blas_gemm_amx = blas_vec->vector_bytes == 64 && blas_amx_ask();
    if (blas_gemm_amx) host->describe(self, "bf16 matrix products on AMX");
    return TN_OK;
}

static tn_status start(const tn_host *host, tn_plugin *self) {
    tn_status s = blas_library_open(host, self);
    if (s == TN_OK) s = select_vectors(host, self);
    if (s == TN_OK) s = select_gemm(host, self);
    if (s != TN_OK) return s;
    return host->add_kernels(self, kernels, sizeof kernels / sizeof *kernels, sizeof *kernels);
}

TN_PLUGIN("cpu_blas", "0.1.0", "kernels", "Apache-2.0", "environment=OPENBLAS_,OMP_\n", start,
          NULL);
