/* cache.c - keys, and the three levels that remember what they led to.
 *
 * First the last few signatures of the op on this thread: their keys are compared with the call
 * word by word, and no key is made. Then a table per thread, by hash, read without locks; behind it
 * what all threads share (shared_cache.c). Entries are reference-counted and immutable. A new epoch of the
 * registry makes old entries unfindable.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/cache.h"

#include <string.h>

#include "core/base/heap.h"
#include "core/dispatch/overlap.h"
#include "core/dispatch/resolve.h"
#include "core/dispatch/shared_cache.h"

enum { WAYS = 4, OP_SETS = 512, HASH_SETS = 256 }; /* of a thread */
enum { KEY_START = 1024 };

typedef struct tni_local_cache {
    uint64_t *key;
    uint64_t key_capacity;
    tni_seen *recent[OP_SETS][WAYS];    /* by op, newest first; borrowed from: */
    tni_seen *by_hash[HASH_SETS][WAYS]; /* newest first; owned */
    tni_signature *other;               /* the last one that found no room there */
} tni_local_cache;

/* ---- Of a thread ----------------------------------------------------------------------------- */

static void seen_free(tni_seen *seen) {
    if (!seen) return;
    tni_signature_release(seen->s);
    tni_free(seen->image);
    tni_free(seen);
}

static void thread_end(tni_state *st) {
    tni_local_cache *c = st->cache;
    st->cache = NULL;
    if (!c) return;
    for (int i = 0; i < HASH_SETS; i++)
        for (int k = 0; k < WAYS; k++) seen_free(c->by_hash[i][k]);
    tni_signature_release(c->other);
    tni_free(c->key);
    tni_free(c);
}

static void no_memory(void) {
    tn_raise(TN_ERR_NOMEM, "no memory for this thread's signature cache");
}

static tni_local_cache *cache_new(tni_state *st) {
    tni_local_cache *c = tni_alloc(sizeof *c);
    if (c) c->key = tni_alloc(KEY_START * sizeof(uint64_t));
    if (!c || !c->key) {
        tni_free(c);
        no_memory();
        return NULL;
    }
    c->key_capacity = KEY_START;
    tni_state_at_end(TNI_END_CACHES, thread_end);
    return st->cache = c;
}

