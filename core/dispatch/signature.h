/* signature.h - what one call looks like, and everything that follows from it.
 *
 * A signature is resolved once per distinct key and then shared, immutable, by all calls that look
 * alike: which provider and plan, which inputs to cast or copy, the geometry kernels see, the
 * metadata of results. Invariant: a key is compared in full, never by its hash alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_SIGNATURE_H
#define TENON_DISPATCH_SIGNATURE_H

#include <string.h>

#include "core/dispatch/invocation.h"

typedef struct tni_geometry { /* how a kernel sees one tensor lie */
    int32_t rank;
    int64_t sizes[TN_MAX_RANK];
    int64_t strides[TN_MAX_RANK];
} tni_geometry;

typedef enum tni_prepare {
    TNI_AS_IS,
    TNI_CAST_NUMBER, /* a wrapped number: converted into the call's own frame */
    TNI_COPY         /* cast, or made contiguous (perhaps permuted), into a temporary */
} tni_prepare;

typedef struct tni_operand {
    tni_prepare prepare;
    tn_dtype dtype;                  /* that the kernel sees */
    int8_t permutation[TN_MAX_RANK]; /* for TNI_COPY: dim i of the temporary is this dim of the
                                        operand */
} tni_operand;

typedef struct tni_output {
    tn_meta meta;
    int64_t numel;
    uint64_t bytes;
    int32_t target; /* operand that is written in place, or -1: fresh */
    bool absent;    /* an optional result that this call does not have */
    bool ordered;   /* fresh, and not row-major: its plan has said how it lies */
    bool visible;
} tni_output;

typedef enum tni_sig_kind { TNI_SIG_KERNEL, TNI_SIG_VIEW, TNI_SIG_DECOMPOSE } tni_sig_kind;

typedef struct tni_signature {
    _Atomic int32_t refs;
    tni_sig_kind kind;
    uint64_t epoch;
    uint64_t hash;
    uint64_t *key;
    uint64_t n_key;
    struct tni_signature *next, *newer, *older; /* in shared_cache.c */
    const tni_op *op;
    const tni_provider *provider;
    tn_plan plan;
    uint32_t call_flags, math;
    uint32_t n_operands;
    uint32_t n_outputs;
    bool nothing_to_do;    /* every result is empty */
    bool prepares;         /* some operand is not AS_IS */
    bool plain;            /* a kernel makes one new result of operands as they are, and no more */
    uint32_t n_list;       /* entries of the result that is a list */
    int32_t viewed;        /* TNI_SIG_VIEW: the operand the results alias */
    uint64_t rng_counters; /* to reserve for one call */
    tn_value *args;        /* non-tensor, non-run-time arguments, as the contract normalised them */
    tni_operand *operands;
    tni_output *outputs;
    tn_view *views; /* operands, then outputs, as a kernel sees them, but for their data */
    uint64_t bytes; /* all of the above, and the plan as its provider says */
} tni_signature;

/* The schema's result that output i is, or is an entry of; and the first output of result r. */
static inline uint32_t tni_output_result(const tni_signature *s, uint32_t i) {
    const uint32_t at = (uint32_t)s->op->list_at;
    return s->op->list_at < 0 || i < at ? i : i < at + s->n_list ? at : i + 1 - s->n_list;
}
static inline uint32_t tni_result_output(const tni_signature *s, uint32_t r) {
    return s->op->list_at < 0 || r <= (uint32_t)s->op->list_at ? r : r + s->n_list - 1;
}

static inline bool tni_signature_matches(const tni_signature *s, const uint64_t *key, uint64_t n,
                                         uint64_t hash, uint64_t epoch) {
    return s->hash == hash && s->n_key == n && s->epoch == epoch &&
           memcmp(s->key, key, n * sizeof *key) == 0;
}

/* A signature while it is made, with room for what is known of one no sooner: how operands and
 * outputs lie. Its arrays lie where its maker keeps them. */
typedef struct tni_draft {
    tni_signature s;
    tni_geometry *operands, *outputs;
} tni_draft;

/* What was drafted, in one block of the size it takes, with a key and one reference; the plan is its
 * own from now on. NULL: no memory, and nothing has changed. */
tni_signature *tni_signature_new(const tni_draft *, const tni_invocation *, const uint64_t *key,
                                 uint64_t n_key);
/* Ends what a provider planned, if it did. */
void tni_plan_drop(const tni_provider *, const tn_plan *);
void tni_signature_retain(tni_signature *);
void tni_signature_release(tni_signature *);

#endif
