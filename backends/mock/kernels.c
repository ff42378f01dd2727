/* kernels.c - the reference's kernels, queued.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/mock/mock.h"
#include "modules/math/math_schemas.h"

typedef struct queued {
    tn_status (*run)(const void *plan, tn_call *);
} queued;

#define KERNEL(op, dtypes, n_args, plan) {ref_##op},
static const queued runs[] = {
#include "backends/cpu_ref/kernels.def"
};

enum {
#define KERNEL(op, dtypes, n_args, plan) AT_##op,
#include "backends/cpu_ref/kernels.def"
};

static tn_status run(const void *plan, tn_call *c) {
    const queued *q = c->user;
    (void)plan;
    return mock_launch(q->run, c);
}

#define KERNEL(op, dtypes_, n_args_, plan_)                                                        \
    {.size = sizeof(tn_kernel),                                                                    \
     .schema = MATH_SCHEMA_##op,                                                                   \
     .device = "mock",                                                                             \
     .dtypes = dtypes_,                                                                            \
     .n_args = n_args_,                                                                            \
     .user = &runs[AT_##op],                                                                       \
     .plan = plan_,                                                                                \
     .run = run},
static const tn_kernel rows[] = {
#include "backends/cpu_ref/kernels.def"
};
const tnk_family mock_kernels = TNK_FAMILY(rows);
