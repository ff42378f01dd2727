/* leaf.c - leaves: who holds them, their gradients; and the public switches and questions of
 * autograd.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/leaf.h"

#include <pthread.h>

#include "core/autograd/flow.h"
#include "core/autograd/history.h"
#include "core/autograd/hooks.h"
#include "core/autograd/node.h"
#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/dispatch/core_ops.h"
#include "core/tensor/scope.h"
#include "core/tensor/watch.h"

/* ---- Locks: striped by address, since leaves are many and collisions harmless --------------- */

#define FOUR(x) x, x, x, x
static pthread_mutex_t locks[64] = {FOUR(FOUR(FOUR(PTHREAD_MUTEX_INITIALIZER)))};

static pthread_mutex_t *lock_of(const tn_tensor *t) {
    const uintptr_t p = (uintptr_t)t >> 6;
    return &locks[(p ^ p >> 6) & 63];
}

/* A forked child is alone; who held the lock at the fork did not come along. */
void tni_leaf_lock(const tn_tensor *t) {
    if (!tni_is_forked()) pthread_mutex_lock(lock_of(t));
}

void tni_leaf_unlock(const tn_tensor *t) {
    if (!tni_is_forked()) pthread_mutex_unlock(lock_of(t));
}

/* ---- Who holds a leaf ------------------------------------------------------------------------ */

