/* heap.c - see heap.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/heap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t heap_calls;

/* ---- Switches -------------------------------------------------------------------------------- */

bool tni_heap_may_fail;
static _Atomic uint64_t fault_made, fault_at;
static _Atomic bool fault_forever;

bool tni_heap_tick(void) {
    uint64_t number = atomic_fetch_add(&fault_made, 1) + 1;
    uint64_t at = atomic_load(&fault_at);
    if (at == 0) return false;
    return atomic_load(&fault_forever) ? number >= at : number == at;
}

uint64_t tni_heap_fail_after(uint64_t n, bool forever) {
    atomic_store(&fault_at, 0);
    uint64_t made = atomic_exchange(&fault_made, 0);
    atomic_store(&fault_forever, forever);
    atomic_store(&fault_at, n);
    __atomic_store_n(&tni_heap_may_fail, true, __ATOMIC_RELEASE);
    return made;
}

static bool system_mode;
static void read_mode(void) {
    const char *mode = secure_getenv("TENON_ALLOC");
    system_mode = mode && strcmp(mode, "system") == 0;
}

bool tni_heap_system(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_mode);
    return system_mode;
}

void tni_heap_called(void) { atomic_fetch_add_explicit(&heap_calls, 1, memory_order_relaxed); }
uint64_t tni_heap_calls(void) { return atomic_load(&heap_calls); }

/* ---- Small objects --------------------------------------------------------------------------- */

void *tni_alloc(uint64_t bytes) {
    if (tni_heap_fails()) return NULL;
    tni_heap_called();
    return calloc(1, bytes ? bytes : 1);
}

void *tni_realloc(void *old, uint64_t old_bytes, uint64_t new_bytes) {
    if (tni_heap_fails()) return NULL;
    tni_heap_called();
    char *block = realloc(old, new_bytes ? new_bytes : 1);
    if (block && new_bytes > old_bytes) memset(block + old_bytes, 0, new_bytes - old_bytes);
    return block;
}

void tni_free(void *block) { free(block); }

char *tni_strdup(const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = tni_alloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}
