/* engine.c - running one backward pass: claim, run, pass on, clean up.
 *
 * Invariants: when a pass ends, well or not, no node it touched holds a gradient or its claim; a
 * kept value is given back as soon as its node has run, unless the graph is retained; nothing
 * recurses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/engine.h"

#include <stdio.h>
#include <string.h>

#include "core/autograd/anomaly.h"
#include "core/autograd/flow.h"
#include "core/autograd/gather.h"
#include "core/autograd/hooks.h"
#include "core/autograd/ready.h"
#include "core/autograd/region.h"
#include "core/autograd/visit.h"
#include "core/autograd/walk.h"
#include "core/base/error.h"
#include "core/dispatch/layers.h"

/* ---- Claims --------------------------------------------------------------------------------- */

bool tni_task_claim(tni_task *task, tni_node *n) {
    tni_task *owner = NULL;
    if (atomic_compare_exchange_strong(&n->task, &owner, task)) {
        n->next_claimed = task->claimed;
        task->claimed = n;
        n->mark = n->walk = 0;
        n->heap_child = n->heap_next = NULL;
        return true;
    }
    if (owner == task) return true;
    tn_raise(TN_ERR_GRAD,
             "backward: the node of '%s' is being run by another backward pass; run passes that "
             "share a part of the "
             "graph one after the other (retain_graph keeps it), or let the threads work on "
             "separate graphs",
             n->op->schema.name);
    return false;
}

static void drop_grads(tni_slot *slots, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        tn_tensor *t = slots[i].grad;
        slots[i].grad = NULL;
        tni_tensor_release(t);
    }
}

/* A pass that ran to its end has left no gradient behind. */
static void release_claims(tni_task *task, bool ended) {
    for (tni_node *n = task->claimed, *next; n; n = next) {
        next = n->next_claimed;
        if (!ended) drop_grads(n->slots, n->n_slots);
        if (!ended) drop_grads(n->results, n->n_results);
        n->next_claimed = n->heap_child = n->heap_next = NULL;
        atomic_store_explicit(&n->task, NULL, memory_order_release);
    }
    task->claimed = NULL;
}

/* ---- What is needed ------------------------------------------------------------------------- */

static bool is_edge(const tni_edge *a, const tni_edge *b) {
    return a->kind == b->kind && a->node == b->node && a->out == b->out;
}

static bool is_input(const tni_task *task, const tni_edge *e) {
    for (int64_t i = 0; i < task->n_inputs; i++)
        if (is_edge(&task->inputs[i], e)) return true;
    return false;
}

bool tni_task_needs(const tni_task *task, const tni_edge *e) {
    if (e->kind == TNI_EDGE_NONE) return false;
    if (!task->inputs) return true;
    if (e->kind == TNI_EDGE_LEAF) return is_input(task, e);
    return e->node->mark & (TNI_MARK_NEEDED | TNI_MARK_INPUT);
}

/* ---- Passing on ----------------------------------------------------------------------------- */

/* Inputs made by the same result share the tensor; it is not written while they do. */
static void give_input(tni_task *task, const tni_edge *e, tn_tensor *grad) {
    for (int64_t i = 0; i < task->n_inputs; i++) {
        if (!is_edge(&task->inputs[i], e)) continue;
        tni_tensor_retain(grad);
        tni_tensor_release(task->input_grads[i]);
        task->input_grads[i] = grad;
    }
}

/* A leaf is reached once per use: the sum is kept with its first place among the inputs. */
static bool add_input(tni_task *task, const tni_edge *e, tn_tensor *grad) {
    int64_t i = 0;
    while (i < task->n_inputs && !is_edge(&task->inputs[i], e)) i++;
    if (i < task->n_inputs) return tni_flow_add(task, &task->input_grads[i], grad);
    tni_tensor_release(grad);
    return true;
}

static void share_leaf_inputs(tni_task *task) {
    for (int64_t i = 0; i < task->n_inputs; i++) {
        const tni_edge *e = &task->inputs[i];
        bool first = e->kind == TNI_EDGE_LEAF && task->input_grads[i];
        for (int64_t k = 0; first && k < i; k++) first = !is_edge(&task->inputs[k], e);
        if (first) give_input(task, e, task->input_grads[i]);
    }
}

/* Takes over grad. */
static bool add_to_leaf(tni_task *task, const tni_edge *e, tn_tensor *grad) {
    return task->inputs ? add_input(task, e, grad) : tni_flow_to_leaf(task, e->leaf, grad);
}

