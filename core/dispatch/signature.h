/* signature.h - what one call looks like, and everything that follows from it.
 *
 * A signature is resolved once per distinct key and then shared, immutable, by all calls that look
 * alike: which provider and plan, which inputs to cast or copy, the geometry kernels see, the
 * metadata of results. Invariant: a key is compared in full, never by its hash alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_SIGNATURE_H
#define TENON_DISPATCH_SIGNATURE_H

#include "core/dispatch/registry.h"
#include "core/tensor/tensor.h"

/* ---- One call, unpacked ---------------------------------------------------------------------- */

enum { TNI_FLAT_OPERANDS = 24 }; /* more operands than this (long lists) go to scope memory */

typedef struct tni_invocation { /* a call's arguments, complete and flattened */
    const tni_op *op;
    tn_value args[TNI_MAX_ARGS]; /* all of the schema's; defaults filled */
    tn_tensor **operands; /* every tensor, in order, list members included; absent ones are NULL */
    uint32_t n_operands;
    tn_device device;
    bool recording; /* a gradient may be wanted of this call */
    tn_tensor *few[TNI_FLAT_OPERANDS];
} tni_invocation;

/* ---- Geometry -------------------------------------------------------------------------------- */

typedef struct tni_geometry { /* what a kernel sees of one tensor */
    tn_dtype dtype;
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
    tni_geometry seen;               /* by the kernel */
    int8_t permutation[TN_MAX_RANK]; /* for TNI_COPY: dim i of the temporary is this dim of the
                                        operand */
} tni_operand;

typedef struct tni_output {
    tn_meta meta;
    tni_geometry seen;
    int64_t numel;
    uint64_t bytes;
    int32_t target; /* operand that is written in place, or -1: fresh */
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
    const tni_op *op;
    const tni_provider *provider;
    tn_plan plan;
    uint32_t call_flags;
    uint32_t n_operands;
    uint32_t n_outputs;
    bool nothing_to_do; /* every result is empty */
    bool prepares;      /* some operand is not AS_IS */
    bool plain;         /* a kernel makes one new result of operands as they are, and no more */
    bool list_result;
    int32_t viewed;              /* TNI_SIG_VIEW: the operand the results alias */
    uint64_t rng_counters;       /* to reserve for one call */
    tn_value args[TNI_MAX_ARGS]; /* non-tensor, non-run-time arguments, as the contract normalised
                                    them */
    int64_t *ints;               /* storage behind them */
    tni_operand *operands;
    tni_output *outputs;
    tn_view *views; /* operands, then outputs, as a kernel sees them, but for their data */
    struct tni_signature *next; /* in the shared table's bucket */
} tni_signature;

void tni_signature_retain(tni_signature *);
void tni_signature_release(tni_signature *);

/* ---- Steps, in the order a call takes them --------------------------------------------------- */

/* Arguments checked for life and type, defaults filled, tensors flattened. Raises; false on error.
 */
bool tni_invocation_fill(tni_invocation *, const tni_op *, const tn_value *args, uint32_t n_args);
/* The number of tensors argument i holds. */
static inline uint32_t tni_arg_tensors(const tni_op *op, const tn_value *args, uint32_t i) {
    return op->types[i] == TNI_TENSOR ? 1 : op->types[i] == TNI_TENSORS ? args[i].aux : 0;
}

/* The parameter that operand k belongs to. */
const tni_param *tni_operand_param(const tni_invocation *, uint32_t k);
/* Does argument i have its default, by value? */
bool tni_arg_is_default(const tni_invocation *, uint32_t i);

/* Only its inner ops can be recorded: the op must be decomposed although a kernel exists. */
static inline bool tni_must_decompose(const tni_invocation *v) {
    return v->recording && !v->op->row.derivative && v->op->row.decompose && !v->op->row.no_grad;
}
/* The key of an invocation in this thread's buffer, valid until the next. NULL + NOMEM. */
const uint64_t *tni_key(const tni_invocation *, uint64_t *n, uint64_t *hash);
struct tni_seen;
/* The cache; returns a reference it owns until the thread's next call, or NULL + error. seen: what
 * this thread remembers of calls like this one, or NULL. */