static inline tni_local_cache *local_cache(void) {
    tni_state *st = tni_state_get();
    return __builtin_expect(st->cache != NULL, 1) ? st->cache : cache_new(st);
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static bool key_room(tni_local_cache *c, uint64_t words) {
    if (words <= c->key_capacity) return true;
    uint64_t *more =
        tni_realloc(c->key, c->key_capacity * sizeof(uint64_t), 2 * words * sizeof(uint64_t));
    if (!more) {
        tn_raise(TN_ERR_NOMEM, "no memory for a call with very long arguments");
        return false;
    }
    c->key = more;
    c->key_capacity = 2 * words;
    return true;
}

/* Most words a call can need. */
static uint64_t key_bound(const tni_invocation *v) {
    uint64_t n = 8 + TNI_OVERLAP_WORDS + (uint64_t)v->n_operands * (2 + 2 * TN_MAX_RANK);
    if (!v->op->lists) return n + 2 * TNI_MAX_ARGS;
    for (uint32_t i = 0; i < v->op->n_args; i++) {
        const tn_value *a = &v->args[i];
        n += 2 + (tni_entry_bytes(a) ? (uint64_t)a->aux : 0);
    }
    return n;
}

static uint64_t mix(const uint64_t *key, uint64_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (uint64_t i = 0; i < n; i++) {
        h = (h ^ key[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return h;
}

/* Bit i: run-time argument i has its default. Kernels that do not know the argument may run then
 * only. */
static uint64_t runtime_defaults(const tni_invocation *v) {
    uint64_t bits = 0;
    for (uint32_t i = 0; i < v->op->n_args; i++)
        if (v->op->runtime_args >> i & 1) bits |= (uint64_t)tni_arg_is_default(v, i) << i;
    return bits;
}

/* One walk over a call's words, to write them or to compare them with those of a key. Whoever
 * compares stops at the first difference, so a key is never read beyond its end: how many words
 * follow depends on words that were equal. */
typedef struct walk {
    uint64_t *at;
    bool compare;
} walk;

#define INLINE static inline __attribute__((always_inline))

INLINE bool word(walk *w, uint64_t x) {
    if (w->compare) return *w->at++ == x;
    *w->at++ = x;
    return true;
}

INLINE bool words(walk *w, const int64_t *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!word(w, (uint64_t)x[i])) return false;
    return true;
}

_Static_assert(offsetof(tn_tensor, rank) == offsetof(tn_tensor, dtype) + 4 && TN_MAX_RANK < 256,
               "dtype and rank are read as one word");

INLINE bool walk_tensor(walk *w, const tn_tensor *t) {
    if (!t) return word(w, 0);
    const bool aligned = ((uintptr_t)tni_tensor_data(t) & 63) == 0;
    const uint32_t flags = t->flags & (TNI_WRAPPED | TNI_CONTIGUOUS);
    uint64_t look; /* dtype and rank, in the lower 40 bits */
    memcpy(&look, &t->dtype, sizeof look);
    const bool host = t->storage->place == &tni_host;
    look |=
        (uint64_t)flags << 40 | (uint64_t)aligned << 48 | (uint64_t)host << 49 | UINT64_C(1) << 56;
    if (!word(w, look) || !words(w, t->sizes, (uint32_t)t->rank)) return false;
    if (flags & TNI_CONTIGUOUS) return true; /* strides follow from sizes */
    return words(w, t->strides, (uint32_t)t->rank);
}

INLINE bool walk_plain(walk *w, const tn_value *a) {
    if (!word(w, (uint64_t)(uint32_t)a->tag | (uint64_t)a->aux << 32)) return false;
    if (a->tag == TN_TAG_INTS || a->tag == TN_TAG_FLOATS) return words(w, a->ints, a->aux);
    if (!tni_entry_bytes(a)) return word(w, (uint64_t)a->i);
    for (uint32_t j = 0; j < a->aux; j++)
        if (!word(w, (unsigned char)a->str[j])) return false;
    return true;
}

INLINE bool walk_overlap(walk *w, const tni_invocation *v) {
    tni_overlap o;
    tni_overlap_find(v, &o);
    for (uint32_t i = 0; i < tni_overlap_words(v); i++)
        if (!word(w, o.bits[i])) return false;
    return true;
}

INLINE bool walk_call(walk *w, const tni_invocation *v, const tni_state *st) {
    const tni_op *op = v->op;
    uint32_t k = 0;
    if (!word(w, (uint64_t)(uint32_t)op->id | (uint64_t)st->deterministic << 32 |
                     (uint64_t)tni_must_decompose(v) << 33 |
                     (uint64_t)(uint16_t)st->max_threads << 34 | (uint64_t)st->math << 50) ||
        !word(w, (uint64_t)(uintptr_t)v->place->first) || !word(w, (uint64_t)(uint32_t)st->pin))
        return false;
    if (op->schema.mutates && !walk_overlap(w, v)) return false;
    for (uint32_t i = 0; i < op->n_args; i++) {
        if (op->types[i] == TNI_TENSOR) {
            if (!walk_tensor(w, v->operands[k++])) return false;
        } else if (op->types[i] == TNI_TENSORS) {
            if (!word(w, v->args[i].aux)) return false;
            for (uint32_t end = k + v->args[i].aux; k < end; k++)
                if (!walk_tensor(w, v->operands[k])) return false;
        } else if (!(op->runtime_args >> i & 1) && !walk_plain(w, &v->args[i])) {
            return false;
        }
    }
    return !op->runtime_args || word(w, runtime_defaults(v));
}

/* The key of an invocation in this thread's buffer, valid until the next. NULL + NOMEM. */
static const uint64_t *key_of(const tni_invocation *v, uint64_t *n, uint64_t *hash) {
    tni_local_cache *c = local_cache();
    if (!c || !key_room(c, key_bound(v))) return NULL;
    walk w = {c->key, false};
    walk_call(&w, v, tni_state_get());
    *n = (uint64_t)(w.at - c->key);
    *hash = mix(c->key, *n);
    return c->key;
}

__attribute__((noinline)) static bool fits(const tni_signature *s, const tni_invocation *v,
                                           const tni_state *st) {
    walk w = {s->key, true};
    return walk_call(&w, v, st);
}

/* ---- Finding --------------------------------------------------------------------------------- */

static tni_signature *miss(const tni_invocation *v, const uint64_t *key, uint64_t n, uint64_t hash,
                           uint64_t epoch) {
    tni_signature *s = tni_resolve(v, key, n);
    if (!s) return NULL;
    s->hash = hash;
    s->epoch = epoch;
    tni_shared_put(s);
    return s;
}

static tni_seen **recent_of(tni_local_cache *c, const tni_op *op) {
    return c->recent[(uint32_t)op->id % OP_SETS];
}

/* The op's newest signature that fits, moved to the front; NULL if none does. */
static tni_seen *recent_find(tni_seen **recent, const tni_invocation *v, uint64_t epoch) {
    const tni_state *st = tni_state_get();
    for (int k = 0; k < WAYS && recent[k]; k++) {
        tni_seen *seen = recent[k];
        if (seen->s->epoch != epoch || !fits(seen->s, v, st)) continue;
        recent[k] = recent[0];
        return recent[0] = seen;
    }
    return NULL;
}

static void put_front(tni_seen **set, tni_seen *seen) {
    memmove(set + 1, set, (WAYS - 1) * sizeof *set);
    set[0] = seen;
}

static void recent_drop(tni_seen **recent, const tni_seen *seen) {
    int kept = 0;
    for (int k = 0; k < WAYS; k++)
        if (recent[k] != seen) recent[kept++] = recent[k];
    while (kept < WAYS) recent[kept++] = NULL;
}

/* Puts s, whose reference it takes over, into the thread's table. NULL: a call under way needs what
 * would have to go, or, with an error, there is no memory. */
static tni_seen *seen_put(tni_local_cache *c, tni_seen **set, tni_signature *s) {
    tni_seen *oldest = set[WAYS - 1];
    if (oldest && oldest->busy) return NULL;
    tni_seen *seen = tni_alloc(sizeof *seen);
    if (!seen) {
        no_memory();
        return NULL;
    }
    seen->s = s;
    if (oldest) recent_drop(recent_of(c, oldest->s->op), oldest);
    put_front(set, seen);
    seen_free(oldest);
    return seen;
}

static tni_signature *find_by_hash(tni_local_cache *c, const tni_invocation *v, uint64_t epoch,
                                   tni_seen **seen) {
    uint64_t n, hash;
    const uint64_t *key = key_of(v, &n, &hash);
    if (!key) return NULL;
    tni_seen **set = c->by_hash[hash % HASH_SETS];
    for (int k = 0; k < WAYS && set[k]; k++)
        if (tni_signature_matches(set[k]->s, key, n, hash, epoch)) return *seen = set[k], set[k]->s;
    tni_signature *s = tni_shared_find(key, n, hash, epoch);
    if (!s) s = miss(v, key, n, hash, epoch);
    *seen = s ? seen_put(c, set, s) : NULL;
    if (!s || *seen) return s;
    tni_signature_release(c->other);
    c->other = s;
    return tn_error() ? NULL : s;
}

/* Plain calls that come again differ in data at most: their image is made once and kept. False +
 * NOMEM. */
static bool image_keep(tni_seen *seen, const tni_invocation *v) {
    if (!seen->s->plain || seen->image || seen->s->n_operands > TNI_FLAT_OPERANDS) return true;
    seen->image = tni_alloc(sizeof *seen->image);
    if (!seen->image) no_memory();
    return seen->image && tni_image_recall(seen->image, seen->s, v);
}

tni_signature *tni_cache_find(const tni_invocation *v, tni_seen **out) {
    const uint64_t epoch = tni_registry_epoch();
    tni_local_cache *c = local_cache();
    if (!c) return NULL;
    tni_seen **recent = recent_of(c, v->op), *seen = recent_find(recent, v, epoch);
    if (seen) {
        *out = seen;
        return image_keep(seen, v) ? seen->s : NULL;
    }
    tni_signature *s = find_by_hash(c, v, epoch, &seen);
    if (seen) put_front(recent, seen);
    return *out = seen, s;
}