/* All edges that lead to the leaf have delivered. */
static bool complete_leaf(tni_task *task, const tni_edge *e, tni_gathered *g) {
    tn_tensor *grad = g->sum;
    g->sum = NULL;
    if (!grad) return true;
    atomic_store_explicit(&g->running, tni_state_get(), memory_order_relaxed);
    bool ok = tni_hooks_of_leaf(task, e->leaf, &grad);
    if (ok)
        ok = add_to_leaf(task, e, grad);
    else
        tni_tensor_release(grad);
    ok = ok && (task->inputs || tni_hooks_accumulated(task, e->leaf));
    atomic_store_explicit(&g->running, NULL, memory_order_relaxed);
    return ok;
}

/* The edge has delivered, or has nothing to deliver. */
static bool count_edge(tni_task *task, const tni_edge *e) {
    tni_gathered *g = e->kind == TNI_EDGE_LEAF ? tni_gathered_of(task, e->leaf) : NULL;
    return !g || --g->edges || complete_leaf(task, e, g);
}

/* Takes over grad. */
static bool deliver(tni_task *task, const tni_edge *e, tn_tensor *grad) {
    if (!tni_task_needs(task, e)) {
        tni_tensor_release(grad);
        return true;
    }
    if (e->kind == TNI_EDGE_LEAF) {
        tni_gathered *g = task->counts ? tni_gathered_of(task, e->leaf) : NULL;
        return g ? tni_flow_add(task, &g->sum, grad) : add_to_leaf(task, e, grad);
    }
    tni_node *n = e->node;
    if (!tni_task_claim(task, n)) {
        tni_tensor_release(grad);
        return false;
    }
    if (!tni_flow_add(task, &n->results[e->out].grad, grad)) return false;
    if (n->mark & TNI_MARK_QUEUED) return true;
    n->mark |= TNI_MARK_QUEUED;
    tni_ready_push(&task->heap, n);
    return true;
}

/* ---- Running a node ------------------------------------------------------------------------- */

/* A derivative may be the program's own. */
static bool call_derivative(tn_grad_ctx *ctx) {
    const bool told = tni_tls.head & TNI_HEAD_LAYERS;
    const tni_visit visit = tni_visit_begin();
    if (told) tni_layers_derivative(ctx->node->op->schema.name, true);
    tni_node_base(ctx->node)->row.derivative(ctx);
    if (told) tni_layers_derivative(ctx->node->op->schema.name, false);
    tni_visit_end(&visit);
    return !tni_pending();
}

static bool fit_all(tn_grad_ctx *ctx) {
    tni_node *n = ctx->node;
    for (uint32_t i = 0; i < n->n_slots; i++)
        if (n->slots[i].grad && !tni_flow_fit(&n->slots[i])) return false;
    return true;
}

static void set_grad(tni_slot *s, tn_tensor *t) {
    tn_tensor *old = s->grad;
    if (t) tni_tensor_retain(t);
    s->grad = t;
    tni_tensor_release(old);
}

/* The node was an in-place write on a view: its derivative sees only the part of the base's
 * gradient that was written, and what it finds for the target takes that part's place. */
static bool derive_part(tn_grad_ctx *ctx) {
    tni_node *n = ctx->node;
    const tni_slices *s = n->slices;
    tni_slot *target = &n->slots[s->target], *result = &n->results[s->result];
    tn_tensor *whole = result->grad;
    if (whole) {
        tn_tensor *part = tni_region_get(whole, &s->region);
        if (!part) return false;
        tni_tensor_retain(part);
        result->grad = part; /* our reference to whole is in `whole` now */
    }
    bool ok = call_derivative(ctx) && fit_all(ctx);
    if (ok && (whole || target->grad) && tni_task_needs(ctx->task, &target->edge)) {
        tn_tensor *t = tni_region_put(whole, target->grad, &s->region, target->place);
        ok = t != NULL;
        set_grad(target, t);
    }
    tni_tensor_release(whole);
    return ok;
}

static bool derive(tn_grad_ctx *ctx) {
    if (ctx->node->slices) return derive_part(ctx);
    return call_derivative(ctx) && fit_all(ctx);
}

