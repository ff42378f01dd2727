/* state.h - everything that belongs to one thread, in one struct.
 *
 * Invariant: nothing else in the library is thread-local. The struct is small (static TLS is scarce
 * when libtenon is itself loaded at run time); what is large hangs on pointers and is freed when
 * the thread ends.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_STATE_H
#define TENON_BASE_STATE_H

#include <tenon/tenon.h>

/* Why a call of an op looks twice before it begins; 0: it need not. */
enum {
    TNI_HEAD_CLOSED = 1u << 0, /* plugins are not loaded yet, or this is the child of a fork */
    TNI_HEAD_WORKER = 1u << 1, /* a pool body runs: ops are refused, parallel_for runs inline */
    TNI_HEAD_KERNEL = 1u << 2, /* a kernel runs, or a layer looks on: ops are refused */
    TNI_HEAD_LAYERS = 1u << 3, /* there are layers (dispatch/layers.h) */
    TNI_HEAD_WATCHED = 1u << 4 /* ... and some look on at kernels */
};

typedef struct tni_layering {    /* layers of a thread (dispatch/layers.c) */
    struct tni_layer *all;       /* innermost first */
    struct tni_layer *next;      /* who is asked first by the next call */
    struct tni_layer *floor;     /* while a function of the program runs: those before it stay */
    const struct tni_turn *turn; /* whose it is in the call under way */
    const struct tni_layer *onlooker; /* whose function that only looks on runs */
    uint32_t within;                  /* TN_LAYER_*: what calls are now part of */
    bool passed_all;                  /* the call that begins is one that all have passed on */
} tni_layering;

typedef struct tni_state {
    tn_status error;   /* the pending error */
    uint8_t head;      /* TNI_HEAD_* */
    bool grad_enabled; /* starts as true */
    bool deterministic;
    uint8_t math; /* TN_MATH_* */
    bool anomaly; /* autograd: look for NaN, remember calls */
    bool orders;  /* calls wait for the streams their tensors lie on: so in a backward pass */
    bool ready;   /* tni_state_get has run on this thread */
    int32_t max_threads;     /* 0 = all */
    int32_t pin;             /* who is asked first (dispatch/pin.h), -1 = none */
    struct tn_stream *place; /* current device and stream (memory/place.h); NULL = the cpu's */
    tn_generator *generator; /* what random ops without one draw from; NULL = the process's */
    uint64_t thread;         /* unique for ever, from 1 */
    char *message;           /* text of the pending error */
    void **scope_items;      /* scope stack: tensors, and memory blocks tagged by bit 0 (scope.c) */
    uint64_t scope_n, scope_capacity;
    uint64_t scope_depth;  /* open scopes */
    uint64_t scope_serial; /* counts pushes: makes a stale mark recognisable */
    struct tni_scope_frame *scope_frames;
    struct tni_local_cache *cache;          /* dispatch: this thread's signature cache */
    const struct tni_provider *last_kernel; /* that ran, or runs; NULL if none */
    uint64_t *kernel_runs;                  /* of each plugin by index; NULL until somebody asks */
    uint64_t argument_copies;               /* made before kernels ran */
    struct tni_node *dying;                 /* autograd: nodes waiting to be destroyed */
    bool destroying;             /* ... somebody further up this thread's stack is at it */
    uint64_t anomaly_calls;      /* recorded in anomaly mode so far */
    struct tni_saved_set *saved; /* autograd: innermost saved-tensor hooks, or NULL */
    /* While a function of the program runs (visit.h): what was there before it stays. */
    struct tni_saved_set *saved_floor;
    uint64_t scope_floor; /* that many scopes */
    uint64_t node_seq;    /* number of the last node made here (autograd) */
    uint64_t scope_frames_capacity;
    struct tni_memory_cache *memory; /* this thread's free lists and counts (memory_cache.h) */
    uint32_t threads_used;           /* by the last parallel call (threads.c) */
    tni_layering layering;
} tni_state;

extern _Thread_local tni_state tni_tls __attribute__((tls_model("initial-exec")));
tni_state *tni_state_first(void); /* slow path: initialises the thread */

/* This thread's state; never NULL. */
static inline tni_state *tni_state_get(void) {
    return __builtin_expect(tni_tls.ready, 1) ? &tni_tls : tni_state_first();
}

/* True in a child that forked after Tenon started: raises FORKED. */
bool tni_forked(void);
bool tni_is_forked(void); /* the same question; raises nothing */

/* What a thread owns ends with it, in this order. Who puts something into the state registers,
 * before the first time, the function that takes it out again; registering once more changes
 * nothing. */
typedef enum tni_end {
    TNI_END_LAYERS,
    TNI_END_PROGRAM, /* functions of the program, so that the rest may still call them */
    TNI_END_TENSORS,
    TNI_END_CACHES,
    TNI_END_MEMORY,
    TNI_ENDS
} tni_end;
void tni_state_at_end(tni_end, void (*)(tni_state *));

#endif
