/* plugin.c - cpu_ref, the reference provider: every primitive in plain C. Others are compared with
 * it, so it is asked last (priority -100).
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "modules/math/math_schemas.h"

#define KERNEL(op, dtypes_, n_args_, plan_)                                                        \
    {.size = sizeof(tn_kernel),                                                                    \
     .schema = MATH_SCHEMA_##op,                                                                   \
     .device = "cpu",                                                                              \
     .dtypes = dtypes_,                                                                            \
     .n_args = n_args_,                                                                            \
     .priority = -100,                                                                             \
     .plan = plan_,                                                                                \
     .run = ref_##op},
static const tn_kernel kernels[] = {
#include "backends/cpu_ref/kernels.def"
};

static tn_status start(const tn_host *host, tn_plugin *self) {
    host->describe(self, "reference kernels: plain C, float64 inside");
    return host->add_kernels(self, kernels, sizeof kernels / sizeof *kernels, sizeof *kernels);
}

TN_PLUGIN("cpu_ref", "0.1.0", "kernels", "Apache-2.0", "", start, NULL);