tni_leaf *tni_leaf_of(tn_tensor *t) {
    tni_leaf *have = __atomic_load_n(&t->as_leaf, __ATOMIC_ACQUIRE);
    if (have) return have;
    tni_leaf *made = tni_block_get(sizeof *made);
    if (!made) {
        tn_raise(TN_ERR_NOMEM, "no memory for what leads to a leaf; free memory");
        return NULL;
    }
    *made = (tni_leaf){0, NULL, NULL, false};
    if (__atomic_compare_exchange_n(&t->as_leaf, &have, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return made;
    tni_block_put(made, sizeof *made); /* another thread was first */
    return have;
}

void tni_leaf_free(tni_leaf *l) { /* nothing waits: what waits holds the leaf */
    tni_hooks_free(l->hooks);
    tni_block_put(l, sizeof *l);
}

/* The reference comes before the edges count and goes after, so where there are edges theirs is
 * among t's references. */
bool tni_leaf_retain_first(tn_tensor *t) {
    const uint64_t first = (UINT64_C(1) << 32) + 1;
    tni_leaf *l = tni_leaf_of(t);
    if (!l) return false;
    uint64_t edges = atomic_load_explicit(&l->edges, memory_order_relaxed);
    tni_tensor_retain(t);
    while (!atomic_compare_exchange_weak_explicit(&l->edges, &edges,
                                                  edges + ((uint32_t)edges ? 1 : first),
                                                  memory_order_acq_rel, memory_order_relaxed)) {
    }
    if ((uint32_t)edges != 0) tni_tensor_release(t); /* another thread's was the first */
    return true;
}

void tni_leaf_release(tn_tensor *t) {
    const uint64_t edges = atomic_fetch_sub_explicit(&t->as_leaf->edges, 1, memory_order_acq_rel);
    if ((uint32_t)edges == 1) tni_tensor_release(t);
}

/* Is there one reference beside that of the edges? Other threads come and go: the references are
 * read between two looks at the edges, which must not have been gone meanwhile. */
static bool held_by_edges_and_one(const tn_tensor *t) {
    const tni_leaf *l = __atomic_load_n(&t->as_leaf, __ATOMIC_ACQUIRE);
    const uint64_t before = l ? atomic_load_explicit(&l->edges, memory_order_acquire) : 0;
    if ((uint32_t)before == 0 || atomic_load_explicit(&t->refs, memory_order_acquire) != 2)
        return false;
    const uint64_t after = atomic_load_explicit(&l->edges, memory_order_acquire);
    return (uint32_t)after != 0 && after >> 32 == before >> 32;
}

bool tni_leaf_placed(const tn_tensor *t) {
    const tni_leaf *l = __atomic_load_n(&t->as_leaf, __ATOMIC_ACQUIRE);
    return l && l->placed;
}

static void forget_gradient(tn_tensor *t) {
    tni_leaf_lock(t);
    tn_tensor *grad = t->grad;
    t->grad = NULL;
    if (tni_leaf_placed(t)) t->as_leaf->placed = false;
    tni_leaf_unlock(t);
    tni_tensor_release(grad);
}

/* The gradient goes before this reference does, while the leaf cannot: what its history leads to
 * may be the leaf itself. */
bool tni_leaf_drop(tn_tensor *t) {
    int32_t refs = atomic_load_explicit(&t->refs, memory_order_acquire);
    do {
        if (refs == 2 && held_by_edges_and_one(t)) {
            forget_gradient(t);
            refs = atomic_load_explicit(&t->refs, memory_order_acquire);
        }
        if (refs == 1) return true;
    } while (!atomic_compare_exchange_weak_explicit(&t->refs, &refs, refs - 1, memory_order_acq_rel,
                                                    memory_order_acquire));
    return false;
}

/* ---- Leaves and their gradients -------------------------------------------------------------- */

tn_status tn_set_requires_grad(tn_tensor *t, bool on) {
    if (!tni_tensor_check(t, "tn_set_requires_grad", "tensor") || !tni_history_refresh(t))
        return tn_error();
    if (t->node)
        return tn_raise(
            TN_ERR_GRAD,
            "tn_set_requires_grad: the tensor is the result of '%s', not a leaf; detach it first",
            t->node->op->schema.name);
    if (on && !tn_dtype_in(t->dtype, TN_MASK_FLOAT))
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
    return tni_made(tni_scope_own(d), "tn_detach");
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

/* ---- Memory for gradients -------------------------------------------------------------------- */

tn_status tn_zero_grad(tn_tensor *leaf) {
    if (!tni_tensor_check(leaf, "tn_zero_grad", "leaf")) return tn_error();
    tn_tensor *forgotten = NULL;
    tn_status status = TN_OK;
    tni_leaf_lock(leaf);
    if (tni_leaf_placed(leaf)) {
        status = tni_core_fill(leaf->grad, 0);
    } else {
        forgotten = leaf->grad;
        leaf->grad = NULL;
    }
    tni_leaf_unlock(leaf);
    tni_tensor_release(forgotten);
    return status;
}

/* The bytes between the first and the last element of each. */
static bool share_bytes(const tn_tensor *a, const tn_tensor *b) {
    int64_t low[2], high[2];
    const tn_tensor *const both[] = {a, b};
    if (a->storage != b->storage || a->numel == 0) return false;
    for (int i = 0; i < 2; i++) {
        tni_reach(both[i]->sizes, both[i]->strides, both[i]->rank, &low[i], &high[i]);
        low[i] += both[i]->offset, high[i] += both[i]->offset;
    }
    return low[0] <= high[1] && low[1] <= high[0];
}

/* Raises what is wrong with it. */
static bool may_hold_gradient(tn_tensor *leaf, tn_tensor *view) {
    const char *why = NULL;
    if (!tni_history_refresh(leaf) || !tni_tensor_check(view, "tn_grad_set", "view")) return false;
    if (!tni_flow_fits("tn_grad_set", "the view", view, "the leaf", leaf)) return false;
    if (leaf->node)
        why = "the tensor is no leaf, its gradient is not kept";
    else if (!(leaf->flags & TNI_REQUIRES_GRAD))
        why = "the tensor does not require grad, so no gradient will come";
    else if (tni_history_wanted(view))
        why = "the view requires grad; detach it";
    else if (tni_overlaps(view->sizes, view->strides, view->rank))
        why = "several elements of the view share memory (it is expanded or overlaps itself)";
    else if (share_bytes(leaf, view))
        why = "the view lies in the leaf's own memory";
    if (why) tn_raise(TN_ERR_GRAD, "tn_grad_set: %s", why);
    return !why;
}

tn_status tn_grad_set(tn_tensor *leaf, tn_tensor *view) {
    if (!tni_tensor_check(leaf, "tn_grad_set", "leaf")) return tn_error();
    if (!view) return forget_gradient(leaf), TN_OK;
    tni_leaf *l = may_hold_gradient(leaf, view) ? tni_leaf_of(leaf) : NULL;
    if (!l) return tn_error();
    tni_tensor_retain(view);
    tni_leaf_lock(leaf);
    tn_tensor *old = leaf->grad;
    leaf->grad = view;
    l->placed = true;
    tni_leaf_unlock(leaf);
    tni_tensor_release(old);
    return TN_OK;
}
