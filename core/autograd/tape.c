/* tape.c - recording: which calls, what in-place writes are allowed, and who gets the new history.
 *
 * Invariants: a refused call changed nothing; results are kept at the
 * version they have after the call; only visible floating results get history.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/tape.h"

#include "core/autograd/anomaly.h"
#include "core/autograd/history.h"
#include "core/autograd/node.h"
#include "core/autograd/region.h"
#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/dispatch/registry.h"
#include "core/schema/schema.h"

bool tni_tape_wanted(const tn_value *args, uint32_t n_args) {
    if (!tni_state_get()->grad_enabled) return false;
    for (uint32_t i = 0; i < n_args; i++)
        if (tni_history_wanted_of(&args[i])) return true;
    return false;
}

/* ---- In place ------------------------------------------------------------------------------- */

static bool refuse(const tni_op *op, uint32_t param, const char *what, const char *fix) {
    tn_raise(TN_ERR_GRAD, "%s: '%s' %s, so it cannot be changed in place while recording; %s",
             op->schema.name, op->schema.params[param].name, what, fix);
    return false;
}

static bool is_asking_leaf(const tn_tensor *t) {
    return (t->flags & TNI_REQUIRES_GRAD) && !t->node;
}

static bool may_change(const tni_op *op, uint32_t param, tn_tensor *t) {
    static const char *const quiet =
        "turn grad mode off around the call (tn_set_grad_enabled(false)), or "
        "use the op without underscore";
    static const char *const clone = "change a clone of it, or the tensor it is a view of";
    tn_meta m;
    if (!tni_history_refresh(t)) return false;
    tni_tensor_meta(t, &m);
    if (tni_overlaps(m.sizes, m.strides, m.rank))
        return refuse(op, param,
                      "has elements that share memory (it is expanded or overlaps itself)",
                      "change a clone of it");
    if (t->flags & TNI_MULTI_VIEW)
        return refuse(op, param, "is one of several views made by one op", clone);
    if (t->flags & TNI_NO_GRAD_VIEW)
        return refuse(op, param, "is a view made with grad mode off of a tensor that requires grad",
                      "make the view with grad mode on, or detach it");
    if (is_asking_leaf(t)) return refuse(op, param, "is a leaf that requires grad", quiet);
    if (t->base && is_asking_leaf(t->base))
        return refuse(op, param, "is a view of a leaf that requires grad", quiet);
    return true;
}

typedef struct targets { /* the tensors of one argument */
    tn_tensor *const *list;
    uint32_t n;
} targets;

static targets targets_of(const tn_value *arg) {
    if (arg->tag == TN_TAG_TENSOR) return (targets){&arg->tensor, 1};
    if (arg->tag == TN_TAG_TENSORS) return (targets){arg->tensors, arg->aux};
    return (targets){NULL, 0};
}

/* A view that knows nothing of what its base depends on. */
static bool hides_history(const tn_tensor *t) {
    return t && t->base && (t->base->flags & TNI_REQUIRES_GRAD);
}

bool tni_tape_may_write(const tni_op *op, const tn_value *args, uint32_t n_args) {
    if (!tni_state_get()->grad_enabled) return true;
    for (uint32_t i = 0; i < n_args; i++) {
        const targets t = op->schema.params[i].mutated ? targets_of(&args[i]) : (targets){NULL, 0};
        for (uint32_t k = 0; k < t.n; k++)
            if (hides_history(t.list[k]) && !may_change(op, i, t.list[k])) return false;
    }
    return true;
}

/* State that is written but not returned, such as running statistics, has no part in gradients. */
static bool is_mere_state(const tni_op *op, uint32_t param, tn_tensor *t) {
    if (!tni_history_wanted(t)) return true;
    return refuse(op, param, "is not a result of the op, and has a history",
                  "detach it, or turn grad mode off around the call (tn_set_grad_enabled(false))");
}

/* Checks every tensor op is going to write; counts those that are views. */
static bool check_targets(const tni_op *op, const tn_value *args, uint32_t n_args,
                          uint32_t *n_views) {
    for (uint32_t i = 0; i < n_args; i++) {
        if (!op->schema.params[i].mutated) continue;
        const bool returned = op->returned_args >> i & 1;
        const targets t = targets_of(&args[i]);
        for (uint32_t k = 0; k < t.n; k++) {
            if (!t.list[k]) continue;
            if (!may_change(op, i, t.list[k])) return false;
            if (!returned && !is_mere_state(op, i, t.list[k])) return false;
            *n_views += returned && t.list[k]->base && tn_dtype_in(t.list[k]->dtype, TN_MASK_FLOAT);
        }
        if (*n_views > 1)
            return refuse(op, i, "is one of several views that would change at once",
                          "change them one by one");
    }
    return true;
}

/* The view that is written makes the node one of its whole base: the gradient that arrives is the
 * base's, and so is the one that leaves for the target. */
