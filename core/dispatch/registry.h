/* registry.h - the ops and kernels there are.
 *
 * Invariants: a transaction is committed whole or not at all; looking up a name keeps nothing; what
 * is registered has its id for ever and is never freed, so it may be read without locks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_REGISTRY_H
#define TENON_DISPATCH_REGISTRY_H

#include <tenon/abi_driver.h>

#include "core/schema/schema.h"

typedef enum tni_form { TNI_STRIDED, TNI_POINTWISE, TNI_REDUCE, TNI_ALONG } tni_form;

typedef struct tni_op {             /* one op, parsed and checked */
    int32_t id;                     /* >= 1 */
    uint32_t keep_args;             /* bit i: the derivative reads argument i */
    uint32_t keep_results;          /* bit i: ... result i */
    uint32_t readers[TNI_MAX_ARGS]; /* of kept argument i; bit k: for the gradient of argument k */
    bool keep_some;                 /* some are read for some gradients only */
    uint8_t
        types[TNI_MAX_ARGS]; /* tni_type of each argument: all a warm call reads of the schema */
    uint32_t n_args;
    bool lists; /* some argument is a list or a string: a key has no fixed bound */
    tni_form form;
    uint32_t runtime_args;  /* bit i: argument i is not part of the signature */
    uint32_t held_args;     /* bit i: the contract says in(x) of it */
    uint32_t returned_args; /* bit i: argument i is written, and is a result */
    int32_t list_at;        /* the result that is a list, or -1 */
    int32_t written; /* the one operand that is written, if none before it is in a list; else -1 */
    bool inplace;    /* the NAME_ twin of base: writes its first argument */
    const struct tni_op *base; /* whose kernels and derivative it uses; itself, but for twins */
    const char *plugin;
    tn_op row; /* whole, zero-filled where the plugin's row was shorter */
    tni_schema schema;
    struct tni_contract *contract; /* NULL = none (schema/contract.h) */
} tni_op;

/* How many bytes the entries of a value have that a key and a signature copy; 0: it has none. */
static inline uint64_t tni_entry_bytes(const tn_value *v) {
    if (v->tag == TN_TAG_INTS || v->tag == TN_TAG_FLOATS) return 8;
    return v->tag == TN_TAG_STR || v->tag == TN_TAG_BOOLS;
}

/* Kernels write arguments in form pointwise only: other twins run their base, and copy. */
static inline bool tni_op_runs_base(const tni_op *op) {
    return op->inplace && op->form != TNI_POINTWISE;
}

enum { TNI_LABEL_BYTES = 96, TNI_KERNEL_NAME_BYTES = 32 };

typedef struct tni_provider { /* one kernel row, in chain order */
    tn_kernel row;
    char op[TNI_NAME_BYTES];     /* whose kernel it is: the name in its schema */
    char label[TNI_LABEL_BYTES]; /* what it is called: "plugin", with a name "plugin/name" */
    const char *plugin;
    int32_t plugin_index;
    int32_t device_kind; /* 0: nobody drives it yet; the kernel is found once somebody does */
    bool misfit;         /* the op is not what it was written for: never runs */
} tni_provider;

typedef struct tni_rows { /* what one plugin registers; copies whose missing fields are zero */
    const char *plugin;   /* id; lives for ever */
    int32_t plugin_index;
    const tn_op *ops;
    uint32_t n_ops;
    const tn_kernel *kernels; /* may name an op of the same transaction, or one that is to come */
    uint32_t n_kernels;
    uint32_t n_kernel_ops; /* for how many ops they are: told when they are committed */
    const tn_driver *const *drivers;
    uint32_t n_drivers;
} tni_rows;

/* Checks all rows (schemas, contracts, keep names, duplicates inside and against the registry,
 * half-filled rows, unknown forms or rules). On failure nothing has changed; why names row, field,
 * cause and fix. */
tn_status tni_registry_check(const tni_rows *, char *why, uint64_t capacity);
/* Check, then commit and bump the epoch. */
tn_status tni_registry_commit(tni_rows *, char *why, uint64_t capacity);

uint64_t tni_registry_epoch(void);
const tni_op *tni_registry_op(int32_t id);         /* NULL if not registered */
const tni_op *tni_registry_find(const char *name); /* likewise */
int32_t tni_registry_last_id(void);                /* ids are 1..last; some belong to no op */
/* The chain for an op on a device kind, best first: pin, then priority, then plugin id. */
uint64_t tni_registry_providers(const tni_op *, int32_t device_kind, const tni_provider **out,
                                uint64_t capacity);
/* Some kernel row of a plugin that has this name; NULL: there is none. */
const tni_provider *tni_registry_named(int32_t plugin_index, const char *name);
/* How many kernels of a plugin cannot run as things are: op or device is not there, or the op is not
 * what they were written for. why is told about the first. */
uint64_t tni_registry_waiting(int32_t plugin_index, char *why, uint64_t capacity);
uint64_t tni_registry_hash(void); /* of all that is registered: for "unchanged" tests */

#endif
