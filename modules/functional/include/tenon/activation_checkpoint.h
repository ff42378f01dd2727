/* activation_checkpoint.h - memory for time: a function whose inner values are computed a second
 * time when backward needs them, instead of being kept until then (Chen, Xu, Zhang, Guestrin,
 * "Training Deep Nets with Sublinear Memory Cost", 2016).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_ACTIVATION_CHECKPOINT_H
#define TENON_ACTIVATION_CHECKPOINT_H

#include <tenon/hooks.h>
#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* f(user, inputs, n), recorded as always, but of what its ops keep for backward only the inputs are
 * held. The first derivative that asks runs f again; gradients are those of a plain call, also of
 * parameters f reaches through user, with tn_backward_wrt and with create_graph.
 * f must do the same again: it reads nothing that changes in between (its inputs neither) and draws
 * random numbers from the thread's current generator, whose position is put back for it. GRAD, from
 * the backward pass, if what it keeps differs in number, dtype or shape.
 * user must live until the graph is gone. The result belongs to the current scope; NULL with the
 * error pending: f's, or NOMEM. With grad mode off it is a plain call. [any-thread] */
TN_API tn_tensor *tn_activation_checkpoint(tn_tensors_fn f, void *user, tn_tensors inputs);

#ifdef __cplusplus
}
#endif
#endif
