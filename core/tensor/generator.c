/* generator.c - generators: a seed and how far its stream has been handed out.
 *
 * Invariants: ranges handed out never overlap between two seedings; a generator that was freed
 * answers STALE. One lock serves all: it is held for a few instructions, once per random op.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/tensor/generator.h"

#include <pthread.h>

#include "core/base/state.h"
#include "core/memory/slab.h"

enum { LIVE = 0x67656e72, FREED = 0x66726565 };

struct tn_generator {
    uint32_t state; /* LIVE or FREED */
    uint32_t reserved;
    tn_rng next;
};

static tni_slab slab = {(uint32_t)sizeof(tn_generator) | TNI_SLAB_PERMANENT, "generator", NULL};
static tn_generator process_default = {LIVE, 0, {0, 0}};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static bool refuse(const char *where) {
    tn_raise(TN_ERR_STALE,
             "%s%sthe generator was freed, or is none; make one with tn_generator_new", where,
             where[0] ? ": " : "");
    return false;
}

tn_generator *tn_generator_new(uint64_t seed) {
    if (tn_error() || tni_forked()) return NULL;
    tn_generator *g = tni_slab_get(&slab);
    if (!g) {
        tn_raise(TN_ERR_NOMEM, "tn_generator_new: no memory for a generator; free memory");
        return NULL;
    }
    pthread_mutex_lock(&mutex);
    *g = (tn_generator){LIVE, 0, {seed, 0}};
    pthread_mutex_unlock(&mutex);
    return g;
}

void tn_generator_free(tn_generator *g) {
    if (!g || tni_is_forked()) return;
    pthread_mutex_lock(&mutex);
    const bool live = g->state == LIVE;
    if (live) g->state = FREED; /* else it is not ours to write */
    pthread_mutex_unlock(&mutex);
    if (live) {
        tni_slab_put(&slab, g);
    } else {
        refuse("tn_generator_free");
    }
}

/* NULL: the thread's, else the process's. */
static tn_generator *current(tn_generator *g) {
    if (g) return g;
    tn_generator *mine = tni_state_get()->generator;
    return mine ? mine : &process_default;
}

/* Exchanges g's position with *next under the lock, or only reads it. False + STALE. */
static bool position(tn_generator *g, const char *where, const tn_rng *set, tn_rng *get) {
    pthread_mutex_lock(&mutex);
    const bool live = g->state == LIVE;
    if (live && get) *get = g->next;
    if (live && set) g->next = *set;
    pthread_mutex_unlock(&mutex);
    return live || refuse(where);
}

tn_status tn_generator_seed(tn_generator *g, uint64_t seed) {
    const tn_rng start = {seed, 0};
    if (tni_forked()) return tn_error();
    return position(current(g), "tn_generator_seed", &start, NULL) ? TN_OK : tn_error();
}

tn_rng tn_generator_position(tn_generator *g) {
    tn_rng at = {0, 0};
    if (!tni_forked()) position(current(g), "tn_generator_position", NULL, &at);
    return at;
}

tn_status tn_generator_set_position(tn_generator *g, tn_rng at) {
    if (tni_forked()) return tn_error();
    return position(current(g), "tn_generator_set_position", &at, NULL) ? TN_OK : tn_error();
}

tn_generator *tn_use_generator(tn_generator *g) {
    tni_state *state = tni_state_get();
    tn_generator *was = state->generator;
    if (!g || position(g, "tn_use_generator", NULL, NULL)) state->generator = g;
    return was;
}

tn_rng tni_generator_reserve(tn_generator *g, uint64_t counters) {
    tn_rng mine = {0, 0};
    if (tni_forked()) return mine;
    g = current(g);
    pthread_mutex_lock(&mutex);
    const bool live = g->state == LIVE;
    if (live) {
        mine = g->next;
        g->next.offset += counters;
    }
    pthread_mutex_unlock(&mutex);
    if (!live) refuse("");
    return mine;
}
