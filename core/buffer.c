/* buffer.c - the bytes of tensors: size classes, cached when freed.
 *
 * Classes have four steps per doubling from 64 bytes on. Small ones of the cpu (up to 64 KiB) go
 * through the thread's own lists, last in first out, linked through their first bytes; the rest,
 * and every other device, through one shared table of blocks, oldest evicted first beyond the cap.
 * Invariant: a block belongs to one list or to one caller; drivers are called without the lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/device.h"
#include "core/memory.h"
#include "core/memory_cache.h"
#include "core/system.h"

enum {
    BUCKETS = 256,
    BATCH = 32,
    SMALL_LIST_BYTES = 256 << 10, /* a thread keeps so much per class, */
    SMALL_SHARED_BYTES = 1 << 20  /* and all threads together this much more */
};

typedef struct block { /* a cached large block; described outside it: the cpu may not reach it */
    void *data;
    uint64_t bytes;
    tn_device device;
    struct block *next, *previous; /* in its bucket */
    struct block *newer, *older;   /* by the time it was freed */
} block;

static tni_slab block_slab = {sizeof(block), "cached block", NULL};
static block *buckets[BUCKETS]; /* all below: under tni_memory_lock */
static block *newest, *oldest;
static uint64_t cached_bytes;     /* in blocks, of all devices */
static uint64_t cached_cpu_bytes; /* of these, what the cap is for */
static tni_free_list spare[TNI_SMALL_CLASSES];

/* ---- Size classes ---------------------------------------------------------------------------- */

static inline uint32_t class_of(uint64_t bytes) { /* bytes >= 1 */
    if (bytes <= 256) return (uint32_t)((bytes - 1) / 64);
    const uint32_t top = 63 - (uint32_t)__builtin_clzll(bytes - 1);
    return 4 + (top - 8) * 4 + (uint32_t)((bytes - 1) >> (top - 2) & 3);
}

uint64_t tni_class_bytes(uint32_t index) {
    if (index < 4) return (index + 1) * UINT64_C(64);
    return (uint64_t)(index % 4 + 5) << ((index - 4) / 4 + 6);
}

/* What a buffer of `bytes` really takes; 0 if it is too large for any machine. */
static uint64_t rounded(uint64_t bytes) {
    if (bytes > UINT64_C(1) << 60) return 0;
    return tni_class_bytes(class_of(bytes ? bytes : 1));
}

static bool is_small(tn_device device, uint64_t bytes) {
    return device.kind == TN_CPU && bytes <= TNI_SMALL_BYTES;
}

/* ---- Drivers --------------------------------------------------------------------------------- */

static void *system_alloc(tn_device device, uint64_t bytes) {
    const tn_driver *d = tni_driver_of(device);
    if (!d || bytes == 0) return NULL;
    tni_heap_called();
    void *data = d->alloc(d->user, device.index, TN_MEMORY_DEVICE, bytes, NULL);
    if (data) return data;
    tn_memory_trim(); /* what the caches hold may be just what is missing */
    return d->alloc(d->user, device.index, TN_MEMORY_DEVICE, bytes, NULL);
}

static void system_free(tn_device device, void *data, uint64_t bytes) {
    const tn_driver *d = tni_driver_of(device);
    if (d) d->free(d->user, device.index, TN_MEMORY_DEVICE, data, bytes, NULL);
}

/* ---- Small blocks ---------------------------------------------------------------------------- */

static void push(tni_free_list *l, void *data) {
    *(void **)data = l->head;
    l->head = data;
    tni_list_set_n(l, tni_list_n(l) + 1);
}

static void *pop(tni_free_list *l) {
    void *data = l->head;
    l->head = *(void **)data;
    tni_list_set_n(l, tni_list_n(l) - 1);
    return data;
}

static void move(tni_free_list *from, tni_free_list *to, uint32_t most) {
    while (most-- && from->head) push(to, pop(from));
}

