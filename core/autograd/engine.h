/* engine.h - one backward pass; for core/autograd only.
 *
 * Invariants: a node belongs to at most one pass at a time (its `task`); the node with the greatest
 * sequence number runs first, so all gradients it will ever get have arrived: whoever could still
 * send one is newer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_ENGINE_H
#define TENON_AUTOGRAD_ENGINE_H

#include "core/autograd/streams.h"

typedef struct tni_task {
    tni_node *heap;    /* ready, newest on top */
    tni_node *claimed; /* all nodes this pass has touched */
    bool retain;
    bool create;                   /* record the backward */
    bool counts;                   /* some leaf has hooks: edges to leaves are counted (gather.h) */
    uint64_t newest_hook;          /* later ones begin with the next pass */
    struct tni_gathered *gathered; /* of leaves with hooks */
    /* tn_backward_wrt: whose gradients are wanted; NULL = of all leaves */
    const tni_edge *inputs;
    tn_tensor **input_grads; /* owned */
    int64_t n_inputs;
    tni_streams streams;
} tni_task;

struct tn_grad_ctx {
    tni_node *node;
    tni_task *task;
};

bool tni_task_claim(tni_task *, tni_node *); /* false + GRAD if another pass is at it */
bool tni_task_needs(const tni_task *,
                    const tni_edge *); /* will anybody read this edge's gradient? */
/* Runs a prepared task from its roots; the caller keeps its references to starts and roots. */
tn_status tni_task_run(tni_task *, const tni_edge *roots, tn_tensor *const *starts, int64_t n);

#endif
