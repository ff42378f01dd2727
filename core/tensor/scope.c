/* scope.c - who frees what a function returned.
 *
 * A thread has one stack of items (tensors, and memory blocks tagged by bit 0) and one stack of
 * frames that say where each open scope begins:
 *
 *     items   t0 t1 | t2 m3 | t4          frames   {first 2, serial 7} {first 4, serial 9}
 *             root    scope   scope
 *
 * Invariant: serials only grow, so a mark that is not on the frame stack is stale. Items below the
 * first frame belong to the thread and are freed when it ends. Neither push nor pop allocates once
 * the stacks have their size.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/tensor/scope.h"

#include <string.h>

#include "core/base/heap.h"
#include "core/tensor/tensor.h"

enum { ITEMS_START = 256, FRAMES_START = 16, TAG_MEMORY = 1 };

struct tni_scope_frame {
    uint64_t first; /* index of its first item */
    uint64_t serial;
};

static inline void release_item(void *item) {
    if ((uintptr_t)item & TAG_MEMORY) {
        tni_free((char *)item - TAG_MEMORY);
    } else {
        tni_tensor_release(item);
    }
}

/* From the top down to `first`, but for the n_kept on top, which move down. What is let go may call
 * the program (to drop saved values), which uses the stack above meanwhile. */
static inline void release_items(tni_state *st, uint64_t first, uint64_t n_kept) {
    const uint64_t end = st->scope_n - n_kept;
    for (uint64_t i = end; i > first; i--) release_item(st->scope_items[i - 1]);
    const uint64_t left = st->scope_n - end;
    if (left) memmove(st->scope_items + first, st->scope_items + end, left * sizeof(void *));
    st->scope_n = first + left;
}

static void thread_end(tni_state *st) {
    st->scope_depth = st->scope_floor = 0;
    while (st->scope_n > 0) release_items(st, 0, 0);
    tni_free(st->scope_items);
    tni_free(st->scope_frames);
    st->scope_items = NULL;
    st->scope_frames = NULL;
    st->scope_capacity = st->scope_frames_capacity = st->scope_depth = 0;
}

/* Doubles an array until it holds `needed` elements of `bytes` each. */
static bool grow(void **array, uint64_t *capacity, uint64_t needed, uint64_t start,
                 uint64_t bytes) {
    uint64_t wanted = *capacity ? *capacity : start;
    while (wanted < needed) {
        if (wanted > UINT64_MAX / 4 / bytes) return false;
        wanted *= 2;
    }
    tni_state_at_end(TNI_END_TENSORS, thread_end);
    void *larger = tni_realloc(*array, *capacity * bytes, wanted * bytes);
    if (!larger) return false;
    *array = larger;
    *capacity = wanted;
    return true;
}

static bool reserve_items(tni_state *st, uint64_t needed) {
    if (__builtin_expect(needed <= st->scope_capacity, 1)) return true;
    void *items = st->scope_items;
    if (!grow(&items, &st->scope_capacity, needed, ITEMS_START, sizeof(void *))) {
        tn_raise(TN_ERR_NOMEM,
                 "no memory for a scope of %llu items; pop scopes more often, or free memory",
                 (unsigned long long)needed);
        return false;
    }
    st->scope_items = items;
    return true;
}

static bool reserve_frames(tni_state *st) {
    if (__builtin_expect(st->scope_depth < st->scope_frames_capacity, 1)) return true;
    void *frames = st->scope_frames;
    if (!grow(&frames, &st->scope_frames_capacity, st->scope_depth + 1, FRAMES_START,
              sizeof(struct tni_scope_frame))) {
        tn_raise(TN_ERR_NOMEM, "tn_scope_push: no memory for scope number %llu of this thread",
                 (unsigned long long)st->scope_depth + 1);
        return false;
    }
    st->scope_frames = frames;
    return true;
}

tn_scope tn_scope_push(void) {
    tni_state *st = tni_state_get();
    if (!reserve_frames(st)) return (tn_scope){0, st->thread};
    struct tni_scope_frame *frame = &st->scope_frames[st->scope_depth++];
    frame->first = st->scope_n;
    frame->serial = ++st->scope_serial;
    return (tn_scope){frame->serial, st->thread};
}

/* A function that the library runs must not free what the library works on. */
static struct tni_scope_frame *reachable(tni_state *st, uint64_t i, const char *where) {
    if (i >= st->scope_floor) return &st->scope_frames[i];
    tn_raise(TN_ERR_SCOPE,
             "%s: the scope was opened outside of the function that pops it (a hook, a "
             "derivative, a function to differentiate); leave that to who opened it",
             where);
    return NULL;
}

/* The scope's frame, wherever it is, or NULL + SCOPE. */
static struct tni_scope_frame *search(tni_state *st, tn_scope scope, const char *where) {
    if (scope.thread != st->thread) {
        tn_raise(TN_ERR_SCOPE,
                 "%s: the scope was opened by thread %llu, this is thread %llu; pop a scope "
                 "on the thread that pushed it",
                 where, (unsigned long long)scope.thread, (unsigned long long)st->thread);
        return NULL;
    }
    uint64_t low = 0, high = st->scope_depth; /* serials grow along the stack */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (st->scope_frames[middle].serial == scope.mark) return reachable(st, middle, where);
        if (st->scope_frames[middle].serial < scope.mark) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    tn_raise(TN_ERR_SCOPE,
             "%s: the scope is not open any more; it was popped before, alone or with an "
             "outer one, or its push failed",
             where);
    return NULL;
}

