/* kernels.h - the reference kernels, one function per row of kernels.def.
 *
 * They need tn_plugin_host and tn_plugin_self (tenon/abi.h), which TN_PLUGIN defines.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_KERNELS_H
#define TENON_CPU_REF_KERNELS_H

#include <tenon/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KERNEL(op, dtypes, n_args, plan) tn_status ref_##op(const void *, tn_call *);
#include "backends/cpu_ref/kernels.def"

tn_status ref_sort_plan(tn_call *, tn_plan *);
tn_status ref_scatter_plan(tn_call *, tn_plan *);

/* Fails with INDEX, naming the first position in row-major order, unless 0 <= index < limit all
 * over. */
tn_status ref_check_index(tn_call *, const char *op, const char *name, const tn_view *index,
                          int64_t limit);

#ifdef __cplusplus
}
#endif
#endif
