/* block.c - large buffers: known by address while in use, kept for reuse when free.
 *
 *     in use   by address    [ bytes | asked for | which other places use it ] ...
 *     waiting  freed, but other places may still be at it: until their fences have passed
 *     free     by class      [ bytes ] ... and, through all of them, newest to oldest
 *
 * A block belongs to a place, and what is freed there may be taken there at once: a stream does its
 * work in order. Only work on other streams is waited for, by fences, never by the host.
  * A request takes a free block of its own size class, else of the next two if they are large: at
 * most half as much again is given. Beyond the limit the oldest free blocks go back to the system.
 * Blocks are described outside themselves: the cpu may not reach their memory.
 * Invariants: a block is in one of the two tables, or waits; all below is under tni_memory_lock; drivers are
 * called without it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/memory/block.h"

#include <stdatomic.h>
#include <stdlib.h>

#include <tenon/inspect.h>

#include "core/base/heap.h"
#include "core/base/system.h"
#include "core/memory/buffer.h"
#include "core/memory/event.h"
#include "core/memory/memory_cache.h"
#include "core/memory/slab.h"

enum { BUCKETS = 256, ADDRESSES = 4096, LOOSE_CLASSES = 2, LOOSE_BYTES = 1 << 20, MOST_USERS = 4 };

typedef struct block {
    void *data;
    uint64_t bytes; /* as the system gave them */
    uint64_t asked; /* while in use */
    tni_place *place;
    uint32_t n_users; /* places beside its own that work with it */
    tni_fence users[MOST_USERS];
    struct block *next, *previous; /* in its bucket of either table; `next` while it waits */
    struct block *newer, *older;   /* while free */
} block;

static tni_slab block_slab = {sizeof(block), "large buffer", NULL};
static block *by_address[ADDRESSES], *by_class[BUCKETS];
static block *newest, *oldest;
static uint64_t free_bytes, free_blocks;
static uint64_t free_cpu_bytes; /* of these, what the limit is for */
static block *waiting;
static _Atomic uint64_t waiting_blocks;
static uint64_t hits, misses, evictions, in_use;
static uint64_t limit; /* for free_cpu_bytes */
static bool has_limit;

/* ---- The limit ------------------------------------------------------------------------------- */

uint64_t tni_cache_limit_of(const char *text) {
    const uint64_t quarter = tni_system_memory() / 4;
    char *end = NULL;
    if (!text || *text < '0' || *text > '9') return quarter;
    unsigned long long n = strtoull(text, &end, 10);
    const uint32_t shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
    if (shift) end++;
    return *end || n > UINT64_MAX >> shift ? quarter : (uint64_t)n << shift;
}

static uint64_t limit_locked(void) {
    if (!has_limit) limit = tni_cache_limit_of(secure_getenv("TENON_CACHE_LIMIT"));
    has_limit = true;
    return limit;
}

/* ---- The tables ------------------------------------------------------------------------------ */

static block **class_bucket(const tni_place *place, uint64_t bytes) {
    const uint32_t hash = tni_class_of(bytes) + 61u * (uint32_t)((uintptr_t)place >> 6);
    return &by_class[hash % BUCKETS];
}

static block **address_bucket(const void *data) {
    const uintptr_t p = (uintptr_t)data >> 12;
    return &by_address[(p ^ p >> 9) % ADDRESSES];
}

static void chain(block **bucket, block *b) {
    b->previous = NULL;
    b->next = *bucket;
    if (b->next) b->next->previous = b;
    *bucket = b;
}

static void unchain(block **bucket, block *b) {
    *(b->previous ? &b->previous->next : bucket) = b->next;
    if (b->next) b->next->previous = b->previous;
}

static void put_free(block *b) {
    chain(class_bucket(b->place, b->bytes), b);
    b->newer = NULL;
    b->older = newest;
    *(newest ? &newest->newer : &oldest) = b;
    newest = b;
    free_blocks++;
    free_bytes += b->bytes;
    if (b->place == &tni_host) free_cpu_bytes += b->bytes;
}

static void take_free(block *b) {
    unchain(class_bucket(b->place, b->bytes), b);
    *(b->newer ? &b->newer->older : &newest) = b->older;
    *(b->older ? &b->older->newer : &oldest) = b->newer;
    free_blocks--;
    free_bytes -= b->bytes;
    if (b->place == &tni_host) free_cpu_bytes -= b->bytes;
}

