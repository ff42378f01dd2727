/* kit_ops.h - what op libraries otherwise write again: calls of other ops, numbers, metadata,
 * errors, arguments as C has them, and what a derivative asks of its context; over tn.ops/0.
 *
 * Results belong to the current scope. A NULL tensor means that an error is pending; it may be
 * passed on, because every op then does nothing. opgen's tables are written in these functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_KIT_OPS_H
#define TENON_KIT_OPS_H

#include <tenon/kit.h>
#include <tenon/ops.h>

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

/* The same, where a tensor is to be returned: NULL. */
#define tnk_raise_null(...) (tnk_raise(__VA_ARGS__), (tn_tensor *)NULL)

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
    if (!tnk_meta(v.tensor, &m) || !tn_dtype_in(m.dtype, TN_MASK(F16) | TN_MASK(BF16))) return v;
    const tn_value args[] = {v, tn_value_dtype(TN_F32)};
    return tnk_call(&to, args, 2);
}

/* ---- Arguments as C has them ----------------------------------------------------------------- */

/* A string argument; not ended by 0. ptr NULL: absent. */
typedef struct tnk_text {
    const char *ptr;
    uint32_t n;
} tnk_text;

static inline bool tnk_says(tnk_text t, const char *word) {
    return t.ptr && t.n == tn_strlen(word) && memcmp(t.ptr, word, t.n) == 0;
}

/* From the values that the core hands over. What is absent is a NULL tensor, an empty list, a
 * tn_maybe_* that is not set, a dtype without lanes, a device without kind. */
static inline tn_tensor *tnk_as_tensor(tn_value v) {
    return v.tag == TN_TAG_TENSOR ? v.tensor : NULL;
}
static inline tn_tensors tnk_as_tensors(tn_value v) {
    tn_tensors list = {NULL, 0};
    if (v.tag == TN_TAG_TENSORS) list.ptr = v.tensors, list.n = v.aux;
    return list;
}
static inline tn_ints tnk_as_ints(tn_value v) {
    tn_ints list = {NULL, 0};
    if (v.tag == TN_TAG_INTS) list.ptr = v.ints, list.n = v.aux;
    return list;
}
static inline tn_floats tnk_as_floats(tn_value v) {
    tn_floats list = {NULL, 0};
    if (v.tag == TN_TAG_FLOATS) list.ptr = v.floats, list.n = v.aux;
    return list;
}
static inline tn_bools tnk_as_bools(tn_value v) {
    tn_bools list = {NULL, 0};
    if (v.tag == TN_TAG_BOOLS) list.ptr = v.bools, list.n = v.aux;
    return list;
}
static inline tnk_text tnk_as_text(tn_value v) {
    tnk_text text = {NULL, 0};
    if (v.tag == TN_TAG_STR) text.ptr = v.str, text.n = v.aux;
    return text;
}
static inline tn_dtype tnk_as_dtype(tn_value v) {
    const tn_dtype none = {0, 0, 0};
    return v.tag == TN_TAG_DTYPE ? v.dtype : none;
}
static inline tn_device tnk_as_device(tn_value v) {
    const tn_device none = {0, 0};
    return v.tag == TN_TAG_DEVICE ? v.device : none;
}
static inline int64_t tnk_as_int(tn_value v) { return v.i; }
static inline double tnk_as_float(tn_value v) { return v.f; }
static inline bool tnk_as_bool(tn_value v) { return v.i != 0; }
static inline tn_value tnk_as_value(tn_value v) { return v; }
static inline tn_maybe_int tnk_as_maybe_int(tn_value v) {
    const tn_maybe_int m = {v.i, v.tag == TN_TAG_INT};
    return m;
}
static inline tn_maybe_float tnk_as_maybe_float(tn_value v) {
    const tn_maybe_float m = {v.f, v.tag == TN_TAG_FLOAT};
    return m;
}
static inline tn_maybe_bool tnk_as_maybe_bool(tn_value v) {
    const tn_maybe_bool m = {v.i != 0, v.tag == TN_TAG_BOOL};
    return m;
}

