/* acme.c - the bodies of acme.ops, a kernel for acme::mul, and the plugin.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/opgen/acme_table.inc"

#include "tests/opgen/acme_schemas.h"

static void same_as(tn_meta *to, const tn_view *x) {
    to->rank = x->rank;
    memcpy(to->sizes, x->sizes, (size_t)x->rank * sizeof *x->sizes);
}

tn_status acme_shape_mul_bwd(tn_infer *in) {
    for (uint32_t i = 0; i < 2; i++) {
        if (in->args[3].bools[i])
            same_as(&in->outs[i], in->args[1 + i].view);
        else
            in->outs[i].rank = TN_ABSENT;
    }
    return TN_OK;
}

acme_mul_bwd_result acme_mul_bwd_of(tn_tensor *g, tn_tensor *a, tn_tensor *b, tn_bools wanted) {
    return (acme_mul_bwd_result){wanted.ptr[0] ? op_mul(g, b) : NULL,
                                 wanted.ptr[1] ? op_mul(g, a) : NULL};
}

tn_status acme_shape_split_sum(tn_infer *in) {
    const uint32_t n = (uint32_t)in->args[1].i;
    tn_meta *parts = in->resize(in, n);
    if (!parts) return tn_fail(in, TN_ERR_NOMEM, "no memory for its parts");
    for (uint32_t i = 0; i < n; i++) same_as(&parts[i], in->args[0].view);
    same_as(&in->outs[0], in->args[0].view);
    same_as(&in->outs[2], in->args[0].view);
    return TN_OK;
}

acme_split_sum_results acme_split_sum_of(tn_tensor *x, int64_t n) {
    tn_tensor *copies[8], *sum = op_mul(x, tnk_scalar((double)n));
    for (int64_t i = 0; i < n && i < 8; i++) copies[i] = x;
    tn_tensor *row = op_cat((tn_tensors){copies, n}, 0);
    return (acme_split_sum_results){sum, op_chunk(row, n, 0), op_add(x, x)};
}

void acme_grad_split_sum(acme_grad_split_sum_ctx *c) {
    const int64_t n = TNK_ARG(c, n);
    tn_tensor *d = op_mul(TNK_GRAD(c, 0), tnk_scalar((double)n));
    for (uint32_t i = 1; i <= (uint32_t)n; i++)
        if (TNK_GRAD_DEFINED(c, i)) d = op_add(d, TNK_GRAD(c, i));
    if (!TNK_SAVED(c, twice)) return;
    TNK_SET_GRAD(c, x, d);
}

static tn_status mul_run(const void *plan, tn_call *c) {
    const tn_view *a = tnk_arg(c, 0), *b = tnk_arg(c, 1), *y = tnk_out(c, 0);
    (void)plan;
    for (int64_t i = 0; i < y->sizes[0]; i++)
        ((float *)y->data)[i] = 10 * ((const float *)a->data)[i * a->strides[0]] *
                                ((const float *)b->data)[i * b->strides[0]];
    return TN_OK;
}

static void flat_only(const tn_call *c, tn_verdict *v) {
    tnk_answer(v, c->flags & TN_CALL_FLAT ? TN_YES : TN_NO, TN_REASON_LAYOUT);
}

static const tn_kernel kernels[] = {{.size = sizeof(tn_kernel),
                                     .schema = ACME_SCHEMA_acme_mul,
                                     .n_args = 2,
                                     .device = "cpu",
                                     .dtypes = TN_MASK(F32),
                                     .supports = flat_only,
                                     .run = mul_run}};

static tn_status start(const tn_host *host, tn_plugin *self) {
    const tn_status s = host->add_ops(self, acme_ops, acme_ops_count, sizeof *acme_ops);
    return s ? s : host->add_kernels(self, kernels, 1, sizeof *kernels);
}

TN_PLUGIN("acme", "0.1.0", "ops,kernels", "Apache-2.0", "requires=tenon.math>=0.1\n", start, NULL);
