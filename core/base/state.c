/* state.c - the life of one thread's state: first use, end of the thread, fork.
 *
 * Invariant: a thread that used Tenon gives everything back when it ends; a state used again after
 * that (by another destructor of the same thread) starts anew, with a new thread number.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/state.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/heap.h"

_Thread_local tni_state tni_tls __attribute__((tls_model("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t end_key;
static bool has_key;
static _Atomic uint64_t threads_seen;
static _Atomic bool forked;

static void (*_Atomic ends[TNI_ENDS])(tni_state *);

void tni_state_at_end(tni_end which, void (*end)(tni_state *)) { atomic_store(&ends[which], end); }

static void thread_end(void *state) {
    tni_state *st = state;
    for (int i = 0; i < TNI_ENDS; i++) {
        void (*end)(tni_state *) = atomic_load(&ends[i]);
        if (end) end(st);
    }
    tn_clear_error();
    tni_free(st->kernel_runs);
    memset(st, 0, sizeof *st);
}

static void fork_child(void) {
    atomic_store_explicit(&forked, true, memory_order_relaxed);
    tni_tls.head |= TNI_HEAD_CLOSED;
}

static void start(void) {
    has_key = pthread_key_create(&end_key, thread_end) == 0;
    pthread_atfork(NULL, NULL, fork_child);
}

tni_state *tni_state_first(void) {
    tni_state *st = &tni_tls;
    pthread_once(&once, start);
    memset(st, 0, sizeof *st);
    st->head = TNI_HEAD_CLOSED;
    st->grad_enabled = true;
    st->pin = -1;
    st->thread = atomic_fetch_add(&threads_seen, 1) + 1;
    st->ready = true;
    /* Without a key the thread's memory stays allocated when it ends: a leak, nothing worse. */
    if (has_key) pthread_setspecific(end_key, st);
    return st;
}

bool tni_is_forked(void) { return atomic_load_explicit(&forked, memory_order_relaxed); }

bool tni_forked(void) {
    if (__builtin_expect(!tni_is_forked(), 1)) return false;
    tn_raise(TN_ERR_FORKED, "this process was forked after Tenon had started, and its threads "
                            "and locks did not come along; fork before the first Tenon call, "
                            "or call exec in the child");
    return true;
}

const char *tn_version(void) { return TN_VERSION; }
