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
    {SIZES,          .n_args = TNI_IN_##kind + sizeof attrs_ - 1, .op = #op_,                      \
     .dtypes = mask, .user = &tni_ewise_ops[TNI_EW_##op_],        .run = tni_ewise_run},
#define EWISE_ALL(op_, kind, attrs_)    EWISE(op_, kind, attrs_, TN_MASK_ALL)
#define EWISE_NUMBER(op_, kind, attrs_) EWISE(op_, kind, attrs_, TN_MASK_ALL & ~TN_MASK(BOOL))
#define EWISE_FLOAT(op_, kind, attrs_)  EWISE(op_, kind, attrs_, TN_MASK_FLOAT)
#define EWISE_INT(op_, kind, attrs_)    EWISE(op_, kind, attrs_, TN_MASK_INT | TN_MASK(BOOL))
#define REDUCE(op_, name_)                                                                         \
    { SIZES, .op = op_, .dtypes = TN_MASK_ALL, .user = &tni_reduce_##name_, .run = tni_reduce_run }
#define LINES(op_, name_, mask_)                                                                   \
    {                                                                                              \
        SIZES, .op = op_, .dtypes = mask_, .user = &tni_line_ops[TNI_LINE_##name_],                \
               .plan = tni_lines_plan, .run = tni_lines_run                                        \
    }
#define ROW(op_, mask_, run_)                                                                      \
    { SIZES, .op = op_, .dtypes = mask_, .run = run_ }
#define ROW_IF(op_, run_, supports_)                                                               \
    { SIZES, .op = op_, .dtypes = F, .run = run_, .supports = supports_ }
#define OPTIMIZER(op_, run_, supports_)                                                            \
    { SIZES, .op = op_, .dtypes = F, .plan = tni_optim_plan, .run = run_, .supports = supports_ }
#define PLANNED(op_, dtypes_, kernel, supports_)                                                   \
    {                                                                                              \
        SIZES, .op = op_, .dtypes = dtypes_, .supports = supports_, .plan = kernel##_plan,         \
               .run = kernel##_run, .drop = tni_gemm_drop                                          \
    }
#define GEMM(op_)                                                                                  \
    PLANNED(op_, F, tni_gemm, tni_gemm_supports),                                                  \
        PLANNED(op_, TN_MASK(F16) | TN_MASK(BF16), tni_gemm_half, tni_gemm_supports)

/* clang-format off */
static const tn_kernel kernels[] = {
    TNI_EWISE_LIST(EWISE_ALL, EWISE_NUMBER, EWISE_FLOAT, EWISE_INT)
    REDUCE("sum.dim", sum),
    {SIZES, .op = "mean.dim", .dtypes = TN_MASK_FLOAT, .user = &tni_reduce_mean, .run = tni_reduce_run},
    REDUCE("prod.dim", prod),
    REDUCE("amax", amax),
    REDUCE("amin", amin),
    REDUCE("argmax", argmax),
    REDUCE("argmin", argmin),
    REDUCE("any", any),
    REDUCE("all", all),
    {SIZES, .op = "moments", .dtypes = TN_MASK_FLOAT, .user = &tni_moments, .run = tni_moments_run},
    {SIZES, .op = "std", .dtypes = TN_MASK_FLOAT, .user = &tni_std, .run = tni_moments_run},
    {SIZES, .op = "norm", .dtypes = TN_MASK_FLOAT, .user = &tni_norm,
     .supports = tni_norm_supports, .run = tni_moments_run},
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
    {SIZES, .op = "cross_entropy", .n_args = 2, .dtypes = TN_MASK_FLOAT, .run = tni_cross_entropy_run,
     .supports = tni_cross_entropy_supports},
    {SIZES, .op = "cross_entropy_bwd", .n_args = 3, .dtypes = TN_MASK_FLOAT, .run = tni_cross_entropy_bwd_run,
     .supports = tni_cross_entropy_bwd_supports},
    {SIZES, .op = "layer_norm", .dtypes = TN_MASK_FLOAT, .supports = tni_layer_norm_supports,
     .plan = tni_layer_norm_plan, .run = tni_layer_norm_run},
    {SIZES, .op = "layer_norm_bwd", .dtypes = TN_MASK_FLOAT, .supports = tni_layer_norm_bwd_supports,
     .plan = tni_layer_norm_bwd_plan, .run = tni_layer_norm_bwd_run},
    ROW("copy_", TN_MASK_ALL, tni_copy_run),
    ROW("fill_", TN_MASK_ALL, tni_fill_run),
    ROW("gather", TN_MASK_ALL, tni_gather_run),
    ROW("scatter", TN_MASK_ALL, tni_scatter_run),
    {SIZES, .op = "scatter_add", .dtypes = TN_MASK_FLOAT | TN_MASK(I32) | TN_MASK(I64),
     .plan = tni_scatter_add_plan, .run = tni_scatter_add_run},
    ROW_IF("uniform", tni_uniform_run, tni_random_supports),
    ROW_IF("normal", tni_normal_run, tni_random_supports),
    ROW_IF("random_bits", tni_random_bits_run, tni_random_bits_supports),
    {SIZES, .op = "dropout", .dtypes = TN_MASK_FLOAT, .run = tni_dropout_run,
     .supports = tni_dropout_supports},
    OPTIMIZER("sgd_", tni_sgd_run, tni_sgd_supports),
    OPTIMIZER("adam_", tni_adam_run, tni_adam_supports),
    OPTIMIZER("adamw_", tni_adamw_run, tni_adam_supports),
    GEMM("gemm"),
    GEMM("matmul"),
    GEMM("bmm"),
    GEMM("mm"),
    PLANNED("linear", TN_MASK_FLOAT, tni_linear, tni_linear_supports),
    PLANNED("addmm", TN_MASK_FLOAT, tni_addmm, tni_addmm_supports),
    PLANNED("baddbmm", TN_MASK_FLOAT, tni_addmm, tni_addmm_supports),
    PLANNED("linear_bwd", TN_MASK_FLOAT, tni_linear_bwd, tni_linear_bwd_supports),
};
/* clang-format on */

/* The option "vectors" holds the code down to a narrower set, for comparing. */
static tn_status select_vectors(const tn_host *host, tn_plugin *self) {
    const char *wanted = host->option(self, "vectors");
    const tni_vec_table *table = tni_vec_find(wanted);
    char text[160];
    if (!table) {
        const int n =
            snprintf(text, sizeof text,
                     "option \"vectors\" is \"%.32s\", which this processor lacks or nobody "
                     "knows; use sse2, avx2 or avx512, or leave it out",
                     wanted);
        host->fail(self, TN_ERR_INVALID, text, n < 0 ? 0 : (uint64_t)n);
        return TN_ERR_INVALID;
    }
    tni_vec_select(table);
    snprintf(text, sizeof text, "vector code for %s", table->name);
    host->describe(self, text);
    return TN_OK;
}

/* The option "gemm" is "own" or "openblas"; left out, own code runs where it has wider vectors. */
static tn_status select_gemm(const tn_host *host, tn_plugin *self) {
    static const char unknown[] = "option \"gemm\" must be own or openblas, or be left out";
    const char *wanted = host->option(self, "gemm");
    tni_gemm_own = tni_vec->vector_bytes == 64 && !tni_blas.has_avx512_code;
    if (wanted) {
        tni_gemm_own = strcmp(wanted, "own") == 0;
        if (!tni_gemm_own && strcmp(wanted, "openblas") != 0) {
            host->fail(self, TN_ERR_INVALID, unknown, sizeof unknown - 1);
            return TN_ERR_INVALID;
        }
    }
    host->describe(self, tni_gemm_own ? "large matrix products by own code"
                                      : "large matrix products by OpenBLAS");
    tni_gemm_amx = tni_vec->vector_bytes == 64 && tni_amx_ask();
    if (tni_gemm_amx) host->describe(self, "bf16 matrix products on AMX");
    return TN_OK;
}

static tn_status start(const tn_host *host, tn_plugin *self) {
    tn_status s = tni_blas_open(host, self);
    if (s == TN_OK) s = select_vectors(host, self);
    if (s == TN_OK) s = select_gemm(host, self);
    if (s != TN_OK) return s;
    return host->add_kernels(self, kernels, sizeof kernels / sizeof *kernels, sizeof *kernels);
}

TN_PLUGIN("cpu_blas", "0.1.0", "kernels", "Apache-2.0", "environment=OPENBLAS_,OMP_\n", start,
          NULL);