static bool add_slices(tni_node *n) {
    uint32_t k = 0;
    while (k < n->n_slots && !(n->slots[k].target && n->slots[k].target->base)) k++;
    if (k == n->n_slots) return true;
    tn_tensor *t = n->slots[k].target;
    tni_edge whole;
    if (!tni_history_edge(t->base, &whole)) return false;
    n->slices = tni_block_get(sizeof *n->slices);
    if (!n->slices) {
        tni_edge_release(&whole);
        tn_raise(TN_ERR_NOMEM, "no memory to record '%s' for backward", n->op->schema.name);
        return false;
    }
    tni_region_of(t->base, t, &n->slices->region);
    n->slices->target = k;
    n->slices->result = 0;
    tni_edge_release(&n->slots[k].edge);
    n->slots[k].edge = whole;
    tni_node_follow(n, &whole);
    return true;
}

tni_node *tni_tape_begin(const tni_op *op, const tn_value *args, uint32_t n_args,
                         const tn_rng *rng) {
    uint32_t n_views = 0;
    if (n_args > op->schema.n_params) n_args = op->schema.n_params;
    if (op->schema.mutates && !check_targets(op, args, n_args, &n_views)) return NULL;
    tni_node *n = tni_node_new(op, args, n_args, rng);
    if (!n) return NULL;
    if ((n_views == 0 || add_slices(n)) && (!tni_tls.anomaly || tni_trace_begin(n, args, n_args)))
        return n;
    tni_node_release(n);
    return NULL;
}

void tni_tape_abandon(tni_node *n) { tni_node_release(n); }

/* ---- After the call ------------------------------------------------------------------------- */

void tni_tape_mutated(tn_tensor *t) {
    atomic_fetch_add_explicit(&t->storage->version, 1, memory_order_acq_rel);
}

static bool is_target(const tni_node *n, const tn_tensor *t) {
    for (uint32_t i = 0; i < n->n_slots; i++)
        if (n->slots[i].target == t) return true;
    return false;
}

/* Until tni_tape_finish returns, nobody else can see n: no atomic arithmetic is needed. */
static void publish(tni_node *n, tn_tensor *t, uint32_t out) {
    const int32_t refs = atomic_load_explicit(&n->refs, memory_order_relaxed);
    atomic_store_explicit(&n->refs, refs + 1, memory_order_relaxed);
    tni_history_attach(t, n, out);
}

/* In place: the target itself, or the base whose part it is, is now made by n. */
static void rewrite(tni_node *n, tn_tensor *t, uint32_t out) {
    const tni_slices *s = n->slices;
    if (!s || n->slots[s->target].target != t) {
        publish(n, t, out);
        return;
    }
    n->slices->result = out;
    publish(n, t->base, out); /* t itself is made a part of it when somebody asks */
}

/* A result of an op that is no view may still lie in memory of a temporary, which the history does
 * not know: it stands for itself then. */
static void settle_base(const tni_node *n, tn_tensor *t) {
    tn_tensor *base = t->base;
    if (!base) return;
    t->flags &= ~(uint32_t)TNI_NO_GRAD_VIEW;
    if (n->op->row.traits & TN_OP_VIEW || base->flags & TNI_REQUIRES_GRAD) return;
    t->base = NULL;
    tni_tensor_release(base);
}

static void attach(tni_node *n, tn_tensor *t, uint32_t out) {
    const uint32_t index = tni_node_result_index(n, out);
    if (!t || !tn_dtype_in(t->dtype, TN_MASK_FLOAT) ||
        n->op->schema.results[index].kind != TNI_VISIBLE)
        return;
    if (n->op->schema.mutates && is_target(n, t)) {
        rewrite(n, t, out);
        return;
    }
    if (t->flags & TNI_REQUIRES_GRAD) return; /* an argument passed through: it has its history */
    settle_base(n, t);
    if ((n->op->row.traits & TN_OP_VIEW) && n->op->schema.results[index].list)
        t->flags |= TNI_MULTI_VIEW;
    publish(n, t, out);
}

static void clear_targets(tni_node *n) {
    for (uint32_t i = 0; i < n->n_slots; i++) n->slots[i].target = NULL;
}

tn_status tni_tape_finish(tni_node *n, tn_tensor *const *results, uint32_t n_results) {
    const bool ok = tni_node_results(n, results, n_results);
    if (ok && n->extra) tni_trace_results(n, results, n_results);
    for (uint32_t i = 0; ok && i < n_results; i++) attach(n, results[i], i);
    if (n->op->schema.mutates) clear_targets(n);
    const int32_t refs = atomic_load_explicit(&n->refs, memory_order_relaxed);
    if (refs > 1)
        atomic_store_explicit(&n->refs, refs - 1, memory_order_relaxed);
    else
        tni_node_release(n);
    return ok ? TN_OK : tn_error();
}

void tni_tape_viewed(tn_tensor *of, tn_tensor *const *views, uint32_t n_views) {
    const tn_tensor *base = of->base ? of->base : of;
    const bool hides = !tni_state_get()->grad_enabled &&
                       ((base->flags & TNI_REQUIRES_GRAD) || tni_history_wanted(of));
    const uint32_t flag = hides || (of->flags & TNI_NO_GRAD_VIEW) ? TNI_NO_GRAD_VIEW : 0;
    for (uint32_t i = 0; i < n_views; i++) {
        views[i]->flags |= flag;
        views[i]->node_version =
            atomic_load_explicit(&views[i]->storage->version, memory_order_acquire);
    }
}
