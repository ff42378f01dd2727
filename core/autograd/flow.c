/* flow.c - gradients on their way from node to node and into leaves.
 *
 * Invariant: memory is written in place only where nobody else can see it: one header, one
 * reference to the storage, no history; and the gradient of a leaf, which its owner may hold. Sums
 * for a recorded backward are always new tensors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/flow.h"

#include <string.h>

#include "core/autograd/leaf.h"
#include "core/base/dtype.h"
#include "core/dispatch/core_ops.h"
#include "core/tensor/format.h"

/* ---- Whose memory is it? -------------------------------------------------------------------- */

/* A gradient that nobody else holds needs no base: that would only keep the base's header alive. */
static void forget_base(tn_tensor *t) {
    tn_tensor *base = t->base;
    if (!base || t->node || t->kept || atomic_load_explicit(&t->refs, memory_order_acquire) != 1)
        return;
    t->base = NULL;
    tni_tensor_release(base);
}

/* The caller's reference is the only way to this memory, and it is laid out plainly. */
static bool is_sole(tn_tensor *t) {
    forget_base(t);
    return !t->base && !t->kept && (t->flags & TNI_CONTIGUOUS) &&
           atomic_load_explicit(&t->refs, memory_order_acquire) == 1 &&
           atomic_load_explicit(&t->storage->refs, memory_order_acquire) == 1;
}

static bool may_write(tn_tensor *t) { return is_sole(t) && !(t->flags & TNI_REQUIRES_GRAD); }

/* a + b, refs 1, in no scope. */
static tn_tensor *sum(tn_tensor *a, tn_tensor *b) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *t = tni_core_add(a, b);
    if (t) tni_tensor_retain(t);
    tn_scope_pop(scope);
    return t;
}

/* In place, where it lies. */
static bool add_into(tni_task *task, tn_tensor *have, tn_tensor *grad) {
    tni_place *before = tni_streams_go(&task->streams, have);
    const tn_status status = tni_core_add_into(have, grad);
    tni_tls.place = before;
    tni_tensor_release(grad);
    return status == TN_OK;
}

bool tni_flow_add(tni_task *task, tn_tensor **into, tn_tensor *grad) {
    tn_tensor *have = *into;
    if (!have) {
        *into = grad;
        return true;
    }
    if (!task->create && may_write(have)) return add_into(task, have, grad);
    if (!task->create && may_write(grad)) {
        *into = grad;
        return add_into(task, grad, have);
    }
    tn_tensor *t = sum(have, grad);
    tni_tensor_release(grad);
    if (!t) return false;
    *into = t;
    tni_tensor_release(have);
    return true;
}

/* ---- Into a leaf ---------------------------------------------------------------------------- */

/* The storage has little more than t. */
static bool fills_storage(const tn_tensor *t) {
    const uint64_t bytes = (uint64_t)t->numel * (uint64_t)tni_dtype_bytes(t->dtype);
    return t->offset == 0 && t->storage->bytes / 2 <= bytes;
}

/* grad as a tensor of its own, which the caller may keep and change. Takes over grad. */
static tn_tensor *own(tn_tensor *grad, bool create) {
    if (is_sole(grad) && fills_storage(grad)) return grad;
    tn_tensor *copy = NULL;
    if (create) {
        const tn_scope scope = tn_scope_push();
        copy = tni_core_clone(grad);
        if (copy) tni_tensor_retain(copy);
        tn_scope_pop(scope);
    } else {
        copy = tni_core_copy(grad);
    }
    tni_tensor_release(grad);
    return copy;
}

static bool refuse_history(const tn_tensor *leaf, tn_tensor *grad) {
    char text[256];
    tni_tensor_text(leaf, text, sizeof text);
    tni_tensor_release(grad);
    tn_raise(
        TN_ERR_GRAD,
        "backward: the gradient of the leaf %s lives where tn_grad_set said and is added to in "
        "place, so it has no history as create_graph wants; use tn_backward_wrt, or "
        "tn_grad_set(leaf, NULL) before",
        text);
    return false;
}

