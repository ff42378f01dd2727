/* invocation.h - a call's arguments as the caller gave them: complete, checked, flattened.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_INVOCATION_H
#define TENON_DISPATCH_INVOCATION_H

#include "core/dispatch/registry.h"
#include "core/tensor/tensor.h"

enum { TNI_FLAT_OPERANDS = 24 }; /* more operands than this (long lists) go to scope memory */

typedef struct tni_invocation { /* a call's arguments, complete and flattened */
    const tni_op *op;
    tn_value args[TNI_MAX_ARGS]; /* all of the schema's; defaults filled */
    tn_tensor **operands; /* every tensor, in order, list members included; absent ones are NULL */
    uint32_t n_operands;
    tni_place *place; /* where the call runs */
    bool recording;   /* a gradient may be wanted of this call */
    tn_tensor *few[TNI_FLAT_OPERANDS];
} tni_invocation;

/* Arguments checked for life and type, defaults filled, tensors flattened. Raises; false on
 * error. */
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

/* Sizes, dtypes and devices of an invocation's tensors: "(a f32[2,3], b f32[4])". */
uint64_t tni_invocation_text(const tni_invocation *, char *out, uint64_t capacity);

#endif