/* Nearly always it is the innermost. */
static inline struct tni_scope_frame *find(tni_state *st, tn_scope scope, const char *where) {
    const uint64_t depth = st->scope_depth; /* 0: there may be no frames at all */
    const bool is_it = depth > st->scope_floor && scope.thread == st->thread &&
                       st->scope_frames[depth - 1].serial == scope.mark;
    return is_it ? &st->scope_frames[depth - 1] : search(st, scope, where);
}

/* The n_kept items on top move to the scope outside. */
static inline void close_frame(tni_state *st, const struct tni_scope_frame *frame,
                               uint64_t n_kept) {
    st->scope_depth = (uint64_t)(frame - st->scope_frames);
    release_items(st, frame->first, n_kept);
}

tn_status tn_scope_pop(tn_scope scope) {
    tni_state *st = tni_state_get();
    const struct tni_scope_frame *frame = find(st, scope, "tn_scope_pop");
    if (!frame) return st->error;
    close_frame(st, frame, 0);
    return TN_OK;
}

/* All that are there are live? Counts them. */
static bool check_kept(tn_tensor *const *kept, int64_t n, uint64_t *count) {
    *count = 0;
    if (n < 0 || (n > 0 && !kept)) {
        tn_raise(TN_ERR_INVALID,
                 "tn_scope_pop_with: %lld kept tensors%s; give a list and its length", (long long)n,
                 kept ? "" : " and no list");
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        if (!kept[i]) continue;
        if (!tni_tensor_check(kept[i], "tn_scope_pop_with", "kept")) return false;
        ++*count;
    }
    return true;
}

tn_status tn_scope_pop_with(tn_scope scope, tn_tensor *const *kept, int64_t n) {
    tni_state *st = tni_state_get();
    uint64_t count;
    const struct tni_scope_frame *frame = find(st, scope, "tn_scope_pop_with");
    /* All that can fail comes first: after an error the scope is as it was. */
    if (!frame || !check_kept(kept, n, &count)) return st->error;
    if (!reserve_items(st, st->scope_n + count)) return st->error;
    for (int64_t i = 0; i < n; i++) { /* now: the list may lie in the scope's own memory */
        if (!kept[i]) continue;
        tni_tensor_retain(kept[i]);
        st->scope_items[st->scope_n++] = kept[i];
    }
    close_frame(st, frame, count);
    return TN_OK;
}

tn_tensor *tni_scope_return(uint64_t depth, tn_tensor *t) {
    tni_state *st = tni_state_get();
    if (st->scope_depth > depth) {
        const tn_scope left = {st->scope_frames[depth].serial, st->thread};
        if (st->error || !t || tn_scope_pop_with(left, &t, 1)) tn_scope_pop(left);
    }
    return st->error ? NULL : t;
}

tn_tensor *tni_scope_own_slowly(tn_tensor *t) {
    tni_state *st = tni_state_get();
    if (!reserve_items(st, st->scope_n + 1)) {
        tni_tensor_release(t);
        return NULL;
    }
    st->scope_items[st->scope_n++] = t;
    return t;
}

void *tn_scope_alloc(uint64_t bytes) {
    tni_state *st = tni_state_get();
    if (!reserve_items(st, st->scope_n + 1)) return NULL;
    char *block = tni_alloc(bytes);
    if (!block) {
        tn_raise(TN_ERR_NOMEM, "no memory for %llu bytes in a scope; free memory or pop scopes",
                 (unsigned long long)bytes);
        return NULL;
    }
    st->scope_items[st->scope_n++] = block + TAG_MEMORY;
    return block;
}

tn_status tn_scope_adopt(tn_tensor *t) {
    tni_state *st = tni_state_get();
    if (!tni_tensor_check(t, "tn_scope_adopt", "tensor")) return st->error;
    if (!reserve_items(st, st->scope_n + 1)) return st->error;
    tni_tensor_retain(t);
    st->scope_items[st->scope_n++] = t;
    return TN_OK;
}

tn_tensor *tn_keep(tn_tensor *t) {
    if (!tni_tensor_check(t, "tn_keep", "tensor")) return NULL;
    tni_tensor_retain(t);
    __atomic_fetch_add(&t->kept, 1, __ATOMIC_RELAXED);
    return t;
}

tn_status tn_drop(tn_tensor *t) {
    if (!t) return TN_OK;
    if (!tni_tensor_check(t, "tn_drop", "tensor")) return tn_error();
    int32_t kept = __atomic_load_n(&t->kept, __ATOMIC_RELAXED);
    do {
        if (kept <= 0) {
            return tn_raise(TN_ERR_INVALID, "tn_drop: the tensor is not kept; call tn_drop once "
                                            "for each tn_keep, and let scopes free the rest");
        }
    } while (!__atomic_compare_exchange_n(&t->kept, &kept, kept - 1, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    tni_tensor_release(t);
    return TN_OK;
}
