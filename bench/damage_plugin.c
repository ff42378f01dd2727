/* damage_plugin.c - the plugin that bench/damage.c damages: one op whose numbers need relocated
 * tables, thread-local data and functions of other libraries, so that damage shows in them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include <tenon/kit.h>

static double half(double x) { return x / 2; }

static double (*const functions[])(double) = {exp, half, sin, log1p};
static const char *const names[] = {"exp", "half", "sin", "log1p"};
static _Thread_local double calls;

static tn_status run(const void *plan, tn_call *c) {
    const double *x = tnk_arg(c, 0)->data;
    double *y = tnk_out(c, 0)->data;
    const int64_t n = tn_view_numel(tnk_out(c, 0));
    for (int64_t i = 0; i < n; i++)
        y[i] = functions[i % 4](x[i]) + (double)strlen(names[i % 4]) + calls++;
    (void)plan;
    return TN_OK;
}

#define SCHEMA "damaged(Tensor<f64> x) -> Tensor y"

static const tn_op op = {.size = sizeof(tn_op),
                         .schema = SCHEMA,
                         .form = "strided",
                         .shape_rule = "same",
                         .no_grad = "a measurement"};

static const tn_kernel kernel = {.size = sizeof(tn_kernel),
                                 .schema = SCHEMA,
                                 .n_args = 1,
                                 .device = "cpu",
                                 .dtypes = TN_MASK(F64),
                                 .run = run};

static tn_status start(const tn_host *host, tn_plugin *self) {
    const tn_status status = host->add_ops(self, &op, 1, sizeof op);
    return status ? status : host->add_kernels(self, &kernel, 1, sizeof kernel);
}

TN_PLUGIN("damaged", "0.1.0", "ops,kernels", "Apache-2.0", "", start, NULL);
