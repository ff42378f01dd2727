/* hooks.c - see hooks.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/hooks.h"

#include <pthread.h>
#include <string.h>

#include <tenon/hooks.h>

#include "core/autograd/engine.h"
#include "core/autograd/extra.h"
#include "core/autograd/history.h"
#include "core/autograd/leaf.h"
#include "core/autograd/node.h"
#include "core/autograd/streams.h"
#include "core/autograd/visit.h"
#include "core/base/heap.h"
#include "core/tensor/format.h"

typedef enum kind { GRADIENT, BEFORE, AFTER, ACCUMULATED } kind;

typedef struct tni_hook {
    struct tni_hook *next; /* in order of registration */
    uint64_t id;
    kind kind;
    bool on_leaf;
    uint32_t out; /* GRADIENT of a node: which result */
    void *user;
    union {
        tn_grad_hook_fn gradient;
        tn_node_hook_fn node;
        tn_leaf_hook_fn leaf;
    };
} tni_hook;

/* One lock for all lists: it is held for a few instructions, and hooks are few. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t last_id;  /* they grow along a list */
static _Atomic int64_t on_leaves; /* how many hooks leaves have, in all */

static void lock(void) {
    if (!tni_is_forked()) pthread_mutex_lock(&mutex);
}

static void unlock(void) {
    if (!tni_is_forked()) pthread_mutex_unlock(&mutex);
}

static bool is_empty(tni_hook *const *list) { return !__atomic_load_n(list, __ATOMIC_ACQUIRE); }

bool tni_hooks_on(const tni_node *n) {
    const tni_extra *extra = __atomic_load_n(&n->extra, __ATOMIC_ACQUIRE);
    return extra && !is_empty(&extra->hooks);
}

bool tni_hooks_on_leaf(const tn_tensor *t) {
    const tni_leaf *l = __atomic_load_n(&t->as_leaf, __ATOMIC_ACQUIRE);
    return l && !is_empty(&l->hooks);
}

/* ---- Registering ----------------------------------------------------------------------------- */

/* Where t's hooks hang: with its node, or with the leaf, which must ask for a gradient if one is to
 * be added. NULL + error. */
static tni_hook **list_of(tn_tensor *t, const char *where, bool adds) {
    if (tn_error() || !tni_tensor_check(t, where, "tensor") || !tni_history_refresh(t)) return NULL;
    if (t->node) {
        tni_extra *extra = tni_extra_of(t->node);
        return extra ? &extra->hooks : NULL;
    }
    if (adds && !(t->flags & TNI_REQUIRES_GRAD)) {
        tn_raise(TN_ERR_GRAD, "%s: the tensor does not require grad, so no gradient will come",
                 where);
        return NULL;
    }
    tni_leaf *leaf = tni_leaf_of(t);
    return leaf ? &leaf->hooks : NULL;
}

static void append(tni_hook **at, tni_hook *made) {
    lock();
    made->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    atomic_fetch_add_explicit(&on_leaves, made->on_leaf, memory_order_relaxed);
    while (*at) at = &(*at)->next;
    __atomic_store_n(at, made, __ATOMIC_RELEASE);
    unlock();
}

/* NULL if it is not there. */
static tni_hook *take_out(tni_hook **at, uint64_t id) {
    lock();
    while (*at && (*at)->id != id) at = &(*at)->next;
    tni_hook *gone = *at;
    if (gone) __atomic_store_n(at, gone->next, __ATOMIC_RELEASE);
    unlock();
    return gone;
}

static uint64_t add(tn_tensor *t, const char *where, tni_hook hook) {
    if (!hook.gradient) {
        tn_raise(TN_ERR_INVALID, "%s: the function is NULL", where);
        return 0;
    }
    tni_hook **at = list_of(t, where, true), *made = at ? tni_alloc(sizeof *made) : NULL;
    if (!made) {
        if (at) tn_raise(TN_ERR_NOMEM, "%s: no memory for a hook", where);
        return 0;
    }
    *made = hook;
    made->on_leaf = !t->node;
    made->out = t->node ? t->node_out : 0;
    append(at, made);
    return made->id;
}

