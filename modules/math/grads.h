/* grads.h - what every derivative asks of its context, by the names of the row's schema.
 *
 * All results may be NULL while an error is pending.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_GRADS_H
#define TENON_MATH_GRADS_H

#include "modules/math/calls.h"

static inline tn_tensor *grad_of(tn_grad_ctx *c) { return tn_plugin_ops->grad_out(c, 0); }
static inline tn_tensor *saved(tn_grad_ctx *c, const char *name) {
    return tn_plugin_ops->grad_saved(c, name);
}
static inline tn_value arg(tn_grad_ctx *c, const char *name) {
    return tn_plugin_ops->grad_arg(c, name);
}
static inline bool needs(tn_grad_ctx *c, const char *name) {
    return tn_plugin_ops->grad_needs(c, name);
}
static inline void set(tn_grad_ctx *c, const char *name, tn_tensor *g) {
    tn_plugin_ops->grad_set(c, name, g);
}
static inline bool meta_of(tn_grad_ctx *c, const char *name, tn_meta *out) {
    return tn_plugin_ops->grad_meta(c, name, out) == TN_OK;
}

#endif
