/* history.c - what a tensor knows of the node that made it.
 *
 * Invariant: a view whose storage has not changed since its node was recorded keeps that node;
 * after an in-place write somewhere under the same base, the view is a part of whatever the base is
 * now, and its node is made again when somebody asks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/history.h"

#include <pthread.h>

#include "core/autograd/leaf.h"
#include "core/autograd/region.h"

static pthread_mutex_t refreshing =
    PTHREAD_MUTEX_INITIALIZER; /* readers of one view may be several threads */

static uint32_t version_of(const tn_tensor *t) {
    return atomic_load_explicit(&t->storage->version, memory_order_acquire);
}

static bool is_stale(const tn_tensor *t) {
    if (!t->base || !t->base->node || t->flags & TNI_NO_GRAD_VIEW) return false;
    if (__atomic_load_n(&t->node_version, __ATOMIC_ACQUIRE) == version_of(t)) return false;
    return t->node || !(t->flags & TNI_REQUIRES_GRAD); /* else a leaf by its owner's wish */
}

bool tni_history_wanted(tn_tensor *t) { return (t->flags & TNI_REQUIRES_GRAD) || is_stale(t); }

/* t takes over a reference to node; returns the old one, to be released. */
static tni_node *swap_node(tn_tensor *t, tni_node *node, uint32_t out) {
    tni_node *old = t->node;
    t->node = node;
    t->node_out = out;
    __atomic_fetch_or(&t->flags, TNI_REQUIRES_GRAD, __ATOMIC_RELAXED);
    if (t->base) __atomic_store_n(&t->node_version, version_of(t), __ATOMIC_RELEASE);
    return old;
}

bool tni_history_wanted_of(const tn_value *v) {
    if (v->tag == TN_TAG_TENSOR) return v->tensor && tni_history_wanted(v->tensor);
    for (uint32_t i = 0; v->tag == TN_TAG_TENSORS && i < v->aux; i++)
        if (v->tensors[i] && tni_history_wanted(v->tensors[i])) return true;
    return false;
}

void tni_history_attach(tn_tensor *t, tni_node *node, uint32_t out) {
    tni_node_release(swap_node(t, node, out));
}

static tni_node *view_node(tn_tensor *base, tn_tensor *view) {
    tni_region region;
    tni_region_of(base, view, &region);
    tni_node *node = tni_region_node(base, &region);
    if (!node || tni_node_results(node, &view, 1)) return node;
    tni_node_release(node);
    return NULL;
}

bool tni_history_attach_view(tn_tensor *base, tn_tensor *view) {
    tni_node *node = view_node(base, view);
    if (!node) return false;
    tni_history_attach(view, node, 0);
    return true;
}

bool tni_history_refresh(tn_tensor *t) {
    if (!is_stale(t)) return true;
    tni_node *node = NULL, *old = NULL;
    bool ok = true;
    const bool alone = tni_is_forked(); /* then nobody is left to let go of the lock */
    if (!alone) pthread_mutex_lock(&refreshing);
    if (is_stale(t)) {
        node = view_node(t->base, t);
        ok = node != NULL;
        if (ok) old = swap_node(t, node, 0);
    }
    if (!alone) pthread_mutex_unlock(&refreshing);
    tni_node_release(old);
    return ok;
}

bool tni_history_edge(tn_tensor *t, tni_edge *out) {
    out->kind = TNI_EDGE_NONE;
    out->out = 0;
    out->node = NULL;
    if (t->base && !tni_history_refresh(t)) return false;
    if (t->node) {
        tni_node_retain(t->node);
        out->kind = TNI_EDGE_NODE;
        out->node = t->node;
        out->out = t->node_out;
    } else if (t->flags & TNI_REQUIRES_GRAD) {
        if (!tni_leaf_retain(t)) return false;
        out->kind = TNI_EDGE_LEAF;
        out->leaf = t;
    }
    return true;
}

void tni_edge_release(tni_edge *e) {
    const tni_edge old = *e;
    e->kind = TNI_EDGE_NONE;
    e->node = NULL;
    if (old.kind == TNI_EDGE_NODE)
        tni_node_release(old.node);
    else if (old.kind == TNI_EDGE_LEAF)
        tni_leaf_release(old.leaf);
}
