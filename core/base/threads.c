/* threads.c - the one pool of threads.
 *
 * A parallel call is a job: chunks 0..n_chunks-1, handed out by an atomic counter. The caller works
 * too, and never waits for a worker that has not begun, so a late or missing worker costs speed
 * only. Who may join, and who is at work, is one word, so that a job closes at one instant:
 *
 *     gate  [ number of the job : 16 | places open : 8 | workers inside : 8 ]
 *
 * Invariants: borders and the combination tree come from (n, grain) alone; the job is written only
 * while the gate is closed and nobody is inside; in a body TNI_HEAD_WORKER is set, on every thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <fenv.h>
#endif

#include "core/base/heap.h"
#include "core/base/state.h"
#include "core/base/system.h"

enum { THREADS_MAX = 128, SPIN_NS = 30000, SPIN_TURNS = 16 };
enum { INSIDE_ONE = 1, OPEN_ONE = 1 << 8, JOB_ONE = 1 << 16 };
enum { WAKE_WORKERS = 1, WAKE_CALLER = 2 }; /* futex bit sets */

#if defined(__x86_64__)
typedef unsigned int float_mode;
#else
typedef fenv_t float_mode;
#endif

typedef struct job {
    tn_range_fn body;
    void *arg;
    int64_t n, grain, chunks;
    float_mode mode; /* of the caller: workers round and flush as it does */
} job;

static struct {
    _Atomic bool busy; /* a caller owns the pool */
    _Atomic uint32_t gate;
    _Atomic uint32_t sleepers;
    _Atomic bool caller_sleeps;
    _Atomic int64_t next;  /* chunk to hand out */
    _Atomic uint32_t used; /* threads that ran a chunk */
    job job;
    _Atomic int32_t workers; /* threads there are; they end with the process */
} pool;

/* ---- How many -------------------------------------------------------------------------------- */

static pthread_once_t count_once = PTHREAD_ONCE_INIT;
static int32_t count;

static void read_count(void) {
    const char *text = secure_getenv("TENON_THREADS");
    char *end = NULL;
    long wanted = text ? strtol(text, &end, 10) : 0;
    const bool given = text && end != text && *end == '\0' && wanted >= 1;
    if (!given) wanted = tni_system_cpus();
    count = wanted < THREADS_MAX ? (int32_t)wanted : THREADS_MAX;
}

int32_t tni_thread_count(void) {
    pthread_once(&count_once, read_count);
    return count;
}

int32_t tni_thread_limit(void) {
    const int32_t limit = tni_state_get()->max_threads;
    return limit > 0 ? limit : tni_thread_count();
}

tn_status tn_set_threads(int32_t n) {
    if (n < 0 || n > THREADS_MAX) {
        return tn_raise(TN_ERR_INVALID, "tn_set_threads: %d threads; pass 1 to %d, or 0 for all", n,
                        THREADS_MAX);
    }
    tni_state_get()->max_threads = n;
    return TN_OK;
}

int32_t tn_threads(void) { return tni_thread_limit(); }
uint32_t tni_threads_used_last(void) { return tni_state_get()->threads_used; }

/* ---- Floating-point mode --------------------------------------------------------------------- */

#if defined(__x86_64__)
static void get_mode(float_mode *out) { *out = _mm_getcsr(); }
static void set_mode(const float_mode *mode) { _mm_setcsr(*mode); }
static void relax(void) { _mm_pause(); }
#else
static void get_mode(float_mode *out) { fegetenv(out); }
static void set_mode(const float_mode *mode) { fesetenv(mode); }
static void relax(void) {}
#endif

/* ---- The gate -------------------------------------------------------------------------------- */

static uint32_t inside(uint32_t gate) { return gate & 0xff; }
static uint32_t open_places(uint32_t gate) { return gate >> 8 & 0xff; }
static uint32_t job_number(uint32_t gate) { return gate >> 16; }

