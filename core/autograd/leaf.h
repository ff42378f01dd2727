/* leaf.h - what a leaf has beyond other tensors: edges that lead to it, and hooks.
 *
 * The edges of all nodes hold a leaf with one reference between them, so it can be told whether
 * anybody else does: a scope, a keep, a view, a pass under way. When the last of those lets go,
 * nobody can ask for the leaf's gradient any more, and the gradient goes. One with a history
 * (create_graph) would else live for ever: its edges lead back to the leaf.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_LEAF_H
#define TENON_AUTOGRAD_LEAF_H

#include "core/tensor.h"

struct tni_hook;

typedef struct tni_leaf {
    _Atomic int64_t edges;
    struct tni_hook *hooks;  /* hooks.c */
    struct pending *waiting; /* one per pass that has reached the leaf; under the leaf's lock */
} tni_leaf;

tni_leaf *tni_leaf_of(tn_tensor *); /* made if need be; NULL + NOMEM */
void tni_leaf_free(tni_leaf *);

/* One more edge leads to t. False + error. */
bool tni_leaf_retain_first(tn_tensor *t);
static inline bool tni_leaf_retain(tn_tensor *t) {
    tni_leaf *l = __atomic_load_n(&t->as_leaf, __ATOMIC_ACQUIRE);
    if (!l) return tni_leaf_retain_first(t);
    if (atomic_fetch_add_explicit(&l->edges, 1, memory_order_relaxed) == 0) tni_tensor_retain(t);
    return true;
}
void tni_leaf_release(tn_tensor *t);
/* Drops a reference that no edge holds; true if it was the last of all. */
bool tni_leaf_drop(tn_tensor *t);

/* Leaves may be shared by threads. */
void tni_leaf_lock(const tn_tensor *);
void tni_leaf_unlock(const tn_tensor *);

#endif