uint64_t tn_grad_hook(tn_tensor *t, tn_grad_hook_fn fn, void *user) {
    return add(t, "tn_grad_hook", (tni_hook){.kind = GRADIENT, .user = user, .gradient = fn});
}

uint64_t tn_node_hook(tn_tensor *made, bool after, tn_node_hook_fn fn, void *user) {
    if (!tn_error() && tni_tensor_check(made, "tn_node_hook", "tensor") && tn_is_leaf(made))
        tn_raise(TN_ERR_GRAD, "tn_node_hook: the tensor is a leaf, no op made it");
    return add(made, "tn_node_hook",
               (tni_hook){.kind = after ? AFTER : BEFORE, .user = user, .node = fn});
}

uint64_t tn_accumulated_hook(tn_tensor *leaf, tn_leaf_hook_fn fn, void *user) {
    if (!tn_error() && tni_tensor_check(leaf, "tn_accumulated_hook", "leaf") && !tn_is_leaf(leaf))
        tn_raise(TN_ERR_GRAD,
                 "tn_accumulated_hook: the tensor is no leaf, its gradient is not kept");
    return add(leaf, "tn_accumulated_hook",
               (tni_hook){.kind = ACCUMULATED, .user = user, .leaf = fn});
}

static void hook_free(tni_hook *h) {
    atomic_fetch_sub_explicit(&on_leaves, h->on_leaf, memory_order_relaxed);
    tni_free(h);
}

tn_status tn_hook_remove(tn_tensor *t, uint64_t id) {
    tni_hook **at = list_of(t, "tn_hook_remove", false);
    if (!at) return tn_error();
    tni_hook *gone = take_out(at, id);
    if (!gone)
        return tn_raise(TN_ERR_NOTFOUND, "tn_hook_remove: the tensor has no hook %llu",
                        (unsigned long long)id);
    hook_free(gone);
    return TN_OK;
}

void tni_hooks_free(tni_hook *h) {
    for (tni_hook *next; h; h = next) {
        next = h->next;
        hook_free(h);
    }
}

/* ---- Calling --------------------------------------------------------------------------------- */

static bool same_kind(const tn_meta *a, const tn_meta *b) {
    if (a->rank != b->rank || !tn_dtype_is(a->dtype, b->dtype)) return false;
    return memcmp(a->sizes, b->sizes, (size_t)a->rank * sizeof *a->sizes) == 0;
}

/* *grad becomes what a hook returned in its place; a reference moves. slot: whose gradient it
 * is, if *grad may be NULL. False + error. */
static bool exchange(tn_tensor **grad, tn_tensor *with, const tni_slot *slot) {
    char have[256], want[256];
    tn_meta new, old;
    if (tn_error()) return false;
    if (!with || with == *grad) return true;
    if (!tni_tensor_check(with, "hook", "the gradient it returned")) return false;
    tni_tensor_meta(with, &new);
    if (*grad)
        tni_tensor_meta(*grad, &old);
    else
        tni_slot_meta(slot, &old);
    if (!same_kind(&new, &old)) {
        tni_shape_text(&new, have, sizeof have), tni_shape_text(&old, want, sizeof want);
        tn_raise(TN_ERR_SHAPE, "a hook returned a gradient %s in the place of one %s", have, want);
        return false;
    }
    tni_tensor_retain(with);
    tni_tensor_release(*grad);
    *grad = with;
    return true;
}

static bool call_gradient(tni_task *task, const tni_hook *h, tn_tensor **grad) {
    const tn_scope scope = tn_scope_push();
    const tni_visit visit = tni_visit_begin();
    tni_streams_go(&task->streams, *grad);
    tn_tensor *with = h->gradient(h->user, *grad);
    tni_visit_end(&visit);
    const bool ok = exchange(grad, with, NULL);
    tn_scope_pop(scope);
    return ok;
}

