/* walk.c - see walk.h. Depth first, the stack threaded through the nodes: nothing recurses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/walk.h"

#include "core/autograd/gather.h"
#include "core/autograd/ready.h"

static bool claim_inputs(tni_task *task) {
    for (int64_t i = 0; i < task->n_inputs; i++) {
        if (task->inputs[i].kind != TNI_EDGE_NODE) continue;
        if (!tni_task_claim(task, task->inputs[i].node)) return false;
        task->inputs[i].node->mark |= TNI_MARK_INPUT;
    }
    return true;
}

/* Puts node n on the stack if it is new; *is_new says so. */
static bool visit(tni_task *task, tni_node *n, tni_node **stack, bool *is_new) {
    if (!tni_task_claim(task, n)) return false;
    *is_new = !(n->mark & TNI_MARK_VISITED);
    if (!*is_new) return true;
    n->mark |= TNI_MARK_VISITED;
    n->heap_next = *stack;
    *stack = n;
    return true;
}

static bool count(tni_task *task, const tni_edge *e) {
    return !task->counts || e->kind != TNI_EDGE_LEAF || !tni_task_needs(task, e) ||
           tni_gathered_expect(task, e->leaf);
}

/* A node is needed if one of its edges is; an edge is looked at again when all behind it is known. */
static bool walk_from(tni_task *task, tni_node *root) {
    tni_node *stack = NULL;
    bool is_new;
    if (!visit(task, root, &stack, &is_new)) return false;
    while (stack) {
        tni_node *n = stack;
        if (n->walk == n->n_slots) {
            stack = n->heap_next;
            n->heap_next = NULL;
            continue;
        }
        const tni_edge *e = &n->slots[n->walk].edge;
        if (e->kind == TNI_EDGE_NODE) {
            if (!visit(task, e->node, &stack, &is_new)) return false;
            if (is_new) continue;
        }
        if (!count(task, e)) return false;
        if (tni_task_needs(task, e)) n->mark |= TNI_MARK_NEEDED;
        n->walk++;
    }
    return true;
}

static void queue_all(tni_task *task) {
    for (tni_node *n = task->claimed; n; n = n->next_claimed) {
        if (!(n->mark & TNI_MARK_VISITED)) continue;
        n->mark |= TNI_MARK_QUEUED;
        tni_ready_push(&task->heap, n);
    }
}

bool tni_walk(tni_task *task, const tni_edge *roots, int64_t n) {
    if (!task->inputs && !task->counts) return true;
    if (!claim_inputs(task)) return false;
    for (int64_t i = 0; i < n; i++)
        if (roots[i].kind == TNI_EDGE_NODE ? !walk_from(task, roots[i].node)
                                           : !count(task, &roots[i]))
            return false;
    if (task->counts) queue_all(task);
    return true;
}
