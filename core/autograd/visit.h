/* visit.h - functions of the program while the library runs them: hooks, derivatives,
 * decompositions, functions to differentiate.
 *
 * Invariant: what such a function changes of its thread ends with it. Modes are put back,
 * saved-tensor hooks it left behind are popped, and scopes and saved-tensor hooks from further out
 * are out of its reach. Scopes it left open end with the one around it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_VISIT_H
#define TENON_AUTOGRAD_VISIT_H

#include "core/autograd/saved.h"
#include "core/base/state.h"

typedef struct tni_visit { /* the thread before it */
    bool grad_enabled, deterministic, anomaly;
    int32_t max_threads, pin;
    tn_device device;
    tn_generator *generator;
    struct tni_saved_set *saved, *saved_floor;
    uint64_t scope_floor, scope_depth;
} tni_visit;

/* Inline: every derivative is one. */
static inline tni_visit tni_visit_begin(void) {
    tni_state *st = tni_state_get();
    const tni_visit v = {.grad_enabled = st->grad_enabled,
                         .deterministic = st->deterministic,
                         .anomaly = st->anomaly,
                         .max_threads = st->max_threads,
                         .pin = st->pin,
                         .device = st->device,
                         .generator = st->generator,
                         .saved = st->saved,
                         .saved_floor = st->saved_floor,
                         .scope_floor = st->scope_floor,
                         .scope_depth = st->scope_depth};
    st->saved_floor = st->saved;
    st->scope_floor = st->scope_depth;
    return v;
}

static inline void tni_visit_end(const tni_visit *v) {
    tni_state *st = tni_state_get();
    if (st->saved != st->saved_floor) tni_saved_unwind(st->saved, st->saved_floor);
    st->grad_enabled = v->grad_enabled;
    st->deterministic = v->deterministic;
    st->anomaly = v->anomaly;
    st->max_threads = v->max_threads;
    st->pin = v->pin;
    st->device = v->device;
    st->generator = v->generator;
    st->saved = v->saved;
    st->saved_floor = v->saved_floor;
    st->scope_floor = v->scope_floor;
}

/* Closes scopes until `depth` are open; t moves out of them. NULL + error if t is stale. */
tn_tensor *tni_scope_return(uint64_t depth, tn_tensor *t);

#endif