/* In place: its owner may hold it. */
static bool add_to_leaf(tni_task *task, tn_tensor *leaf, tn_tensor *grad) {
    if (task->create && tni_leaf_placed(leaf)) return refuse_history(leaf, grad);
    if (leaf->grad)
        return task->create ? tni_flow_add(task, &leaf->grad, grad)
                            : add_into(task, leaf->grad, grad);
    leaf->grad = own(grad, task->create);
    return leaf->grad != NULL;
}

/* Held meanwhile: if everybody else lets go of the leaf, the gradient goes here. */
bool tni_flow_to_leaf(tni_task *task, tn_tensor *leaf, tn_tensor *grad) {
    tni_tensor_retain(leaf);
    tni_leaf_lock(leaf);
    const bool ok = add_to_leaf(task, leaf, grad);
    tni_leaf_unlock(leaf);
    tni_tensor_release(leaf);
    return ok;
}

/* ---- Out of a derivative -------------------------------------------------------------------- */

static bool same_sizes(const tn_tensor *t, const tni_slot *s) {
    if (t->rank != s->rank) return false;
    for (int32_t i = 0; i < s->rank; i++)
        if (t->sizes[i] != s->dims[i]) return false;
    return true;
}

static void replace(tni_slot *s, tn_tensor *t) {
    tn_tensor *old = s->grad;
    s->grad = t;
    tni_tensor_release(old);
}

/* A number becomes a tensor full of it. */
static bool spread(tni_slot *s) {
    tn_meta m;
    tni_slot_meta(s, &m);
    tn_tensor *t = tni_tensor_new(s->dtype, m.rank, m.sizes, tni_place_current(s->place));
    if (!t) return false;
    if (tni_core_copy_into(t, s->grad)) {
        tni_tensor_release(t);
        return false;
    }
    replace(s, t);
    return true;
}

bool tni_flow_fit(tni_slot *s) {
    if ((s->grad->flags & TNI_WRAPPED) && !(s->grad->flags & TNI_REQUIRES_GRAD) &&
        s->grad->rank == 0)
        return spread(s);
    if (!same_sizes(s->grad, s)) {
        tn_tensor *t = tni_core_sum_to(s->grad, s->dims, s->rank);
        if (!t) return false;
        tni_tensor_retain(t);
        replace(s, t);
    }
    if (tn_dtype_is(s->grad->dtype, s->dtype)) return true;
    tn_tensor *t = tni_core_to(s->grad, s->dtype);
    if (!t) return false;
    tni_tensor_retain(t);
    replace(s, t);
    return true;
}

/* ---- Of the right kind ----------------------------------------------------------------------- */

static bool same_shape(const tn_tensor *a, const tn_tensor *b) {
    return a->rank == b->rank &&
           (!a->rank || !memcmp(a->sizes, b->sizes, (size_t)a->rank * sizeof *a->sizes));
}

bool tni_flow_fits(const char *where, const char *what, const tn_tensor *grad, const char *of,
                   const tn_tensor *t) {
    char want[256], have[256];
    const tn_status code = !same_shape(t, grad)                  ? TN_ERR_SHAPE
                           : !tn_dtype_is(t->dtype, grad->dtype) ? TN_ERR_DTYPE
                           : !tni_same_device(t->storage->place, grad->storage->place)
                               ? TN_ERR_DEVICE
                               : TN_OK;
    if (code == TN_OK) return true;
    tni_tensor_text(t, want, sizeof want);
    tni_tensor_text(grad, have, sizeof have);
    tn_raise(code, "%s: %s is %s, but %s is %s%s; they must agree in shape, dtype and device",
             where, what, have, of, want, code == TN_ERR_DEVICE ? " on another device" : "");
    return false;
}
