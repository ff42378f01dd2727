/* kit_ops.h - what op libraries otherwise write again: calls of other ops, numbers, metadata,
 * errors, and what a derivative asks of its context; over the table tn.ops/0.
 *
 * Results belong to the current scope. A NULL tensor means that an error is pending; it may be
 * passed on, because every op then does nothing. opgen's tables are written in these functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_KIT_OPS_H
#define TENON_KIT_OPS_H

#include <tenon/kit.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---------------------------------------------------------------------------------- */

/* The pending error, or TN_OK. */
static inline tn_status tnk_pending(void) { return tn_plugin_ops->error(); }

/* Makes a text the pending error, unless there is one; returns the pending code. */
__attribute__((format(printf, 2, 3))) static inline tn_status tnk_raise(tn_status code,
                                                                        const char *format, ...) {
    char text[TNK_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    const uint64_t n = tnk_vformat(text, format, list);
    va_end(list);
    return tn_plugin_ops->fail(code, text, n);
}

/* ---- Tensors --------------------------------------------------------------------------------- */

/* Dtype, sizes and strides of t. False: an error is pending. */
static inline bool tnk_meta(tn_tensor *t, tn_meta *out) {
    return t && tn_plugin_ops->meta(t, out) == TN_OK;
}

/* A number where a tensor is wanted: 0-dim, gives way in promotion. */
static inline tn_tensor *tnk_scalar(double x) { return tn_plugin_ops->scalar(tn_float(x)); }
static inline tn_tensor *tnk_scalar_int(int64_t i) { return tn_plugin_ops->scalar(tn_int(i)); }

/* Calls an op of one result. */
static inline tn_value tnk_call(tn_op_ref *op, const tn_value *args, uint32_t n_args) {
    tn_value out = tn_value_none();
    return tn_plugin_ops->call(op, args, n_args, &out, 1) ? tn_value_tensor(NULL) : out;
}

/* f32 of 16-bit floats, others as they are: of several steps only the last is to round. */
static inline tn_value tnk_wide(tn_value v) {
    static tn_op_ref to = {"to", 0, 0};
    tn_meta m;
    if (!tnk_meta(v.tensor, &m) || !tnk_dtype_in(m.dtype, TN_MASK(F16) | TN_MASK(BF16))) return v;
    const tn_value args[] = {v, tn_value_dtype(TN_F32)};
    return tnk_call(&to, args, 2);
}

/* ---- A row's expressions, as opgen writes them ----------------------------------------------- */

static inline tn_value tnk_value_scalar(tn_value v) {
    return tn_value_tensor(v.tag == TN_TAG_NONE ? NULL : tn_plugin_ops->scalar(v));
}
static inline tn_value tnk_value_grad(tn_grad_ctx *c, uint32_t i) {
    return tn_value_tensor(tn_plugin_ops->grad_out(c, i));
}
static inline tn_value tnk_value_saved(tn_grad_ctx *c, const char *name) {
    return tn_value_tensor(tn_plugin_ops->grad_saved(c, name));
}
static inline tn_value tnk_value_saved_list(tn_grad_ctx *c, const char *name) {
    return tn_value_tensors(tn_plugin_ops->grad_saved_list(c, name));
}
static inline tn_value tnk_value_arg(tn_grad_ctx *c, const char *name) {
    return tn_plugin_ops->grad_arg(c, name);
}
static inline void tnk_set_grad(tn_grad_ctx *c, const char *name, tn_value v) {
    if (v.tag == TN_TAG_TENSORS) {
        const tn_tensors list = {v.tensors, v.aux};
        tn_plugin_ops->grad_set_list(c, name, list);
    } else if (v.tag == TN_TAG_TENSOR && v.tensor) {
        tn_plugin_ops->grad_set(c, name, v.tensor);
    }
}

#ifdef __cplusplus
}
#endif
#endif
