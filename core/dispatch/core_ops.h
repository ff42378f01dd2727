/* core_ops.h - the few ops the engine itself needs, called by name like everybody's.
 *
 * Results belong to the current scope unless a comment says otherwise; NULL or a status, with the
 * error pending, on failure. They record if grad mode is on and an argument requires grad.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_CORE_OPS_H
#define TENON_DISPATCH_CORE_OPS_H

#include "core/tensor/tensor.h"

tn_tensor *tni_core_add(tn_tensor *a, tn_tensor *b);
tn_status tni_core_add_into(tn_tensor *a, tn_tensor *b); /* a += b */
tn_tensor *tni_core_mul(tn_tensor *a, tn_tensor *b);
tn_tensor *tni_core_sum(tn_tensor *);
tn_tensor *tni_core_clone(tn_tensor *);
tn_tensor *tni_core_sum_to(tn_tensor *, const int64_t *sizes, int32_t rank);
tn_tensor *tni_core_to(tn_tensor *, tn_dtype);
/* dst = src, broadcast; returns dst. */
tn_tensor *tni_core_assign(tn_tensor *dst, tn_tensor *src);

/* Never recorded; refs 1, in no scope. */
tn_tensor *tni_core_filled(const tn_meta *, tni_place *,
                           double number); /* contiguous, of meta's shape */
tn_tensor *tni_core_copy(tn_tensor *);     /* contiguous */
/* Never recorded: dst = src, broadcast. */
tn_status tni_core_copy_into(tn_tensor *dst, tn_tensor *src);
tn_status tni_core_fill(tn_tensor *, double number);

/* Calls op by name with its visible results in outs (room for `capacity`); returns how many, or -1
 * + error. */
int64_t tni_core_call(tn_op_ref *, const tn_value *args, uint32_t n_args, tn_value *outs,
                      uint32_t capacity);

#endif
