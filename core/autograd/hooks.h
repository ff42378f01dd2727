/* hooks.h - functions of the program that backward calls: on gradients, nodes and leaves.
 *
 * Hooks of a tensor that an op made belong to its node, and outlive the tensor. Those of a leaf
 * belong to the leaf: its gradients are gathered until the pass ends, so that a hook sees their
 * sum. Invariants: a hook runs in a scope of its own, and what it fails with ends the pass;
 * lists are read and changed under a lock, and a hook is copied before it runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_HOOKS_H
#define TENON_AUTOGRAD_HOOKS_H

#include "core/tensor/tensor.h"

struct tni_hook;
struct tni_task;

void tni_hooks_free(struct tni_hook *); /* the list; NULL is fine */
/* Whether there are any; other threads may add and remove them at the same time. */
bool tni_hooks_on(const tni_node *);
bool tni_hooks_on_leaf(const tn_tensor *);

/* Before node n runs: its results' gradients may be exchanged. After: its arguments'. False +
 * error. Only for nodes with hooks. */
bool tni_hooks_before(tni_node *n);
bool tni_hooks_after(tni_node *n);

/* Takes over a gradient for a leaf that has hooks, until tni_hooks_deliver. False + error. */
bool tni_hooks_gather(struct tni_task *, tn_tensor *leaf, tn_tensor *grad);
/* At the end of a pass: hooks of every gathered leaf, then its gradient. False + error. */
bool tni_hooks_deliver(struct tni_task *);
void tni_hooks_abandon(struct tni_task *); /* of a pass that failed */
/* The gradient of a leaf that tn_backward_wrt asked for: exchanged by the leaf's hooks. */
bool tni_hooks_of_input(tn_tensor *leaf, tn_tensor **grad);

#endif
