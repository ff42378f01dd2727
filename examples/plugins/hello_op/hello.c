/* hello.c - a plugin with one op and its kernel. It includes nothing of Tenon but the
 * header-only kit over tenon/abi.h and what opgen made of hello.ops.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "hello_ops.h"

#include "hello_table.inc"

/* One loop per dtype. The core made room for y, and checked shapes and dtypes. */
#define SWISH(type, exp)                                                                           \
    static tn_status swish_##type(const void *plan, tn_call *c) {                                  \
        const type *x = tnk_arg(c, 0)->data, beta = (type)c->args[1].f;                            \
        type *y = tnk_out(c, 0)->data;                                                             \
        const int64_t n = tn_view_numel(tnk_out(c, 0));                                            \
        for (int64_t i = 0; i < n; i++) y[i] = x[i] / (1 + exp(-beta * x[i]));                     \
        (void)plan;                                                                                \
        return TN_OK;                                                                              \
    }
SWISH(float, expf)
SWISH(double, exp)

/* The loops want plain arrays; other layouts are copied before they get here. */
static void contiguous(const tn_call *c, tn_verdict *v) {
    (void)c;
    tnk_answer(v, TN_YES_IF, 0);
}

static const tn_kernel kernels[] = {
    {.size = sizeof(tn_kernel),
     .schema = HELLO_SCHEMA_swish,
     .n_args = 2,
     .device = "cpu",
     .dtypes = TN_MASK(F32),
     .supports = contiguous,
     .run = swish_float},
    {.size = sizeof(tn_kernel),
     .schema = HELLO_SCHEMA_swish,
     .n_args = 2,
     .device = "cpu",
     .dtypes = TN_MASK(F64),
     .supports = contiguous,
     .run = swish_double},
};

static tn_status start(const tn_host *host, tn_plugin *self) {
    const tn_status status = host->add_ops(self, hello_ops, hello_ops_count, sizeof *hello_ops);
    return status ? status
                  : host->add_kernels(self, kernels, sizeof kernels / sizeof *kernels,
                                      sizeof *kernels);
}

TN_PLUGIN("hello_op", "0.1.0", "ops,kernels", "Apache-2.0", "requires=tenon.math>=0.1\n", start,
          NULL);
