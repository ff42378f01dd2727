/* directory.c - see directory.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/directory.h"

#include <string.h>

#include "core/base/heap.h"

enum { FIRST_CAPACITY = 64, MOST_ENTRIES = 1 << 28 };

static _Atomic int32_t no_index[1];
static tni_directory empty = {.index = no_index};
_Atomic(tni_directory *) tni_directory_published = &empty;

static uint64_t hash_of(const char *name) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 1099511628211u;
    return h ^ h >> 32;
}

/* Ids beyond n are not published yet: their entries may be half written. */
int32_t tni_directory_find(const tni_directory *d, int32_t n, const char *name) {
    for (uint64_t at = hash_of(name);; at++) {
        const int32_t id = atomic_load_explicit(&d->index[at & d->mask], memory_order_relaxed);
        if (id == 0) return 0;
        if (id <= n && strcmp(d->entries[id - 1].name, name) == 0) return id;
    }
}

/* Makes the name lead to id. All ids there are, are ours to read: writers come one at a time. */
static void index_put(tni_directory *d, const char *name, int32_t id) {
    uint64_t at = hash_of(name);
    for (;; at++) {
        const int32_t old = atomic_load_explicit(&d->index[at & d->mask], memory_order_relaxed);
        if (old == 0 || strcmp(d->entries[old - 1].name, name) == 0) break;
    }
    atomic_store_explicit(&d->index[at & d->mask], id, memory_order_relaxed);
}

static void copy_entries(tni_directory *to, const tni_directory *from, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const tni_entry *e = &from->entries[i];
        to->entries[i].name = e->name;
        to->entries[i].op = e->op;
        atomic_init(&to->entries[i].chain, atomic_load(&e->chain));
        index_put(to, e->name, i + 1); /* of two of a name the later one counts */
    }
}

static tni_directory *directory_new(uint64_t capacity) {
    tni_directory *d = tni_alloc(sizeof *d);
    if (!d) return NULL;
    d->capacity = (int32_t)capacity;
    d->mask = 2 * capacity - 1;
    d->entries = tni_alloc(capacity * sizeof *d->entries);
    d->index = tni_alloc(2 * capacity * sizeof *d->index);
    if (d->entries && d->index) return d;
    tni_directory_drop(d);
    return NULL;
}

tni_directory *tni_directory_reserve(uint64_t more) {
    tni_directory *old = tni_directory_current();
    const int32_t n = atomic_load(&old->n);
    uint64_t capacity = old->capacity ? (uint64_t)old->capacity : FIRST_CAPACITY;
    if ((uint64_t)n + more <= (uint64_t)old->capacity) return old;
    while (capacity < (uint64_t)n + more && capacity < MOST_ENTRIES) capacity *= 2;
    tni_directory *d = capacity < (uint64_t)n + more ? NULL : directory_new(capacity);
    if (!d) return NULL;
    copy_entries(d, old, n);
    atomic_init(&d->n, n);
    d->older = old;
    return d;
}

void tni_directory_drop(tni_directory *d) {
    if (!d || d == tni_directory_current()) return;
    tni_free(d->entries);
    tni_free(d->index);
    tni_free(d);
}

int32_t tni_directory_put(tni_directory *d, int32_t n, const char *name, const tni_op *op,
                          const tni_chain *chain) {
    tni_entry *e = &d->entries[n];
    e->name = name;
    e->op = op;
    atomic_store_explicit(&e->chain, chain, memory_order_relaxed);
    index_put(d, name, n + 1);
    return n + 1;
}

void tni_directory_publish(tni_directory *d, int32_t n) {
    atomic_store_explicit(&d->n, n, memory_order_release);
    if (d != tni_directory_current())
        atomic_store_explicit(&tni_directory_published, d, memory_order_release);
}
