/* saved.c - see saved.h.
 *
 * Invariant: hooks run with hooks and grad mode off, in a scope of their own; what pack gave is
 * handed to drop exactly once, whatever else went wrong.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/saved.h"

#include <string.h>

#include <tenon/hooks.h>

#include "core/autograd/extra.h"
#include "core/autograd/visit.h"
#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/tensor/format.h"

typedef struct tni_saved_set {
    _Atomic int32_t refs; /* the stack, and nodes */
    tn_saved_hooks hooks;
    struct tni_saved_set *outer;
} tni_saved_set;

/* What dies after this may still call the program. */
static void thread_end(tni_state *st) {
    tni_saved_unwind(st->saved, NULL);
    st->saved = st->saved_floor = NULL;
}

tn_status tn_saved_hooks_push(const tn_saved_hooks *hooks) {
    if (tn_error()) return tn_error();
    if (!hooks || !hooks->pack || !hooks->unpack)
        return tn_raise(TN_ERR_INVALID, "tn_saved_hooks_push: pack and unpack must be given");
    tni_saved_set *set = tni_alloc(sizeof *set);
    if (!set) return tn_raise(TN_ERR_NOMEM, "tn_saved_hooks_push: no memory");
    atomic_init(&set->refs, 1);
    set->hooks = *hooks;
    tni_state_at_end(TNI_END_PROGRAM, thread_end);
    set->outer = tni_state_get()->saved;
    tni_tls.saved = set;
    return TN_OK;
}

tn_status tn_saved_hooks_pop(void) {
    tni_saved_set *set = tni_state_get()->saved;
    if (set == tni_tls.saved_floor)
        return tn_raise(TN_ERR_INVALID,
                        set ? "tn_saved_hooks_pop: none were pushed in the function "
                              "that pops; leave the others to who pushed them"
                            : "tn_saved_hooks_pop: none were pushed");
    tni_tls.saved = set->outer;
    tni_saved_release(set);
    return tn_error();
}

void tni_saved_release(tni_saved_set *set) {
    if (set && atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1) tni_free(set);
}

void tni_saved_unwind(tni_saved_set *set, const tni_saved_set *until) {
    for (tni_saved_set *outer; set && set != until; set = outer) {
        outer = set->outer;
        tni_saved_release(set);
    }
}

typedef struct quiet { /* around a hook */
    tn_scope scope;
    tni_visit visit;
} quiet;

static quiet quiet_begin(void) {
    const tn_scope scope = tn_scope_push();
    const quiet q = {scope, tni_visit_begin()};
    tni_tls.saved = tni_tls.saved_floor = NULL;
    tni_tls.grad_enabled = false;
    return q;
}

static void quiet_end(quiet q, tn_tensor *kept) {
    tni_visit_end(&q.visit);
    if (kept)
        tn_scope_pop_with(q.scope, &kept, 1);
    else
        tn_scope_pop(q.scope);
}

/* The set a node's values are with; the first one makes the reference. */
static tni_saved_set *set_of(tni_node *n) {
    tni_extra *extra = tni_extra_of(n);
    if (extra && !extra->saved) {
        extra->saved = tni_tls.saved;
        atomic_fetch_add_explicit(&extra->saved->refs, 1, memory_order_relaxed);
    }
    return extra ? extra->saved : NULL;
}

bool tni_saved_pack(tni_node *n, tni_slot *s, tn_tensor *t) {
    tni_saved_set *set = set_of(n);
    if (!set) return false;
    const quiet q = quiet_begin();
    tn_tensor *plain = tn_detach(t);
    if (plain && !tn_error()) {
        s->kept->packed = set->hooks.pack(set->hooks.user, plain);
        /* With an error, too: the node will not be, and drops it. NULL is nothing then. */
        if (!tn_error() || s->kept->packed) s->flags |= TNI_SLOT_PACKED;
    }
    quiet_end(q, NULL);
    return tn_error() == TN_OK;
}

static bool is_what_was_packed(const tn_tensor *t, const tni_slot *s) {
    return t->rank == s->rank && tn_dtype_is(t->dtype, s->dtype) &&
           memcmp(t->sizes, s->dims, (size_t)s->rank * sizeof *s->dims) == 0 &&
           tni_same_device(t->storage->place, s->place);
}

tn_tensor *tni_saved_unpack(const tni_node *n, const tni_slot *s, const char *name) {
    const tn_saved_hooks *hooks = &n->extra->saved->hooks;
    const quiet q = quiet_begin();
    tn_tensor *t = hooks->unpack(hooks->user, s->kept->packed);
    if (!tn_error() && tni_tensor_check(t, "saved-tensor hook", "what unpack returned") &&
        !is_what_was_packed(t, s)) {
        char have[256], want[256];
        tn_meta m;
        tni_tensor_meta(t, &m), tni_shape_text(&m, have, sizeof have);
        tni_slot_meta(s, &m), tni_shape_text(&m, want, sizeof want);
        tn_raise(TN_ERR_SHAPE, "saved-tensor hook: '%s' was packed as %s, and unpacked as %s", name,
                 want, have);
    }
    t = tn_error() ? NULL : tn_detach(t); /* a header of our own: history may be given to it */
    quiet_end(q, t);
    return t;
}

void tni_saved_drop(const tni_node *n, tni_slot *s) {
    const tn_saved_hooks *hooks = &n->extra->saved->hooks;
    void *packed = s->kept->packed;
    s->flags &= (uint16_t)~TNI_SLOT_PACKED;
    s->kept->packed = NULL;
    if (!hooks->drop) return;
    const tni_error_frame outer = tni_error_frame_enter();
    const quiet q = quiet_begin();
    hooks->drop(hooks->user, packed);
    quiet_end(q, NULL);
    tni_error_frame_leave(outer);
}
