/* hooks.h - functions of the program that backward calls: on gradients, nodes and leaves.
 *
 * Hooks of a tensor that an op made belong to its node, and outlive the tensor. Those of a leaf
 * belong to the leaf, whose gradients are gathered for them (gather.h). Invariants: a hook runs in a
 * scope of its own, on the stream of its gradient, and what it fails with ends the pass; lists are
 * read and changed under a lock, and a hook is copied before it runs.
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

/* A pass begins: which hooks it runs, and whether leaves have any. */
void tni_hooks_begin(struct tni_task *);

/* Before node n runs: its results' gradients may be exchanged. After: its arguments'. False +
 * error. Only for nodes with hooks. */
bool tni_hooks_before(struct tni_task *, tni_node *n);
bool tni_hooks_after(struct tni_task *, tni_node *n);

/* The gradient of a leaf in this pass is whole: its hooks may exchange it; a reference moves. Then,
 * when it was added to what was there. False + error. */
bool tni_hooks_of_leaf(struct tni_task *, tn_tensor *leaf, tn_tensor **grad);
bool tni_hooks_accumulated(struct tni_task *, tn_tensor *leaf);

#endif