/* Sleeps while the gate is as seen; may wake for no reason. */
static void sleep_at_gate(uint32_t seen, int who) {
    syscall(SYS_futex, &pool.gate, FUTEX_WAIT_BITSET_PRIVATE, seen, NULL, NULL, who);
}
static void wake_at_gate(uint32_t most, int who) {
    syscall(SYS_futex, &pool.gate, FUTEX_WAKE_BITSET_PRIVATE, most, NULL, NULL, who);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Spinning helps only where every thread has a processor. */
static uint64_t spin_until(void) {
    return atomic_load_explicit(&pool.workers, memory_order_relaxed) < tni_system_cpus()
               ? now_ns() + SPIN_NS
               : 0;
}

/* Takes a place in job `number`, if one is left. */
static bool join_job(uint32_t number) {
    uint32_t gate = atomic_load(&pool.gate);
    while (job_number(gate) == number && open_places(gate) > 0) {
        if (atomic_compare_exchange_weak(&pool.gate, &gate, gate - OPEN_ONE + INSIDE_ONE))
            return true;
    }
    return false;
}

static void leave_job(void) {
    const uint32_t gate = atomic_fetch_sub(&pool.gate, INSIDE_ONE) - INSIDE_ONE;
    if (inside(gate) == 0 && open_places(gate) == 0 && atomic_load(&pool.caller_sleeps)) {
        wake_at_gate(1, WAKE_CALLER);
    }
}

/* ---- Running chunks -------------------------------------------------------------------------- */

static int64_t chunk_end(const job *j, int64_t chunk) {
    return chunk == j->chunks - 1 ? j->n : (chunk + 1) * j->grain;
}

static void run_chunks(const job *j) {
    bool ran = false;
    for (;;) {
        const int64_t chunk = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
        if (chunk >= j->chunks) break;
        j->body(j->arg, chunk * j->grain, chunk_end(j, chunk));
        ran = true;
    }
    if (ran) atomic_fetch_add(&pool.used, 1);
}

static void run_inline(const job *j) {
    for (int64_t chunk = 0; chunk < j->chunks; chunk++) {
        j->body(j->arg, chunk * j->grain, chunk_end(j, chunk));
    }
}

/* ---- Workers --------------------------------------------------------------------------------- */

static bool is_new(uint32_t gate, uint32_t last) {
    return job_number(gate) != last && open_places(gate) > 0;
}

/* The number of a job that is not `last` and has a place. */
static uint32_t wait_for_job(uint32_t last) {
    const uint64_t deadline = spin_until();
    uint32_t gate = atomic_load(&pool.gate);
    for (uint32_t turn = 0; !is_new(gate, last); turn++) {
        if (deadline == 0 || (turn % SPIN_TURNS == 0 && now_ns() > deadline)) break;
        relax();
        gate = atomic_load(&pool.gate);
    }
    while (!is_new(gate, last)) {
        atomic_fetch_add(&pool.sleepers, 1);
        gate = atomic_load(&pool.gate);
        if (!is_new(gate, last)) sleep_at_gate(gate, WAKE_WORKERS);
        atomic_fetch_sub(&pool.sleepers, 1);
        gate = atomic_load(&pool.gate);
    }
    return job_number(gate);
}

static void *work(void *unused) {
    (void)unused;
    tni_state_get()->head |= TNI_HEAD_WORKER;
    for (uint32_t last = 0;;) {
        last = wait_for_job(last);
        if (!join_job(last)) continue;
        set_mode(&pool.job.mode);
        run_chunks(&pool.job);
        tn_clear_error(); /* a body must not leave one; nobody would ever see it */
        leave_job();
    }
    return NULL;
}

/* The host's signal handlers must not run on our threads. */
static bool start_worker(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes)) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool started = pthread_create(&thread, &attributes, work, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

/* ---- One job --------------------------------------------------------------------------------- */

static void open_gate(int32_t helpers) {
    const uint32_t number = (job_number(atomic_load(&pool.gate)) + 1) & 0xffff;
    atomic_store(&pool.gate, number * JOB_ONE + (uint32_t)helpers * OPEN_ONE);
    if (atomic_load(&pool.sleepers) > 0) wake_at_gate((uint32_t)helpers, WAKE_WORKERS);
}

/* Closes the gate and waits until nobody is inside. */
static void close_gate(void) {
    uint32_t gate = atomic_fetch_and(&pool.gate, ~UINT32_C(0xff00)) & ~UINT32_C(0xff00);
    if (inside(gate) == 0) return;
    const uint64_t deadline = spin_until();
    for (uint32_t turn = 0; inside(gate) != 0; turn++) {
        if (deadline == 0 || (turn % SPIN_TURNS == 0 && now_ns() > deadline)) break;
        relax();
        gate = atomic_load(&pool.gate);
    }
    atomic_store(&pool.caller_sleeps, true);
    while (inside(gate = atomic_load(&pool.gate)) != 0) sleep_at_gate(gate, WAKE_CALLER);
    atomic_store(&pool.caller_sleeps, false);
}

/* False if nobody can help: other work has the pool, or there are no threads to be had. */
static bool run_shared(const job *j, int32_t threads, uint32_t *used) {
    if (tni_is_forked() || atomic_exchange(&pool.busy, true)) return false;
    int32_t helpers = atomic_load_explicit(&pool.workers, memory_order_relaxed);
    for (; helpers < threads - 1 && start_worker(); helpers++) atomic_fetch_add(&pool.workers, 1);
    if (helpers > threads - 1) helpers = threads - 1;
    if (helpers > 0) {
        pool.job = *j;
        get_mode(&pool.job.mode);
        atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
        atomic_store_explicit(&pool.used, 0, memory_order_relaxed);
        open_gate(helpers);
        run_chunks(&pool.job);
        close_gate();
        *used = atomic_load_explicit(&pool.used, memory_order_relaxed);
    }
    atomic_store(&pool.busy, false);
    return helpers > 0;
}

/* How many threads n_chunks units of work may use on this thread now. */
static int32_t threads_for(const tni_state *st, int64_t units, int32_t max_threads) {
    if (st->head & TNI_HEAD_WORKER || max_threads == 1 || units < 2) return 1;
    int32_t threads = tni_thread_limit();
    if (max_threads > 0 && max_threads < threads) threads = max_threads;
    return units < threads ? (int32_t)units : threads;
}

static void run_job(const job *j, int32_t threads) {
    tni_state *st = tni_state_get();
    const bool nested = st->head & TNI_HEAD_WORKER;
    uint32_t used = 1;
    st->head |= TNI_HEAD_WORKER;
    if (threads < 2 || !run_shared(j, threads, &used)) run_inline(j);
    if (!nested) st->head &= (uint8_t)~TNI_HEAD_WORKER;
    st->threads_used = used;
}

void tni_parallel_for(int64_t n, int64_t grain, int32_t max_threads, tn_range_fn body, void *arg) {
    if (n <= 0 || !body) return;
    if (grain < 1) grain = 1;
    job j = {.body = body, .arg = arg, .n = n, .grain = grain, .chunks = (n - 1) / grain + 1};
    run_job(&j, threads_for(tni_state_get(), j.chunks, max_threads));
}

/* ---- Reduction ------------------------------------------------------------------------------- */

/* The tree over chunks: neighbours are combined, then neighbouring pairs, and so on; what has no
 * right neighbour waits. A group of 2^k neighbouring chunks is a subtree, which one thread
 * evaluates alone with k + 1 partials, so a million chunks need no million partials. */

enum { GROUPS_MAX = 4096, LINE = 64, PARTIAL_MAX = 256, DEPTH_MAX = 65 };

typedef struct reduction {
    tn_reduce_fn body;
    tn_combine_fn combine;
    void *arg;
    int64_t n, grain, chunks;
    int64_t group; /* chunks in a group; a power of two */
    uint32_t bytes, stride;
    char *partials; /* of groups */
} reduction;

/* Evaluates chunks [first, last): a stack of finished subtrees, each half as large as the one
 * below, r->stride bytes apart. */
static void reduce_on(char *stack, const reduction *r, int64_t first, int64_t last, void *out) {
    char *top = stack; /* where the next one goes */
    for (int64_t chunk = first; chunk < last; chunk++) {
        const int64_t begin = chunk * r->grain;
        const int64_t end = chunk == r->chunks - 1 ? r->n : begin + r->grain;
        memset(top, 0, r->bytes);
        r->body(r->arg, begin, end, top);
        top += r->stride;
        for (int64_t done = chunk - first + 1; done % 2 == 0; done /= 2, top -= r->stride) {
            r->combine(r->arg, top - 2 * r->stride, top - r->stride);
        }
    }
    for (; top > stack + r->stride; top -= r->stride) {
        r->combine(r->arg, top - 2 * r->stride, top - r->stride);
    }
    memcpy(out, stack, r->bytes);
}

/* Two depths of stack, in functions of their own: most partials are a number or two, and a thread's
 * stack may be short. */
static __attribute__((noinline)) void reduce_small(const reduction *r, int64_t first, int64_t last,
                                                   void *out) {
    _Alignas(64) char stack[DEPTH_MAX * LINE];
    reduce_on(stack, r, first, last, out);
}

static __attribute__((noinline)) void reduce_large(const reduction *r, int64_t first, int64_t last,
                                                   void *out) {
    _Alignas(64) char stack[DEPTH_MAX * PARTIAL_MAX];
    reduce_on(stack, r, first, last, out);
}

static void reduce_chunks(const reduction *r, int64_t first, int64_t last, void *out) {
    (r->stride == LINE ? reduce_small : reduce_large)(r, first, last, out);
}

static void reduce_groups(void *arg, int64_t begin, int64_t end) {
    const reduction *r = arg;
    for (int64_t g = begin; g < end; g++) {
        const int64_t first = g * r->group, left = r->chunks - first;
        reduce_chunks(r, first, first + (left < r->group ? left : r->group),
                      r->partials + g * r->stride);
    }
}

static void combine_groups(const reduction *r, int64_t groups, void *out) {
    for (int64_t step = 1; step < groups; step *= 2) {
        for (int64_t g = 0; g + step < groups; g += 2 * step) {
            r->combine(r->arg, r->partials + g * r->stride, r->partials + (g + step) * r->stride);
        }
    }
    memcpy(out, r->partials, r->bytes);
}

/* On the calling thread only: the same tree, without partials in memory. */
typedef struct whole {
    const reduction *r;
    void *out;
} whole;

static void reduce_whole(void *arg, int64_t begin, int64_t end) {
    (void)begin, (void)end;
    const whole *w = arg;
    reduce_chunks(w->r, 0, w->r->chunks, w->out);
}

static void reduce(reduction *r, int32_t max_threads, void *out) {
    while ((r->chunks - 1) / r->group >= GROUPS_MAX) r->group *= 2;
    const int64_t groups = (r->chunks - 1) / r->group + 1;
    const int32_t threads = threads_for(tni_state_get(), groups, max_threads);
    char *block = threads > 1 ? tni_alloc((uint64_t)groups * r->stride + LINE) : NULL;
    if (!block) {
        whole w = {r, out};
        run_job(&(job){.body = reduce_whole, .arg = &w, .n = 1, .grain = 1, .chunks = 1}, 1);
        return;
    }
    r->partials = block + LINE - (uintptr_t)block % LINE;
    run_job(&(job){.body = reduce_groups, .arg = r, .n = groups, .grain = 1, .chunks = groups},
            threads);
    combine_groups(r, groups, out);
    tni_free(block);
}

tn_status tni_parallel_reduce(int64_t n, int64_t grain, int32_t max_threads, tn_reduce_fn body,
                              tn_combine_fn combine, void *arg, void *out, uint32_t partial_bytes) {
    if (!body || !combine || !out || partial_bytes == 0 || partial_bytes > PARTIAL_MAX) {
        return TN_ERR_INVALID;
    }
    memset(out, 0, partial_bytes);
    if (n <= 0) return TN_OK;
    if (grain < 1) grain = 1;
    reduction r = {.body = body,
                   .combine = combine,
                   .arg = arg,
                   .n = n,
                   .grain = grain,
                   .chunks = (n - 1) / grain + 1,
                   .group = 1,
                   .bytes = partial_bytes,
                   .stride = (partial_bytes + LINE - 1) / LINE * LINE};
    reduce(&r, max_threads, out);
    return TN_OK;
}
