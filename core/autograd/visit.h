/* visit.h - functions of the program while the library runs them: hooks, derivatives,
 * decompositions, functions to differentiate.
 *
 * Invariant: what such a function changes of its thread ends with it. Modes are put back,
 * saved-tensor hooks it left behind are popped, and scopes and saved-tensor hooks from further out
 * are out of its reach. Scopes it left open end with the one around it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_VISIT_H
#define TENON_AUTOGRAD_VISIT_H

#include "core/base/state.h"

typedef struct tni_visit { /* the thread before it */
    bool grad_enabled, deterministic, anomaly;
    uint8_t math;
    int32_t max_threads, pin;
    struct tn_stream *place;
    tn_generator *generator;
    struct tni_saved_set *saved, *saved_floor;
    struct tni_layer *layer_floor;
    uint64_t scope_floor, scope_depth;
} tni_visit;

/* Inline: every derivative is one. */
static inline tni_visit tni_visit_begin(void) {
    tni_state *st = tni_state_get();
    const tni_visit v = {.grad_enabled = st->grad_enabled,
                         .deterministic = st->deterministic,
                         .math = st->math,
                         .anomaly = st->anomaly,
                         .max_threads = st->max_threads,
                         .pin = st->pin,
                         .place = st->place,
                         .generator = st->generator,
                         .saved = st->saved,
                         .saved_floor = st->saved_floor,
                         .layer_floor = st->layering.floor,
                         .scope_floor = st->scope_floor,
                         .scope_depth = st->scope_depth};
    st->saved_floor = st->saved;
    st->layering.floor = st->layering.all;
    st->scope_floor = st->scope_depth;
    return v;
}

/* Lets go what saved-tensor hooks and layers the visit left behind. */
void tni_visit_unwind(tni_state *);

static inline void tni_visit_end(const tni_visit *v) {
    tni_state *st = tni_state_get();
    if (st->saved != st->saved_floor || st->layering.all != st->layering.floor)
        tni_visit_unwind(st);
    st->grad_enabled = v->grad_enabled;
    st->deterministic = v->deterministic;
    st->math = v->math;
    st->anomaly = v->anomaly;
    st->max_threads = v->max_threads;
    st->pin = v->pin;
    st->place = v->place;
    st->generator = v->generator;
    st->saved = v->saved;
    st->saved_floor = v->saved_floor;
    st->layering.floor = v->layer_floor;
    st->scope_floor = v->scope_floor;
}

#endif
