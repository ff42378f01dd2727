/* directory.h - ops and chains of providers by id and by name: read without locks, only ever
 * added to.
 *
 * Invariants: what a directory has published never moves and never changes, but for the chain of
 * an entry, which is replaced as a whole. A full one is replaced by one twice as large, so n
 * additions cost O(n) in time and memory. Looking up adds nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_DIRECTORY_H
#define TENON_DISPATCH_DIRECTORY_H

#include <stdatomic.h>

#include "core/dispatch/registry.h"

typedef struct tni_chain {         /* providers of one op on every device kind, best first */
    const struct tni_chain *older; /* which this one replaced: readers may still hold it */
    uint64_t n;
    tni_provider *items[];
} tni_chain;

typedef struct tni_entry { /* id i is entries[i - 1] */
    const char *name;
    const tni_op *op; /* NULL: kernels wait for it */
    _Atomic(const tni_chain *) chain;
} tni_entry;

typedef struct tni_directory {
    _Atomic int32_t n; /* entries that are published */
    int32_t capacity;
    uint64_t mask; /* places of the index - 1; at most half of them are taken */
    tni_entry *entries;
    _Atomic int32_t *index;            /* ids by hash of the name; 0 = free */
    const struct tni_directory *older; /* which this one replaced */
} tni_directory;

extern _Atomic(tni_directory *) tni_directory_published;
static inline tni_directory *tni_directory_current(void) {
    return atomic_load_explicit(&tni_directory_published, memory_order_acquire);
}
/* The id of a name among the first n entries, or 0. A name waits (op NULL), or is an op. */
int32_t tni_directory_find(const tni_directory *, int32_t n, const char *name);

/* For writers, one at a time: a directory with room for `more`, perhaps the current one; NULL if
 * memory ran out. What is put into it is seen by nobody until it is published. */
tni_directory *tni_directory_reserve(uint64_t more);
void tni_directory_drop(tni_directory *); /* one that was reserved and will not be published */
/* Entry number n + 1, which takes the place of a waiting one of its name. Returns its id. */
int32_t tni_directory_put(tni_directory *, int32_t n, const char *name, const tni_op *op,
                          const tni_chain *);
void tni_directory_publish(tni_directory *, int32_t n);

#endif