tni_signature *tni_signature_find(const tni_invocation *, struct tni_seen **seen);
/* Miss: promotion, contract, shape rule, forms, provider chain, plan. One reference, or NULL +
 * error. */
tni_signature *tni_resolve(const tni_invocation *, const uint64_t *key, uint64_t n_key);

/* promote.c */
typedef struct tni_promotion {
    char variable[4];
    tn_dtype dtype[4];
    int n;
} tni_promotion;
bool tni_promote(const tni_invocation *, tni_promotion *);       /* raises DTYPE */
tn_dtype tni_promotion_of(const tni_promotion *, char variable); /* lanes 0 if unknown */
bool tni_dtype_promote(tn_dtype a, tn_dtype b,
                       tn_dtype *out); /* PyTorch's lattice; false for unknown dtypes */

/* held.c: do the numbers that the contract says `in(x)` of fit, those of the arguments whose bits are
 * set? Raises OVERFLOW. */
bool tni_held_check(const tni_signature *, const tni_invocation *, uint32_t args);

/* shape_rules.c: same, broadcast, reduce; NULL if there is no rule of this name */
tn_shape_fn tni_shape_rule(const char *name);

/* forms.c: do tensors and results have shapes the op's form can show? Raises SHAPE, or INTERNAL */
bool tni_form_check(const tni_signature *, const tni_invocation *);
/* Fills operands' and outputs' `seen` (and copies needed); raises. After the check. */
bool tni_form_apply(tni_signature *, const tni_invocation *);
bool tni_geometry_contiguous(const tni_geometry *);
/* Makes operand k a contiguous temporary with dims in the order `permutation` (NULL: as they are).
 */
void tni_operand_copy(tni_signature *, uint32_t k, const tn_tensor *, const int8_t *permutation);

/* ---- image.c: the call as a kernel sees it --------------------------------------------------- */

typedef struct tni_image {
    tn_call call;
    tn_value args[TNI_MAX_ARGS];
    tn_value outs[TNI_MAX_RESULTS];
    tn_view *views;       /* operands, then outputs */
    const tn_view **list; /* pointers to them, for list arguments */
    tn_view few[TNI_FLAT_OPERANDS + TNI_MAX_RESULTS];
    const tn_view *few_list[TNI_FLAT_OPERANDS + TNI_MAX_RESULTS];
    uint64_t many_bytes;    /* of views + list when they did not fit */
    _Atomic int32_t failed; /* status given to fail; the first wins */
    char text[480];
} tni_image;

/* While a signature is made: views without data, arguments without run-time values. False + NOMEM. */
bool tni_image_make(tni_image *, const tni_signature *, const tni_invocation *);
/* The signature's views, from its operands and outputs as they are now. */
void tni_image_remember(tni_signature *, const tni_invocation *);
/* The same as make, from what the signature remembers. */
bool tni_image_recall(tni_image *, const tni_signature *, const tni_invocation *);
/* After a failure: the image may be used again. */
static inline void tni_image_forgive(tni_image *m) {
    atomic_init(&m->failed, TN_OK);
    m->text[0] = 0;
}
/* Data of operands that need no preparation. */
static inline void tni_image_point(tni_image *m, const tni_invocation *v) {
    for (uint32_t k = 0; k < v->n_operands; k++)
        if (v->operands[k]) m->views[k].data = tni_tensor_data(v->operands[k]);
}
void tni_image_free(tni_image *);

typedef struct tni_seen { /* a signature in use on this thread */
    tni_signature *s;     /* owned */
    tni_image *image;     /* of a plain call, made when it comes again: lacks data only */
    bool busy;            /* a call that is under way uses the image */
} tni_seen;

/* Sizes, dtypes and devices of an invocation's tensors: "(a f32[2,3], b f32[4])". */
uint64_t tni_invocation_text(const tni_invocation *, char *out, uint64_t capacity);

void tni_op_not_found(const char *name); /* raises NOTFOUND with the nearest name */

struct tni_local_cache;
void tni_local_cache_free(struct tni_local_cache *); /* at thread exit */

#endif