/* With what watches it: anomaly mode, then hooks. */
static bool derive_watched(tn_grad_ctx *ctx) {
    tni_node *n = ctx->node;
    const bool anomaly = tni_tls.anomaly, had_nan = anomaly && tni_anomaly_came_in(n);
    if (!derive(ctx) || (anomaly && !tni_anomaly_check(n, had_nan))) return false;
    return !tni_hooks_on(n) || tni_hooks_after(ctx->task, n);
}

static bool can_run(const tni_node *n) {
    const tn_op *row = &tni_node_base(n)->row;
    if (n->flags & TNI_NODE_CONSUMED)
        tn_raise(TN_ERR_GRAD,
                 "backward a second time through '%s', whose kept values were freed by the first; "
                 "pass retain_graph to "
                 "the first backward",
                 n->op->schema.name);
    else if (!row->derivative)
        tn_raise(TN_ERR_GRAD,
                 "'%s' has no derivative (%s), so there is no gradient for what went into it; "
                 "detach its result",
                 n->op->schema.name, row->no_grad ? row->no_grad : "its row gives none");
    return tni_pending() == TN_OK;
}

/* Puts the node's name before the pending error's text. */
static void explain(const tni_node *n) {
    char text[2048];
    const tn_status code = tni_pending();
    snprintf(text, sizeof text, "%s", tn_error_message());
    tn_clear_error();
    tn_raise(code, "in the backward of '%s': %s", n->op->schema.name, text);
}

static void capture(tni_task *task, tni_node *n) {
    for (uint32_t i = 0; i < n->n_results; i++) {
        const tni_edge e = {.node = n, .out = i, .kind = TNI_EDGE_NODE};
        if (n->results[i].grad) give_input(task, &e, n->results[i].grad);
    }
}

/* The gradients of n's arguments are in their slots afterwards; everything else is given back. */
static bool run_derivative(tni_task *task, tni_node *n) {
    if (!can_run(n)) return false;
    tn_grad_ctx ctx = {n, task};
    const tn_scope scope = tn_scope_push();
    const bool ok = !tni_pending() && derive_watched(&ctx);
    tn_scope_pop(scope);
    if (!ok) {
        explain(n);
        return false;
    }
    drop_grads(n->results, n->n_results); /* now: what was passed through is the receiver's alone */
    if (!task->retain) tni_node_forget(n);
    return true;
}

static bool run_node(tni_task *task, tni_node *n) {
    tni_streams_enter(&task->streams, n);
    if (tni_hooks_on(n) && !tni_hooks_before(task, n)) {
        explain(n);
        return false;
    }
    if (n->mark & TNI_MARK_INPUT) capture(task, n);
    if (task->inputs && !(n->mark & TNI_MARK_NEEDED)) {
        drop_grads(n->results, n->n_results);
        return true;
    }
    return run_derivative(task, n);
}

/* Gradients of the arguments of n go on, if there are any. */
static bool pass_on(tni_task *task, tni_node *n) {
    for (uint32_t i = 0; i < n->n_slots; i++) {
        const tni_edge *e = &n->slots[i].edge;
        tn_tensor *grad = n->slots[i].grad;
        n->slots[i].grad = NULL;
        if (grad && !deliver(task, e, grad)) return false;
        if (task->counts && !count_edge(task, e)) return false;
    }
    return true;
}

/* A pass that counts has queued all nodes beforehand: not every one gets something. */
static bool is_reached(const tni_node *n) {
    for (uint32_t i = 0; i < n->n_results; i++)
        if (n->results[i].grad) return true;
    return false;
}

static bool step(tni_task *task, tni_node *n) {
    const bool runs = !task->counts || is_reached(n);
    return (!runs || run_node(task, n)) && pass_on(task, n);
}

static bool start(tni_task *task, const tni_edge *roots, tn_tensor *const *starts, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        tni_tensor_retain(starts[i]);
        if (!deliver(task, &roots[i], starts[i])) return false;
        if (task->counts && !count_edge(task, &roots[i])) return false;
    }
    return true;
}

tn_status tni_task_run(tni_task *task, const tni_edge *roots, tn_tensor *const *starts, int64_t n) {
    tni_streams_begin(&task->streams);
    tni_hooks_begin(task);
    bool ok = tni_walk(task, roots, n) && start(task, roots, starts, n);
    for (tni_node *top; ok && (top = tni_ready_pop(&task->heap)) != NULL;) ok = step(task, top);
    if (ok) share_leaf_inputs(task);
    tni_gathered_end(task);
    release_claims(task, ok);
    tni_streams_end(&task->streams);
    return ok ? TN_OK : tni_pending();
}