static void put_used(block *b, uint64_t asked) {
    b->asked = asked;
    chain(address_bucket(b->data), b);
    in_use++;
}

/* The block at an address; NULL if it was never put there. */
static block *find_used(const tni_place *place, const void *data) {
    block *b = *address_bucket(data);
    while (b && !(b->data == data && b->place == place)) b = b->next;
    return b;
}

/* The same, out of the table. */
static block *take_used(const tni_place *place, const void *data) {
    block *b = find_used(place, data);
    if (!b) return NULL;
    unchain(address_bucket(data), b);
    in_use--;
    return b;
}

/* The smallest free block that fits well enough. */
static block *find_free(tni_place *place, uint64_t whole) {
    const uint32_t class = tni_class_of(whole), more = whole >= LOOSE_BYTES ? LOOSE_CLASSES : 0;
    for (uint32_t c = class; c <= class + more; c++) {
        const uint64_t bytes = tni_class_bytes(c);
        block *b = *class_bucket(place, bytes);
        while (b && !(b->bytes == bytes && b->place == place)) b = b->next;
        if (b) return b;
    }
    return NULL;
}

/* Takes the oldest free blocks of the cpu out until at most `keep` bytes are left; a list by
 * next. */
static block *evict(uint64_t keep) {
    block *out = NULL;
    for (block *b = oldest, *newer; b && free_cpu_bytes > keep; b = newer) {
        newer = b->newer;
        if (b->place != &tni_host) continue;
        take_free(b);
        evictions++;
        b->next = out;
        out = b;
    }
    return out;
}

/* A device may still be at work with what was freed there: it has to finish first. */
static void finish_work(const block *b, const tni_place **finished) {
    if (b->place == &tni_host || (*finished && tni_same_device(b->place, *finished))) return;
    tni_place_drain(b->place);
    *finished = b->place;
}

static void give_back(block *list) {
    const tni_place *finished = NULL;
    while (list) {
        block *b = list;
        list = b->next;
        finish_work(b, &finished);
        tni_system_free(b->place, b->data, b->bytes);
        tni_slab_put(&block_slab, b);
    }
}

/* ---- The calls ------------------------------------------------------------------------------- */

/* What a buffer of `bytes` really takes; 0 if it is too large for any machine. */
static uint64_t rounded(uint64_t bytes) {
    if (bytes > UINT64_C(1) << 60) return 0;
    return tni_class_bytes(tni_class_of(bytes ? bytes : 1));
}

static void reuse(block *b);

/* Frees those whose other users are done. */
static void collect(void) {
    if (!atomic_load_explicit(&waiting_blocks, memory_order_relaxed)) return;
    tni_memory_lock();
    block *list = waiting, *still = NULL;
    waiting = NULL;
    tni_memory_unlock();
    while (list) {
        block *b = list;
        list = b->next;
        while (b->n_users > 0 && tni_fence_passed(&b->users[b->n_users - 1])) b->n_users--;
        if (b->n_users == 0) {
            waiting_blocks--;
            reuse(b);
        } else {
            b->next = still;
            still = b;
        }
    }
    tni_memory_lock();
    while (still) {
        block *b = still;
        still = b->next;
        b->next = waiting;
        waiting = b;
    }
    tni_memory_unlock();
}

static void *block_again(tni_place *place, uint64_t whole, uint64_t asked) {
    collect();
    tni_memory_lock();
    block *b = find_free(place, whole);
    if (b) {
        take_free(b);
        put_used(b, asked);
        hits++;
    } else {
        misses++;
    }
    tni_memory_unlock();
    return b ? b->data : NULL;
}

static void *block_new(tni_place *place, uint64_t whole, uint64_t asked) {
    void *data = tni_system_alloc(place, whole);
    block *b = data ? tni_slab_take(&block_slab) : NULL;
    if (!b) {
        if (data) tni_system_free(place, data, whole);
        return NULL;
    }
    b->data = data;
    b->n_users = 0;
    b->bytes = whole;
    b->place = place;
    tni_memory_lock();
    put_used(b, asked);
    tni_memory_unlock();
    return data;
}

void *tni_block_alloc(tni_place *place, uint64_t bytes) {
    const uint64_t whole = rounded(bytes);
    if (whole == 0) return NULL;
    void *data = block_again(place, whole, bytes);
    return data ? data : block_new(place, whole, bytes);
}

