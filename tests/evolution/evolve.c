/* evolve.c - one plugin, compiled against abi.h as it is, as it was and as it may be. BUILD has the
 * cases; evolution_test.cc says what must come of each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/abi.h>

#define ID TN_STRING(CASE_NAME)
#ifdef GROWN
#define ARGS   "Tensor<T> x, int k=1, bool tomorrow=false"
#define N_ARGS 3
#else
#define ARGS   "Tensor<T> x"
#define N_ARGS 1
#endif
#ifndef TRAITS
#define TRAITS 0
#endif
#ifndef FLAGS
#define FLAGS 0
#endif

/* Twice x; a plan says so, and where it can, for what comes after. */
static tn_status plan(tn_call *c, tn_plan *p) {
    static const double two = 2;
    p->data = (void *)(uintptr_t)&two;
#ifdef TN_TOMORROW_MUST
    if (TN_HAS(p, tomorrow)) p->tomorrow = 7;
#ifdef PLAN_FLAGS
    p->flags = PLAN_FLAGS;
#endif
#endif
    return c->n_args >= N_ARGS ? (tn_status)TN_OK
                               : tn_fail(c, TN_ERR_INTERNAL, "arguments are missing");
}

static tn_status run(const void *data, tn_call *c) {
    const tn_view *x = c->args[0].view, *y = c->outs[0].view;
    for (int64_t i = 0; i < tn_view_numel(y); i++)
        ((double *)y->data)[i] = *(const double *)data * ((const double *)x->data)[i];
    return TN_OK;
}

static void supports(const tn_call *c, tn_verdict *v) {
    (void)c;
    v->answer = TN_YES;
#ifdef TN_TOMORROW_MUST
    if (TN_HAS(v, tomorrow)) v->tomorrow = 7;
#ifdef NEEDS
    v->answer = TN_YES_IF, v->needs = NEEDS;
#endif
#ifdef REASON
    v->answer = TN_NO, v->reason = REASON;
#endif
#endif
}

#ifdef OF_EVOLVING /* an op of the test */
#define OP "evolving"
static const tn_op op = {.size = sizeof(tn_op)};
#define N_OPS 0
#else
#define OP    ID "_op"
static const tn_op op = {.size = sizeof(tn_op),
                         .traits = TRAITS,
                         .schema = OP "(" ARGS ") -> Tensor y",
                         .shape_rule = "same",
                         .no_grad = "a test"};
#define N_OPS 1
#endif

static const tn_kernel kernel = {.size = sizeof(tn_kernel),
                                 .flags = FLAGS,
                                 .schema = OP "(" ARGS ") -> Tensor y",
                                 .device = "cpu",
                                 .dtypes = TN_MASK(F64),
                                 .n_args = N_ARGS,
                                 .supports = supports,
                                 .plan = plan,
                                 .run = run};

static tn_status start(const tn_host *host, tn_plugin *self) {
    const tn_status s = host->add_ops(self, &op, N_OPS, sizeof op);
    return s ? s : host->add_kernels(self, &kernel, 1, sizeof kernel);
}

TN_PLUGIN(ID, "0.1.0", "ops,kernels", "Apache-2.0", "", start, NULL);
