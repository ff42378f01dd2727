/* gather.c - see gather.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/gather.h"

#include "core/autograd/hooks.h"
#include "core/autograd/leaf.h"
#include "core/tensor/format.h"

static void refuse(const tn_tensor *leaf) {
    char text[256];
    tni_tensor_text(leaf, text, sizeof text);
    tn_raise(
        TN_ERR_GRAD,
        "backward: a hook of the leaf %s runs, and began a pass that leads to that leaf again; "
        "begin it when the first pass has ended",
        text);
}

/* Under the leaf's lock. NULL without an error: no memory. */
static tni_gathered *gathered_new(tni_task *task, tn_tensor *leaf) {
    tni_gathered *g = tni_block_get(sizeof *g);
    if (!g) return NULL;
    *g = (tni_gathered){
        .next_of_leaf = leaf->as_leaf->gathered,
        .next_of_task = task->gathered,
        .task = task,
        .leaf = leaf,
    };
    tni_tensor_retain(leaf);
    leaf->as_leaf->gathered = task->gathered = g;
    return g;
}

bool tni_gathered_expect(tni_task *task, tn_tensor *leaf) {
    if (!tni_hooks_on_leaf(leaf)) return true;
    tni_gathered *mine = NULL;
    bool recurses = false;
    tni_leaf_lock(leaf);
    for (tni_gathered *g = leaf->as_leaf->gathered; g; g = g->next_of_leaf) {
        if (g->task == task) mine = g;
        recurses |= atomic_load_explicit(&g->running, memory_order_relaxed) == &tni_tls;
    }
    if (!mine && !recurses) mine = gathered_new(task, leaf);
    tni_leaf_unlock(leaf);
    if (mine) mine->edges++; /* this pass alone changes it */
    if (recurses)
        refuse(leaf);
    else if (!mine)
        tn_raise(TN_ERR_NOMEM, "backward: no memory for the gradient of a leaf with hooks");
    return mine && !recurses;
}

tni_gathered *tni_gathered_of(const tni_task *task, tn_tensor *leaf) {
    if (!__atomic_load_n(&leaf->as_leaf, __ATOMIC_ACQUIRE)) return NULL;
    tni_leaf_lock(leaf);
    tni_gathered *g = leaf->as_leaf->gathered;
    while (g && g->task != task) g = g->next_of_leaf;
    tni_leaf_unlock(leaf);
    return g;
}

static void let_go(tni_gathered *g) {
    tni_leaf_lock(g->leaf);
    tni_gathered **at = &g->leaf->as_leaf->gathered;
    while (*at != g) at = &(*at)->next_of_leaf;
    *at = g->next_of_leaf;
    tni_leaf_unlock(g->leaf);
    tni_tensor_release(g->sum);
    tni_tensor_release(g->leaf);
    tni_block_put(g, sizeof *g);
}

void tni_gathered_end(tni_task *task) {
    for (tni_gathered *g; (g = task->gathered) != NULL;) {
        task->gathered = g->next_of_task;
        let_go(g);
    }
}
