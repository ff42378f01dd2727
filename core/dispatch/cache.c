/* cache.c - keys, and the two levels that remember what they led to.
 *
 * A small table per thread, read without locks; a shared bounded one behind it. Entries are
 * reference-counted and immutable. A new epoch of the registry makes old entries unfindable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "core/dispatch/signature.h"
#include "core/memory.h"

enum { LOCAL_SLOTS = 1024, SHARED_BUCKETS = 4096, SHARED_LIMIT = 8192, KEY_START = 1024 };

typedef struct tni_local_cache {
    uint64_t *key;
    uint64_t key_capacity;
    tni_signature *slots[LOCAL_SLOTS];
} tni_local_cache;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static tni_signature *g_buckets[SHARED_BUCKETS];
static uint64_t g_count, g_epoch; /* of the registry, when the newest entry was put */

/* ---- Lifetime of a signature ----------------------------------------------------------------- */

void tni_signature_retain(tni_signature *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void tni_signature_release(tni_signature *s) {
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    if (s->plan.data && s->provider && s->provider->row.drop) s->provider->row.drop(s->plan.data);
    tni_free(s->ints);
    tni_free(s->outputs);
    tni_free(s);
}

void tni_local_cache_free(tni_local_cache *c) {
    if (c == NULL) return;
    for (int i = 0; i < LOCAL_SLOTS; i++) tni_signature_release(c->slots[i]);
    tni_free(c->key);
    tni_free(c);
}

static tni_local_cache *local_cache(void) {
    tni_state *st = tni_state_get();
    if (st->cache) return st->cache;
    tni_local_cache *c = tni_alloc(sizeof(*c));
    if (c) c->key = tni_alloc(KEY_START * sizeof(uint64_t));
    if (c == NULL || c->key == NULL) {
        tni_free(c);
        tn_raise(TN_ERR_NOMEM, "no memory for this thread's signature cache");
        return NULL;
    }
    c->key_capacity = KEY_START;
    return st->cache = c;
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static bool key_room(tni_local_cache *c, uint64_t words) {
    if (words <= c->key_capacity) return true;
    uint64_t *more =
        tni_realloc(c->key, c->key_capacity * sizeof(uint64_t), 2 * words * sizeof(uint64_t));
    if (more == NULL) {
        tn_raise(TN_ERR_NOMEM, "no memory for a call with very long arguments");
        return false;
    }
    c->key = more;
    c->key_capacity = 2 * words;
    return true;
}

/* Most words a call can need. */
static uint64_t key_bound(const tni_invocation *v) {
    uint64_t n = 9 + (uint64_t)v->n_operands * (2 + 2 * TN_MAX_RANK);
    if (!v->op->lists) return n + 2 * TNI_MAX_ARGS;
    for (uint32_t i = 0; i < v->op->n_args; i++) {
        const tn_value *a = &v->args[i];
        n += 2 + (a->tag == TN_TAG_INTS || a->tag == TN_TAG_FLOATS || a->tag == TN_TAG_STR
                      ? (uint64_t)a->aux
                      : 0);
    }
    return n;
}

static uint64_t *key_tensor(uint64_t *at, const tn_tensor *t) {
    if (t == NULL) {
        *at++ = 0;
        return at;
    }
    bool aligned = ((uintptr_t)tni_tensor_data(t) & 63) == 0;
    uint32_t flags = t->flags & (TNI_WRAPPED | TNI_CONTIGUOUS);
    *at++ = 1u | (uint64_t)t->dtype.code << 8 | (uint64_t)t->dtype.bits << 16 |
            (uint64_t)(uint32_t)t->rank << 24 | (uint64_t)flags << 32 | (uint64_t)aligned << 40;
    for (int32_t d = 0; d < t->rank; d++) *at++ = (uint64_t)t->sizes[d];
    if (flags & TNI_CONTIGUOUS) return at; /* strides follow from sizes */
    for (int32_t d = 0; d < t->rank; d++) *at++ = (uint64_t)t->strides[d];
    return at;
}

static uint64_t *key_plain(uint64_t *at, const tn_value *a) {
    *at++ = (uint64_t)(uint32_t)a->tag | (uint64_t)a->aux << 32;
    if (a->tag == TN_TAG_INTS || a->tag == TN_TAG_FLOATS) {
        if (a->aux > 0) memcpy(at, a->ints, a->aux * sizeof(*at));
        return at + a->aux;
    }
    if (a->tag == TN_TAG_STR) {
        for (uint32_t j = 0; j < a->aux; j++) *at++ = (unsigned char)a->str[j];
        return at;
    }
    *at++ = (uint64_t)a->i;
    return at;
}

static void extent(const tn_tensor *t, int64_t *low, int64_t *high) {
    int64_t bytes = tni_dtype_bytes(t->dtype);
    *low = *high = t->offset;
    for (int32_t d = 0; d < t->rank; d++) {
        int64_t reach = t->sizes[d] > 0 ? (t->sizes[d] - 1) * t->strides[d] : 0;
        *(reach < 0 ? low : high) += reach;
    }
    *low *= bytes;
    *high = (*high + 1) * bytes;
}

static bool same_geometry(const tn_tensor *a, const tn_tensor *b) {
    if (a->offset != b->offset || a->rank != b->rank || !tn_dtype_is(a->dtype, b->dtype))
        return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->sizes[d] != b->sizes[d] || a->strides[d] != b->strides[d]) return false;
    return true;
}

/* Bit k: operand k shares memory with the first operand, which is written, without being the same.
 */
static uint64_t alias_bits(const tni_invocation *v) {
    uint64_t bits = 0;
    const tn_tensor *target = v->n_operands > 0 ? v->operands[0] : NULL;
    for (uint32_t k = 1; target && k < v->n_operands && k < 64; k++) {
        const tn_tensor *t = v->operands[k];
        if (t == NULL || t->storage != target->storage || t->numel == 0 || same_geometry(t, target))
            continue;
        int64_t low, high, target_low, target_high;
        extent(t, &low, &high);
        extent(target, &target_low, &target_high);
        if (low < target_high && target_low < high) bits |= UINT64_C(1) << k;
    }
    return bits;
}

static uint64_t mix(const uint64_t *key, uint64_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (uint64_t i = 0; i < n; i++) {
        h = (h ^ key[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return h;
}

/* Bit i: run-time argument i has its default. Kernels that do not know the argument may run then only. */
static uint64_t runtime_defaults(const tni_invocation *v) {
    uint64_t bits = 0;
    for (uint32_t i = 0; i < v->op->n_args; i++)
        if (v->op->runtime_args >> i & 1) bits |= (uint64_t)tni_arg_is_default(v, i) << i;
    return bits;
}

const uint64_t *tni_key(const tni_invocation *v, uint64_t *n, uint64_t *hash) {
    const tni_state *st = tni_state_get();
    tni_local_cache *c = local_cache();
    if (c == NULL || !key_room(c, key_bound(v))) return NULL;
    uint64_t *at = c->key;
    uint32_t k = 0;
    *at++ = (uint64_t)(uint32_t)v->op->id | (uint64_t)st->deterministic << 32 |
            (uint64_t)tni_must_decompose(v) << 33 | (uint64_t)(uint16_t)st->max_threads << 34;
    *at++ = (uint64_t)(uint32_t)v->device.kind | (uint64_t)(uint32_t)v->device.index << 32;
    *at++ = (uint64_t)(uint32_t)st->pin;
    if (v->op->schema.mutates) *at++ = alias_bits(v);
    for (uint32_t i = 0; i < v->op->n_args; i++) {
        uint32_t tensors = tni_arg_tensors(v->op, v->args, i);
        if (v->op->types[i] == TNI_TENSORS) *at++ = tensors;
        for (uint32_t j = 0; j < tensors; j++) at = key_tensor(at, v->operands[k++]);
        bool plain = v->op->types[i] > TNI_TENSORS;
        if (plain && !(v->op->runtime_args >> i & 1)) at = key_plain(at, &v->args[i]);
    }
    if (v->op->runtime_args) *at++ = runtime_defaults(v);
    *n = (uint64_t)(at - c->key);
    *hash = mix(c->key, *n);
    return c->key;
}

/* ---- Finding --------------------------------------------------------------------------------- */

static bool matches(const tni_signature *s, const uint64_t *key, uint64_t n, uint64_t hash,
                    uint64_t epoch) {
    return s && s->hash == hash && s->n_key == n && s->epoch == epoch &&
           memcmp(s->key, key, n * sizeof(*key)) == 0;
}

static tni_signature *shared_find(const uint64_t *key, uint64_t n, uint64_t hash, uint64_t epoch) {
    pthread_mutex_lock(&g_lock);
    tni_signature *s = g_buckets[hash % SHARED_BUCKETS];
    while (s && !matches(s, key, n, hash, epoch)) s = s->next;
    if (s) tni_signature_retain(s);
    pthread_mutex_unlock(&g_lock);
    return s;
}

/* Takes all entries out. They are released by the caller, without the lock: that may run plugins' code. */
static tni_signature *shared_take_all_locked(void) {
    tni_signature *all = NULL;
    for (int i = 0; i < SHARED_BUCKETS; i++) {
        while (g_buckets[i]) {
            tni_signature *s = g_buckets[i];
            g_buckets[i] = s->next;
            s->next = all;
            all = s;
        }
    }
    g_count = 0;
    return all;
}

/* A full table is emptied, and so is one of an older registry: threads keep what they use, the rest
 * is resolved again. */
static void shared_put(tni_signature *s) {
    tni_signature *old = NULL;
    pthread_mutex_lock(&g_lock);
    if (g_count >= SHARED_LIMIT || g_epoch != s->epoch) old = shared_take_all_locked();
    g_epoch = s->epoch;
    tni_signature_retain(s);
    s->next = g_buckets[s->hash % SHARED_BUCKETS];
    g_buckets[s->hash % SHARED_BUCKETS] = s;
    g_count++;
    pthread_mutex_unlock(&g_lock);
    while (old) {
        tni_signature *next = old->next;
        tni_signature_release(old);
        old = next;
    }
}

static tni_signature *miss(const tni_invocation *v, const uint64_t *key, uint64_t n, uint64_t hash,
                           uint64_t epoch) {
    tni_signature *s = tni_resolve(v, key, n);
    if (s == NULL) return NULL;
    s->hash = hash;
    s->epoch = epoch;
    shared_put(s);
    return s;
}

tni_signature *tni_signature_find(const tni_invocation *v) {
    uint64_t n, hash, epoch = tni_registry_epoch();
    const uint64_t *key = tni_key(v, &n, &hash);
    if (key == NULL) return NULL;
    tni_signature **slot = &tni_state_get()->cache->slots[hash % LOCAL_SLOTS];
    if (matches(*slot, key, n, hash, epoch)) return *slot;
    tni_signature *s = shared_find(key, n, hash, epoch);
    if (s == NULL) s = miss(v, key, n, hash, epoch);
    if (s == NULL) return NULL;
    tni_signature *old = *slot;
    *slot = s;
    tni_signature_release(old);
    return s;
}
