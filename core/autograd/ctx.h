/* ctx.h - what a derivative can ask and say: the grad_* slots of tn_ops.
 *
 * Names are those of the row's schema. A wrong name or a shape that cannot be right is an error
 * that names row and argument. While an error is pending everything answers NULL, NONE or false.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_CTX_H
#define TENON_AUTOGRAD_CTX_H

#include <tenon/abi.h>

tn_tensor *tni_ctx_grad_out(tn_grad_ctx *, uint32_t i);
bool tni_ctx_grad_out_defined(tn_grad_ctx *, uint32_t i);
tn_tensor *tni_ctx_grad_saved(tn_grad_ctx *, const char *name);
tn_tensors tni_ctx_grad_saved_list(tn_grad_ctx *, const char *name);
tn_status tni_ctx_grad_meta(tn_grad_ctx *, const char *name, tn_meta *out);
uint32_t tni_ctx_grad_count(tn_grad_ctx *, const char *name);
tn_status tni_ctx_grad_meta_at(tn_grad_ctx *, const char *name, uint32_t i, tn_meta *out);
tn_status tni_ctx_grad_device(tn_grad_ctx *, const char *name, tn_device *out);
tn_value tni_ctx_grad_arg(tn_grad_ctx *, const char *name);
bool tni_ctx_grad_needs(tn_grad_ctx *, const char *name);
void tni_ctx_grad_set(tn_grad_ctx *, const char *name, tn_tensor *grad);
void tni_ctx_grad_set_list(tn_grad_ctx *, const char *name, tn_tensors grads);

#endif
