/* wide.c - the bodies of wide.ops, and the plugin.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/opgen/wide_table.inc"

static tn_tensor *turned(tn_tensor *t) { return op_transpose(t, 0, 1); }

static tn_tensor *scaled(tn_tensor *t, tn_maybe_float scale) {
    return scale.set ? op_mul(t, tnk_scalar(scale.value)) : t;
}

/* Every argument, as an error's text. */
static void tell(const wide_attention_args *a) {
    tnk_raise(TN_ERR_UNSUPPORTED,
              "bias %d, mask %d, blocks %d, scale %d:%g, heads %d, kv_heads %d:%d, dropout %g, "
              "causal %d, packed %d:%d, window %d %d, slopes %d:%g, softcap %g, layout %.*s, "
              "accumulate %d, place %d, rng %d",
              a->bias != NULL, a->mask != NULL, (int)a->blocks.n, a->scale.set,
              a->scale.set ? a->scale.value : 0, (int)a->heads, a->kv_heads.set,
              a->kv_heads.set ? (int)a->kv_heads.value : 0, a->dropout, a->causal, a->packed.set,
              a->packed.set && a->packed.value, (int)a->window.ptr[0], (int)a->window.ptr[1],
              (int)a->slopes.n, a->slopes.n ? a->slopes.ptr[0] : 0, tnk_number(&a->softcap, 0),
              (int)a->layout.n, a->layout.ptr, a->accumulate.bits, a->place.kind != 0,
              tnk_as_tensor(a->rng) != NULL);
}

wide_attention_results wide_attention(const wide_attention_args *a) {
    if (tnk_says(a->layout, "tell")) tell(a);
    tn_tensor *logits = scaled(op_matmul(a->q, turned(a->k)), a->scale);
    if (a->bias) logits = op_add(logits, a->bias);
    tn_tensor *weights = op_softmax(logits, 1);
    return (wide_attention_results){op_matmul(weights, a->v), weights, logits};
}

void wide_grad_attention(wide_grad_attention_ctx *c) {
    tn_tensor *g = TNK_GRAD(c, 0), *weights = TNK_SAVED(c, weights);

    if (TNK_NEEDS(c, v)) TNK_SET_GRAD(c, v, op_matmul(turned(weights), g));
    tn_tensor *dw = op_matmul(g, turned(TNK_SAVED(c, v)));
    if (TNK_GRAD_DEFINED(c, 1)) dw = op_add(dw, TNK_GRAD(c, 1));
    tn_tensor *d = op_softmax_bwd(dw, weights, 1);
    if (TNK_NEEDS(c, bias)) TNK_SET_GRAD(c, bias, d);
    d = scaled(d, TNK_ARG(c, scale));
    if (TNK_NEEDS(c, q)) TNK_SET_GRAD(c, q, op_matmul(d, TNK_SAVED(c, k)));
    if (TNK_NEEDS(c, k)) TNK_SET_GRAD(c, k, op_matmul(turned(d), TNK_SAVED(c, q)));
}

/* A call in full, by the names of the row. */
tn_tensor *wide_self_attention(tn_tensor *x, double scale) {
    static const int64_t everywhere[2] = {-1, -1};
    const wide_attention_args a = {
        .q = x,
        .k = x,
        .v = x,
        .scale = {scale, true},
        .heads = 1,
        .window = {everywhere, 2},
        .softcap = tn_int(0),
        .layout = {"le", 2},
        .rng = tn_value_generator(NULL),
    };
    return op_attention(&a).y;
}

static tn_status start(const tn_host *host, tn_plugin *self) {
    return host->add_ops(self, wide_ops, wide_ops_count, sizeof *wide_ops);
}

TN_PLUGIN("wide", "0.1.0", "ops", "Apache-2.0", "requires=tenon.math>=0.1\n", start, NULL);
