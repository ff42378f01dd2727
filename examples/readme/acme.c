/* acme.c - a whole plugin: one kernel for one op. It needs tenon/abi.h and nothing else of Tenon.
 * SPDX-License-Identifier: Apache-2.0 */
/* [plugin.begin] */
#include <tenon/abi.h>

static tn_status relu(const void *plan, tn_call *c) {
    const tn_view *x = c->args[0].view, *y = c->outs[0].view; /* made by the core */
    const float *in = x->data;
    float *out = y->data;

    (void)plan;
    for (int64_t i = 0; i < y->sizes[0]; i++, in += x->strides[0]) out[i] = *in > 0 ? *in : 0;
    return TN_OK;
}

/* Others are asked for what is not one dense line of elements. */
static void flat_only(const tn_call *c, tn_verdict *v) {
    v->answer = c->flags & TN_CALL_FLAT ? TN_YES : TN_NO;
    v->reason = TN_REASON_LAYOUT;
}

static const tn_kernel kernels[] = {{.size = sizeof(tn_kernel),
                                     .schema = "relu(Tensor<N> x) -> Tensor",
                                     .n_args = 1,
                                     .device = "cpu",
                                     .dtypes = TN_MASK(F32),
                                     .supports = flat_only,
                                     .run = relu}};

static tn_status start(const tn_host *host, tn_plugin *self) {
    return host->add_kernels(self, kernels, 1, sizeof *kernels);
}

TN_PLUGIN("acme", "1.0.0", "kernels", "Apache-2.0", "", start, NULL);
/* [plugin.end] */
