/* leaf.c - the public switches and questions of autograd: leaves, their gradients, grad mode.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/engine.h"
#include "core/state.h"

tn_status tn_set_requires_grad(tn_tensor *t, bool on) {
    if (!tni_tensor_check(t, "tn_set_requires_grad", "tensor") || !tni_history_refresh(t))
        return tn_error();
    if (t->node)
        return tn_raise(
            TN_ERR_GRAD,
            "tn_set_requires_grad: the tensor is the result of '%s', not a leaf; detach it first",
            t->node->op->schema.name);
    const int index = tn_dtype_index(t->dtype);
    if (on && (index < 0 || !(TN_MASK_FLOAT >> index & 1)))
        return tn_raise(TN_ERR_DTYPE,
                        "tn_set_requires_grad: a tensor of dtype %s has no gradient; convert it to "
                        "a floating dtype",
                        tn_dtype_name(t->dtype));
    if (on)
        t->flags |= TNI_REQUIRES_GRAD;
    else
        t->flags &= ~(uint32_t)TNI_REQUIRES_GRAD;
    return TN_OK;
}

bool tn_requires_grad(tn_tensor *t) {
    return tni_tensor_check(t, "tn_requires_grad", "tensor") && tni_history_wanted(t);
}

bool tn_is_leaf(tn_tensor *t) {
    return tni_tensor_check(t, "tn_is_leaf", "tensor") && tni_history_refresh(t) && !t->node;
}

/* Not a view as far as history is concerned: it shares the storage, and with it the version. */
tn_tensor *tn_detach(tn_tensor *t) {
    tn_meta m;
    if (!tni_tensor_check(t, "tn_detach", "tensor")) return NULL;
    tni_tensor_meta(t, &m);
    tn_tensor *d = tni_tensor_view(t, &m);
    if (!d) return NULL;
    tn_tensor *base = d->base;
    d->base = NULL;
    d->flags |= t->flags & TNI_WRAPPED;
    tni_tensor_release(base);
    return tni_scope_own(d);
}

bool tn_set_grad_enabled(bool on) {
    tni_state *state = tni_state_get();
    const bool was = state->grad_enabled;
    state->grad_enabled = on;
    return was;
}

bool tn_grad_enabled(void) { return tni_state_get()->grad_enabled; }

tn_tensor *tn_grad_of(tn_tensor *leaf) {
    if (!tni_tensor_check(leaf, "tn_grad_of", "leaf")) return NULL;
    tni_leaf_lock(leaf);
    tn_tensor *grad = leaf->grad;
    if (grad) tni_tensor_retain(grad);
    tni_leaf_unlock(leaf);
    return grad ? tni_scope_own(grad) : NULL;
}

tn_status tn_zero_grad(tn_tensor *leaf) {
    if (!tni_tensor_check(leaf, "tn_zero_grad", "leaf")) return tn_error();
    tni_leaf_lock(leaf);
    tn_tensor *grad = leaf->grad;
    leaf->grad = NULL;
    tni_leaf_unlock(leaf);
    tni_tensor_release(grad);
    return TN_OK;
}