static bool call_leaf(tni_task *task, const tni_hook *h, tn_tensor *leaf) {
    const tn_scope scope = tn_scope_push();
    const tni_visit visit = tni_visit_begin();
    const tn_tensor *grad = tn_grad_of(leaf); /* another hook may have forgotten it */
    if (grad) tni_streams_go(&task->streams, grad);
    h->leaf(h->user, leaf);
    tni_visit_end(&visit);
    tn_scope_pop(scope);
    return tn_error() == TN_OK;
}

/* A node hook sees the gradients of all slots, NULL where there is none, and may exchange them. */
static bool call_node(const tni_hook *h, const tni_node *n, tni_slot *slots, uint32_t count) {
    const tn_scope scope = tn_scope_push();
    tn_tensor **grads = tn_scope_alloc((count ? count : 1) * sizeof *grads);
    for (uint32_t i = 0; grads && i < count; i++) grads[i] = slots[i].grad;
    const tni_visit visit = tni_visit_begin();
    if (grads) h->node(h->user, n->op->schema.name, grads, count);
    tni_visit_end(&visit);
    bool ok = grads != NULL;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = slots[i].flags & TNI_SLOT_ABSENT || exchange(&slots[i].grad, grads[i], &slots[i]);
    tn_scope_pop(scope);
    return ok && tn_error() == TN_OK;
}

/* The hooks that were there when the pass began, in order: those that run, and other threads, may
 * change the list. */
typedef struct turn {
    tni_hook *const *list;
    uint64_t newest;
    tni_hook hook; /* a copy of the one whose turn it is */
} turn;

static turn turn_begin(tni_hook *const *list, const tni_task *task) {
    return (turn){.list = list, .newest = task->newest_hook};
}

static bool turn_next(turn *r) {
    lock();
    const tni_hook *h = *r->list;
    while (h && h->id <= r->hook.id) h = h->next;
    const bool more = h && h->id <= r->newest;
    if (more) r->hook = *h;
    unlock();
    return more;
}

void tni_hooks_begin(tni_task *task) {
    task->newest_hook = atomic_load_explicit(&last_id, memory_order_relaxed);
    task->counts = atomic_load_explicit(&on_leaves, memory_order_relaxed) > 0;
}

bool tni_hooks_before(tni_task *task, tni_node *n) {
    for (turn r = turn_begin(&n->extra->hooks, task); turn_next(&r);) {
        tn_tensor **grad = &n->results[r.hook.out].grad;
        if (r.hook.kind == BEFORE && !call_node(&r.hook, n, n->results, n->n_results)) return false;
        if (r.hook.kind == GRADIENT && *grad && !call_gradient(task, &r.hook, grad)) return false;
    }
    return true;
}

bool tni_hooks_after(tni_task *task, tni_node *n) {
    for (turn r = turn_begin(&n->extra->hooks, task); turn_next(&r);)
        if (r.hook.kind == AFTER && !call_node(&r.hook, n, n->slots, n->n_slots)) return false;
    return true;
}

bool tni_hooks_of_leaf(tni_task *task, tn_tensor *leaf, tn_tensor **grad) {
    for (turn r = turn_begin(&leaf->as_leaf->hooks, task); turn_next(&r);)
        if (r.hook.kind == GRADIENT && !call_gradient(task, &r.hook, grad)) return false;
    return true;
}

bool tni_hooks_accumulated(tni_task *task, tn_tensor *leaf) {
    for (turn r = turn_begin(&leaf->as_leaf->hooks, task); turn_next(&r);)
        if (r.hook.kind == ACCUMULATED && !call_leaf(task, &r.hook, leaf)) return false;
    return true;
}
