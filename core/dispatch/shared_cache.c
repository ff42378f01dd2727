/* shared_cache.c - see shared_cache.h.
 *
 * A table by hash, and a list from the one asked for last to the one not asked for longest. Invariant:
 * what goes is released without the lock: that may run plugins' code.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/shared_cache.h"

#include <pthread.h>

#include "core/memory/statistics.h"

enum { BUCKETS = 1 << 14, MOST_BYTES = 64 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tni_signature *buckets[BUCKETS];
static tni_signature *newest, *oldest; /* asked for */
static uint64_t count, bytes;
static uint64_t newest_epoch; /* of the registry, when the latest was put */

static tni_signature **bucket_of(const tni_signature *s) { return &buckets[s->hash % BUCKETS]; }

static void list_out(tni_signature *s) {
    *(s->newer ? &s->newer->older : &newest) = s->older;
    *(s->older ? &s->older->newer : &oldest) = s->newer;
}

static void list_in(tni_signature *s) {
    s->newer = NULL;
    s->older = newest;
    *(newest ? &newest->newer : &oldest) = s;
    newest = s;
}

static void take_out(tni_signature *s) {
    tni_signature **at = bucket_of(s);
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    list_out(s);
    count--;
    bytes -= s->bytes;
}

tni_signature *tni_shared_find(const uint64_t *key, uint64_t n, uint64_t hash, uint64_t epoch) {
    pthread_mutex_lock(&lock);
    tni_signature *s = buckets[hash % BUCKETS];
    while (s && !tni_signature_matches(s, key, n, hash, epoch)) s = s->next;
    if (s) {
        tni_signature_retain(s);
        if (s != newest) list_out(s), list_in(s);
    }
    pthread_mutex_unlock(&lock);
    return s;
}

/* Takes out what is too much; a list by next. */
static tni_signature *evict(uint64_t epoch) {
    tni_signature *gone = NULL;
    while (oldest && (newest_epoch != epoch || bytes > MOST_BYTES)) {
        tni_signature *s = oldest;
        take_out(s);
        s->next = gone;
        gone = s;
    }
    newest_epoch = epoch;
    return gone;
}

/* Threads keep what they use. */
void tni_shared_put(tni_signature *s) {
    tni_signature_retain(s);
    pthread_mutex_lock(&lock);
    tni_signature *gone = evict(s->epoch);
    s->next = *bucket_of(s);
    *bucket_of(s) = s;
    list_in(s);
    count++;
    bytes += s->bytes;
    tni_statistics_signatures(count, bytes);
    pthread_mutex_unlock(&lock);
    while (gone) {
        tni_signature *next = gone->next;
        tni_signature_release(gone);
        gone = next;
    }
}
