/* kernels.c - the reference's kernels, queued.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/mock/mock.h"

typedef struct queued {
    tn_status (*run)(const void *plan, tn_call *);
} queued;

#define KERNEL(op, name, dtypes, n_args, plan) {ref_##name},
static const queued runs[] = {
#include "backends/cpu_ref/kernels.def"
};

enum {
#define KERNEL(op, name, dtypes, n_args, plan) AT_##name,
#include "backends/cpu_ref/kernels.def"
};

static tn_status run(const void *plan, tn_call *c) {
    const queued *q = c->user;
    (void)plan;
    return mock_launch(q->run, c);
}

#define KERNEL(op, name, dtypes, n_args, plan)                                                     \
    {sizeof(tn_kernel), n_args, op, "mock", dtypes, 0, 0, &runs[AT_##name], NULL, plan, run, NULL},
static const tn_kernel rows[] = {
#include "backends/cpu_ref/kernels.def"
};
const tnk_family mock_kernels = TNK_FAMILY(rows);