static void free_all(tni_free_list *l, uint64_t bytes) {
    while (l->head) system_free((tn_device){TN_CPU, 0}, pop(l), bytes);
}

static void *small_slowly(tni_memory_cache *c, uint32_t class) {
    tni_free_list *l = &c->small[class];
    tni_memory_lock();
    move(&spare[class], l, BATCH);
    tni_memory_unlock();
    if (l->head) return pop(l);
    return system_alloc((tn_device){TN_CPU, 0}, tni_class_bytes(class));
}

/* The thread's list is full, or was never used: part of it goes to the shared list, the rest back.
 */
static void small_overflow(tni_memory_cache *c, uint32_t class, void *data) {
    tni_free_list *l = &c->small[class];
    const uint32_t bytes = (uint32_t)tni_class_bytes(class);
    if (tni_memory_system()) {
        system_free((tn_device){TN_CPU, 0}, data, bytes);
        return;
    }
    push(l, data);
    l->cap = SMALL_LIST_BYTES / bytes;
    if (tni_list_n(l) < l->cap) return;
    tni_free_list excess = {NULL, NULL, 0, 0};
    move(l, &excess, l->cap / 2);
    tni_memory_lock();
    const uint32_t room = SMALL_SHARED_BYTES / bytes, used = tni_list_n(&spare[class]);
    move(&excess, &spare[class], used < room ? room - used : 0);
    tni_memory_unlock();
    free_all(&excess, bytes);
}

/* ---- Large blocks ---------------------------------------------------------------------------- */

static block **bucket_of(tn_device device, uint64_t bytes) {
    const uint32_t hash =
        class_of(bytes) + 61u * (uint32_t)device.kind + 7u * (uint32_t)device.index;
    return &buckets[hash % BUCKETS];
}

static void unlink_block(block *b) {
    *(b->previous ? &b->previous->next : bucket_of(b->device, b->bytes)) = b->next;
    if (b->next) b->next->previous = b->previous;
    *(b->newer ? &b->newer->older : &newest) = b->older;
    *(b->older ? &b->older->newer : &oldest) = b->newer;
    cached_bytes -= b->bytes;
    if (b->device.kind == TN_CPU) cached_cpu_bytes -= b->bytes;
}

static void link_block(block *b) {
    block **bucket = bucket_of(b->device, b->bytes);
    b->previous = NULL;
    b->next = *bucket;
    if (b->next) b->next->previous = b;
    *bucket = b;
    b->newer = NULL;
    b->older = newest;
    *(newest ? &newest->newer : &oldest) = b;
    newest = b;
    cached_bytes += b->bytes;
    if (b->device.kind == TN_CPU) cached_cpu_bytes += b->bytes;
}

/* Takes the oldest blocks of the cpu out until at most `keep` bytes are left; a list by `next`. */
static block *evict(uint64_t keep) {
    block *out = NULL;
    for (block *b = oldest; b && cached_cpu_bytes > keep;) {
        block *newer = b->newer;
        if (b->device.kind == TN_CPU) {
            unlink_block(b);
            b->next = out;
            out = b;
        }
        b = newer;
    }
    return out;
}

static void give_back(block *list) {
    while (list) {
        block *b = list;
        list = b->next;
        system_free(b->device, b->data, b->bytes);
        tni_slab_put(&block_slab, b);
    }
}

static void *large_cached(tn_device device, uint64_t bytes) {
    tni_memory_lock();
    block *b = *bucket_of(device, bytes);
    while (b && !(b->bytes == bytes && b->device.kind == device.kind &&
                  b->device.index == device.index)) {
        b = b->next;
    }
    if (b) unlink_block(b);
    tni_memory_unlock();
    if (!b) return NULL;
    void *data = b->data;
    tni_slab_put(&block_slab, b);
    return data;
}