/* Into the table of free ones, or back to the system. */
static void reuse(block *b) {
    block *gone = NULL;
    tni_memory_lock();
    const uint64_t most = tni_heap_system() ? 0 : limit_locked();
    if (tni_heap_system() || (b->place == &tni_host && b->bytes > most)) {
        gone = b;
        b->next = NULL;
        evictions += !tni_heap_system();
    } else {
        put_free(b);
        gone = evict(most);
    }
    tni_memory_unlock();
    give_back(gone);
}

static void wait_for_users(block *b) {
    for (uint32_t i = 0; i < b->n_users; i++) tni_fence_set(&b->users[i], b->users[i].place);
    tni_memory_lock();
    b->next = waiting;
    waiting = b;
    waiting_blocks++;
    tni_memory_unlock();
}

void tni_block_free(tni_place *place, void *data, uint64_t bytes) {
    tni_memory_lock();
    block *b = take_used(place, data);
    tni_memory_unlock();
    if (!b)
        tni_system_free(place, data, rounded(bytes));
    else if (b->n_users > 0)
        wait_for_users(b);
    else
        reuse(b);
}

/* With more users than there is room for, the host waits for the one that is left out. */
void tni_block_used(tni_place *place, const void *data, tni_place *user) {
    bool full = false;
    if (place == user || !data) return;
    tni_memory_lock();
    block *b = find_used(place, data);
    uint32_t i = 0;
    while (b && i < b->n_users && b->users[i].place != user) i++;
    if (b && i == b->n_users) {
        full = i == MOST_USERS;
        if (!full) b->users[b->n_users++] = (tni_fence){user, NULL};
    }
    tni_memory_unlock();
    if (full) tni_place_sync(user);
}

static void wait_for_all(void) {
    tni_memory_lock();
    block *list = waiting;
    waiting = NULL;
    tni_memory_unlock();
    while (list) {
        block *b = list;
        list = b->next;
        while (b->n_users > 0) tni_fence_wait(&b->users[--b->n_users]);
        waiting_blocks--;
        reuse(b);
    }
}

void tni_block_trim(void) {
    block *blocks = NULL;
    wait_for_all();
    tni_memory_lock();
    while (newest) {
        block *b = newest;
        take_free(b);
        b->next = blocks;
        blocks = b;
    }
    tni_memory_unlock();
    give_back(blocks);
}

void tn_memory_set_cache_limit(uint64_t bytes) {
    tni_memory_lock();
    limit = bytes;
    has_limit = true;
    block *gone = evict(bytes);
    tni_memory_unlock();
    give_back(gone);
}

/* ---- Questions ------------------------------------------------------------------------------- */

/* Into a list in descending order; what does not fit falls off its end. */
static uint32_t insert(uint64_t *list, uint32_t n, uint32_t capacity, uint64_t x) {
    uint32_t at = n < capacity ? n : capacity - 1;
    if (n == capacity && x <= list[at]) return n;
    for (; at > 0 && list[at - 1] < x; at--) list[at] = list[at - 1];
    list[at] = x;
    return n < capacity ? n + 1 : n;
}

uint32_t tni_block_largest(tni_place *place, uint64_t *out, uint32_t capacity) {
    uint32_t n = 0;
    tni_memory_lock();
    for (uint32_t i = 0; i < ADDRESSES; i++)
        for (const block *b = by_address[i]; b; b = b->next)
            if (tni_same_device(b->place, place)) n = insert(out, n, capacity, b->asked);
    tni_memory_unlock();
    return n;
}

void tni_block_stats(tn_memory_info *out) {
    tn_pool_info *pool = &out->large;
    pool->hits = hits;
    pool->misses = misses;
    pool->cached_blocks = free_blocks;
    pool->cached_bytes = free_bytes;
    for (const block *b = newest; b; b = b->older)
        if (b->bytes > pool->largest_bytes) pool->largest_bytes = b->bytes;
    out->large_in_use = in_use;
    out->waiting_blocks = waiting_blocks;
    out->host_waits = tni_host_waits();
    out->evictions = evictions;
    out->cache_limit_bytes = tni_heap_system() ? 0 : limit_locked();
    out->limit_bytes = tni_system_memory();
}
