/* core_ops.c - see core_ops.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/core_ops.h"

#include "core/dispatch/plugins.h"
#include "core/dispatch/registry.h"
#include "core/tensor/quiet.h"

static const tni_op *op_of(const tn_op_ref *ref) {
    if (!tni_plugins_ready()) return NULL;
    return ref->id > 0 ? tni_registry_op(ref->id) : tni_registry_find(ref->name);
}

int64_t tni_core_call(tn_op_ref *ref, const tn_value *args, uint32_t n_args, tn_value *outs,
                      uint32_t capacity) {
    const tni_op *op = op_of(ref);
    const uint32_t n_outs = op ? op->schema.n_visible : 1; /* unknown: the call says so */
    if (n_outs > capacity) {
        tn_raise(TN_ERR_UNSUPPORTED, "'%s' has more results than autograd expects", ref->name);
        return -1;
    }
    return tn_op_call(ref, args, n_args, outs, n_outs) ? -1 : (int64_t)n_outs;
}

/* The one tensor result. */
static tn_tensor *call(tn_op_ref *ref, const tn_value *args, uint32_t n_args) {
    tn_value out = tn_value_none();
    return tni_core_call(ref, args, n_args, &out, 1) == 1 ? out.tensor : NULL;
}

/* An op that writes its first argument; whether it also returns it does not matter. */
static tn_status write_into(tn_op_ref *ref, tn_tensor *dst, tn_value second) {
    const tn_value args[] = {tn_value_tensor(dst), second};
    tn_value out = tn_value_none();
    tni_core_call(ref, args, 2, &out, 1);
    return tn_error();
}

static tn_status write_quietly(tn_op_ref *ref, tn_tensor *dst, tn_value second) {
    const tni_quiet quiet = tni_quiet_begin();
    const tn_status status = write_into(ref, dst, second);
    tni_quiet_end(quiet);
    return status;
}

tn_tensor *tni_core_add(tn_tensor *a, tn_tensor *b) {
    static tn_op_ref ref = {"add", 0, 0};
    const tn_value args[] = {tn_value_tensor(a), tn_value_tensor(b)};
    return call(&ref, args, 2);
}

tn_status tni_core_add_into(tn_tensor *a, tn_tensor *b) {
    static tn_op_ref ref = {"add_", 0, 0};
    const tn_scope scope = tn_scope_push();
    const tn_status status = write_into(&ref, a, tn_value_tensor(b));
    tn_scope_pop(scope);
    return status;
}

tn_tensor *tni_core_mul(tn_tensor *a, tn_tensor *b) {
    static tn_op_ref ref = {"mul", 0, 0};
    const tn_value args[] = {tn_value_tensor(a), tn_value_tensor(b)};
    return call(&ref, args, 2);
}

tn_tensor *tni_core_sum(tn_tensor *x) {
    static tn_op_ref ref = {"sum", 0, 0};
    const tn_value arg = tn_value_tensor(x);
    return call(&ref, &arg, 1);
}

tn_tensor *tni_core_clone(tn_tensor *x) {
    static tn_op_ref ref = {"clone", 0, 0};
    const tn_value arg = tn_value_tensor(x);
    return call(&ref, &arg, 1);
}

tn_tensor *tni_core_sum_to(tn_tensor *x, const int64_t *sizes, int32_t rank) {
    static tn_op_ref ref = {"sum_to", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_value_ints((tn_ints){sizes, rank})};
    return call(&ref, args, 2);
}

tn_tensor *tni_core_to(tn_tensor *x, tn_dtype dtype) {
    static tn_op_ref ref = {"to", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_value_dtype(dtype)};
    return call(&ref, args, 2);
}

tn_status tni_core_fill(tn_tensor *x, double number) {
    static tn_op_ref ref = {"fill_", 0, 0};
    return write_quietly(&ref, x, tn_float(number));
}

tn_status tni_core_copy_into(tn_tensor *dst, tn_tensor *src) {
    static tn_op_ref ref = {"copy_", 0, 0};
    return write_quietly(&ref, dst, tn_value_tensor(src));
}

tn_tensor *tni_core_assign(tn_tensor *dst, tn_tensor *src) {
    static tn_op_ref ref = {"copy_", 0, 0};
    const tn_value args[] = {tn_value_tensor(dst), tn_value_tensor(src)};
    return call(&ref, args, 2);
}

tn_tensor *tni_core_filled(const tn_meta *m, tni_place *place, double number) {
    tn_tensor *t = tni_tensor_new(m->dtype, m->rank, m->sizes, tni_place_current(place));
    if (!t || !tni_core_fill(t, number)) return t;
    tni_tensor_release(t);
    return NULL;
}

tn_tensor *tni_core_copy(tn_tensor *x) {
    tn_tensor *t =
        tni_tensor_new(x->dtype, x->rank, x->sizes, tni_place_current(x->storage->place));
    if (!t || !tni_core_copy_into(t, x)) return t;
    tni_tensor_release(t);
    return NULL;
}