/* And back, of what may be absent; for the rest there are tn_int, tn_value_tensor and so on. */
static inline tn_value tnk_of_text(tnk_text t) {
    return t.ptr ? tn_value_str(t.ptr, t.n) : tn_value_none();
}
static inline tn_value tnk_of_maybe_int(tn_maybe_int m) {
    return m.set ? tn_int(m.value) : tn_value_none();
}
static inline tn_value tnk_of_maybe_float(tn_maybe_float m) {
    return m.set ? tn_float(m.value) : tn_value_none();
}
static inline tn_value tnk_of_maybe_bool(tn_maybe_bool m) {
    return m.set ? tn_bool(m.value) : tn_value_none();
}
static inline tn_value tnk_of_maybe_ints(tn_ints list) {
    return list.ptr ? tn_value_ints(list) : tn_value_none();
}
static inline tn_value tnk_of_maybe_floats(tn_floats list) {
    return list.ptr ? tn_value_floats(list) : tn_value_none();
}
static inline tn_value tnk_of_maybe_bools(tn_bools list) {
    return list.ptr ? tn_value_bools(list) : tn_value_none();
}
static inline tn_value tnk_of_maybe_tensors(tn_tensors list) {
    return list.ptr ? tn_value_tensors(list) : tn_value_none();
}
static inline tn_value tnk_of_maybe_dtype(tn_dtype d) {
    return d.lanes ? tn_value_dtype(d) : tn_value_none();
}
static inline tn_value tnk_of_maybe_device(tn_device d) {
    return d.kind ? tn_value_device(d) : tn_value_none();
}

/* An int? that is there, and one that is not. */
static inline tn_maybe_int tnk_some_int(int64_t i) {
    const tn_maybe_int m = {i, true};
    return m;
}
static inline tn_maybe_int tnk_no_int(void) {
    const tn_maybe_int m = {0, false};
    return m;
}

/* ---- What a derivative asks, in C ------------------------------------------------------------ */

/* c is the context of a derivative by the type that NAME_rows.h gives it, and name a member of that
 * type: what the row does not keep, or does not have, does not compile. */
#define TNK_CTX(c)               ((tn_grad_ctx *)(c))
#define TNK_NAME(c, group, name) ((void)sizeof((c)->group.name), #name)

/* The gradient of result i. If it is not defined, none came back, and what is given are zeros. */
#define TNK_GRAD(c, i)         tn_plugin_ops->grad_out(TNK_CTX(c), i)
#define TNK_GRAD_DEFINED(c, i) tn_plugin_ops->grad_out_defined(TNK_CTX(c), i)

/* clang-format off: it does not know _Generic */

/* What the row keeps: a tensor, or a tn_tensors. */
#define TNK_SAVED(c, name)                                                                         \
    _Generic((c)->saved.name, tn_tensor *                                                          \
             : tn_plugin_ops->grad_saved, tn_tensors                                               \
             : tn_plugin_ops->grad_saved_list)(TNK_CTX(c), #name)

/* An argument that is no tensor, by its type in C. */
#define TNK_ARG(c, name)                                                                           \
    _Generic((c)->arg.name, int64_t                                                                \
             : tnk_as_int, double                                                                  \
             : tnk_as_float, bool                                                                  \
             : tnk_as_bool, tn_ints                                                                \
             : tnk_as_ints, tn_floats                                                              \
             : tnk_as_floats, tn_bools                                                             \
             : tnk_as_bools, tnk_text                                                              \
             : tnk_as_text, tn_dtype                                                               \
             : tnk_as_dtype, tn_device                                                             \
             : tnk_as_device, tn_maybe_int                                                         \
             : tnk_as_maybe_int, tn_maybe_float                                                    \
             : tnk_as_maybe_float, tn_maybe_bool                                                   \
             : tnk_as_maybe_bool, tn_value                                                         \
             : tnk_as_value)(tn_plugin_ops->grad_arg(TNK_CTX(c), #name))

/* The gradient of a tensor argument: a tensor, or for a list a tn_tensors. */
#define TNK_SET_GRAD(c, name, ...)                                                                 \
    _Generic((c)->tensor.name, tn_tensor *                                                         \
             : tn_plugin_ops->grad_set, tn_tensors                                                 \
             : tn_plugin_ops->grad_set_list)(TNK_CTX(c), #name, __VA_ARGS__)

/* clang-format on */

/* Is the gradient of this tensor argument wanted? */
#define TNK_NEEDS(c, name) tn_plugin_ops->grad_needs(TNK_CTX(c), TNK_NAME(c, tensor, name))

/* Its dtype and sizes, kept or not. False: an error is pending. */
#define TNK_META_OF(c, name, out)                                                                  \
    (tn_plugin_ops->grad_meta(TNK_CTX(c), TNK_NAME(c, tensor, name), out) == TN_OK)

/* Of a list: how many tensors, and dtype and sizes of each. */
#define TNK_COUNT(c, name) tn_plugin_ops->grad_count(TNK_CTX(c), TNK_NAME(c, tensor, name))
#define TNK_META_AT(c, name, i, out)                                                               \
    (tn_plugin_ops->grad_meta_at(TNK_CTX(c), TNK_NAME(c, tensor, name), i, out) == TN_OK)

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