static void large_free(tn_device device, void *data, uint64_t bytes) {
    const uint64_t cap = tni_system_memory() / 4;
    block *b = NULL;
    if (!tni_memory_system() && (device.kind != TN_CPU || bytes <= cap)) {
        b = tni_slab_take(&block_slab);
    }
    if (!b) {
        system_free(device, data, bytes);
        return;
    }
    b->data = data;
    b->bytes = bytes;
    b->device = device;
    tni_memory_lock();
    link_block(b);
    block *evicted = evict(cap);
    tni_memory_unlock();
    give_back(evicted);
}

/* ---- The calls ------------------------------------------------------------------------------- */

static void account(tni_memory_cache *c, int64_t change) {
    if (c) {
        tni_account(c, change);
    } else {
        tni_account_shared(change);
    }
}

static void *alloc_slowly(tn_device device, uint64_t bytes) {
    const uint64_t whole = rounded(bytes);
    if (whole == 0) return NULL;
    tni_memory_cache *c = tni_memory_cache_get();
    void *data = NULL;
    if (c && is_small(device, bytes)) {
        data = small_slowly(c, class_of(bytes ? bytes : 1));
    } else {
        data = large_cached(device, whole);
        if (!data) data = system_alloc(device, whole);
    }
    if (data) account(c, (int64_t)bytes);
    return data;
}

void *tni_buffer_alloc(tn_device device, uint64_t bytes) {
    if (tni_fault()) return NULL;
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(c && device.kind == TN_CPU && bytes - 1 < TNI_SMALL_BYTES, 1)) {
        tni_free_list *l = &c->small[class_of(bytes)];
        if (__builtin_expect(l->head != NULL, 1)) {
            tni_account(c, (int64_t)bytes);
            return pop(l);
        }
    }
    return alloc_slowly(device, bytes);
}

static void free_slowly(tn_device device, void *data, uint64_t bytes) {
    tni_memory_cache *c = tni_memory_cache_get();
    account(c, -(int64_t)bytes);
    if (!is_small(device, bytes)) {
        large_free(device, data, rounded(bytes));
    } else if (c) {
        small_overflow(c, class_of(bytes ? bytes : 1), data);
    } else {
        system_free(device, data, rounded(bytes));
    }
}

void tni_buffer_free(tn_device device, void *data, uint64_t bytes) {
    if (!data) return;
    tni_memory_cache *c = tni_tls.memory;
    if (__builtin_expect(c && device.kind == TN_CPU && bytes - 1 < TNI_SMALL_BYTES, 1)) {
        tni_free_list *l = &c->small[class_of(bytes)];
        if (__builtin_expect(tni_list_n(l) + 1 < l->cap, 1)) {
            tni_account(c, -(int64_t)bytes);
            push(l, data);
            return;
        }
    }
    free_slowly(device, data, bytes);
}

uint64_t tni_buffer_cached(void) {
    uint64_t bytes = cached_bytes;
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) {
        bytes += tni_list_n(&spare[i]) * tni_class_bytes(i);
    }
    return bytes;
}

void tni_buffer_thread_end(tni_memory_cache *c) {
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) move(&c->small[i], &spare[i], UINT32_MAX);
}

/* Small blocks in other threads' lists stay: only their threads may touch them. */
void tn_memory_trim(void) {
    tni_free_list small[TNI_SMALL_CLASSES] = {{NULL, NULL, 0, 0}};
    tni_memory_cache *c = tni_tls.memory;
    block *blocks = NULL;
    tni_memory_lock();
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) {
        if (c) move(&c->small[i], &small[i], UINT32_MAX);
        move(&spare[i], &small[i], UINT32_MAX);
    }
    while (newest) {
        block *b = newest;
        unlink_block(b);
        b->next = blocks;
        blocks = b;
    }
    tni_memory_unlock();
    for (uint32_t i = 0; i < TNI_SMALL_CLASSES; i++) free_all(&small[i], tni_class_bytes(i));
    give_back(blocks);
}
