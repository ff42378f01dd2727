/* ops_table.c - the tn.ops/0 interface: what op libraries may call.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/hooks.h>

#include "core/autograd/ctx.h"
#include "core/base/error.h"
#include "core/base/state.h"
#include "core/dispatch/core_ops.h"
#include "core/tensor/scope.h"
#include "core/tensor/tensor.h"
#include "core/tensor/transfer.h"

static tn_status table_meta(tn_tensor *t, tn_meta *out) {
    if (!tni_tensor_check(t, "meta", "tensor") || !out)
        return tn_error() ? tn_error() : tn_raise(TN_ERR_INVALID, "meta: no room for it");
    tni_tensor_meta(t, out);
    return TN_OK;
}

static tn_tensor *table_empty(tn_ints sizes, tn_dtype dtype, tn_device device) {
    tni_state *st = tni_state_get();
    tni_place *before = st->place;
    tn_use_device(device);
    tn_tensor *t = tn_empty(sizes, dtype);
    st->place = before;
    return t;
}

static tn_status table_device(tn_tensor *t, tn_device *out) {
    if (!tni_tensor_check(t, "device", "tensor")) return tn_error();
    *out = t->storage->place->device;
    return TN_OK;
}

static tn_tensor *table_transfer(tn_tensor *x, tn_device device) {
    if (!tni_tensor_check(x, "transfer", "tensor")) return NULL;
    tni_place *to = tni_place_known(device, "transfer");
    if (!to || tni_same_device(to, x->storage->place)) return to ? x : NULL;
    tn_tensor *dense = x->flags & TNI_CONTIGUOUS ? x : tni_core_clone(x);
    tn_tensor *y =
        dense ? tni_tensor_new(x->dtype, x->rank, x->sizes, tni_place_current(to)) : NULL;
    if (y && tni_tensor_send(y, dense) == TN_OK) return tni_scope_own(y);
    tni_tensor_release(y);
    return NULL;
}

/* A scope as one number: only the thread that pushed it can pop it, so the thread need not
 * travel. */
static uint64_t table_scope_push(void) { return tn_scope_push().mark; }

static tn_status table_scope_pop_with(uint64_t scope, tn_tensor *const *kept, int64_t n) {
    return tn_scope_pop_with((tn_scope){scope, tni_state_get()->thread}, kept, n);
}

const tn_ops *tn_ops_table(void) {
    static const tn_ops table = {.size = sizeof(tn_ops),
                                 .call = tn_op_call,
                                 .meta = table_meta,
                                 .scalar = tn_scalar_of,
                                 .empty = table_empty,
                                 .device = table_device,
                                 .read = tn_read,
                                 .error = tn_error,
                                 .fail = tni_raise_text,
                                 .scope_push = table_scope_push,
                                 .scope_pop_with = table_scope_pop_with,
                                 .grad_out = tni_ctx_grad_out,
                                 .grad_out_defined = tni_ctx_grad_out_defined,
                                 .grad_saved = tni_ctx_grad_saved,
                                 .grad_saved_list = tni_ctx_grad_saved_list,
                                 .grad_meta = tni_ctx_grad_meta,
                                 .grad_arg = tni_ctx_grad_arg,
                                 .grad_needs = tni_ctx_grad_needs,
                                 .grad_set = tni_ctx_grad_set,
                                 .grad_set_list = tni_ctx_grad_set_list,
                                 .grad_count = tni_ctx_grad_count,
                                 .grad_meta_at = tni_ctx_grad_meta_at,
                                 .grad_device = tni_ctx_grad_device,
                                 .transfer = table_transfer};
    return &table;
}
