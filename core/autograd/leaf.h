/* leaf.h - what a leaf has beyond other tensors: edges that lead to it, and hooks.
 *
 * The edges of all nodes hold a leaf with one reference between them, so it can be told whether
 * anybody else does: a scope, a keep, a view, a pass under way. When the last of those lets go,
 * nobody can ask for the leaf's gradient any more, and the gradient goes. One with a history
 * (create_graph) would else live for ever: its edges lead back to the leaf.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_LEAF_H
#define TENON_AUTOGRAD_LEAF_H

#include "core/tensor/grad.h"

struct tni_hook;

typedef struct tni_leaf {
    _Atomic uint64_t edges; /* low half: how many; high half: how often a first one came */
    struct tni_hook *hooks; /* hooks.c */
    /* Under the leaf's lock: */
    struct tni_gathered *gathered; /* one per pass that has counted edges to it */
    bool placed;                   /* tn_grad_set said where its gradient lives */
} tni_leaf;

tni_leaf *tni_leaf_of(tn_tensor *); /* made if need be; NULL + NOMEM */

/* One more edge leads to t. False + error. */
bool tni_leaf_retain_first(tn_tensor *t);
static inline bool tni_leaf_retain(tn_tensor *t) {
    tni_leaf *l = __atomic_load_n(&t->as_leaf, __ATOMIC_ACQUIRE);
    uint64_t edges = l ? atomic_load_explicit(&l->edges, memory_order_relaxed) : 0;
    while ((uint32_t)edges != 0)
        if (atomic_compare_exchange_weak_explicit(&l->edges, &edges, edges + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    return tni_leaf_retain_first(t);
}
void tni_leaf_release(tn_tensor *t);
/* Under the leaf's lock: does its gradient live where tn_grad_set said? */
bool tni_leaf_placed(const tn_tensor *);

/* Leaves may be shared by threads. */
void tni_leaf_lock(const tn_tensor *);
void tni_leaf_unlock(const tn_tensor *);

#endif
