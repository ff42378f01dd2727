/* tape.h - what is recorded while a gradient may be wanted.
 *
 * A node is one call of an op with a derivative: edges to what made its inputs, the values its row
 * keeps (with the version they had), its other arguments, and the metadata of every argument and
 * result. Invariants: a node never owns the tensors it produced (no cycles); sequence numbers only
 * grow, so a node's inputs have smaller numbers; destruction is iterative.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_TAPE_H
#define TENON_AUTOGRAD_TAPE_H

#include "core/tensor/grad.h"

typedef struct tni_op tni_op; /* dispatch/registry.h */

/* Will this call be recorded? Grad mode is on and an argument requires grad. */
bool tni_tape_wanted(const tn_value *args, uint32_t n_args);

/* Before the kernel runs. args: all of the schema's, defaults filled, tensors as the caller gave
 * them. rng: the position reserved for this call, or NULL. Checks that in-place on op's mutated
 * arguments is allowed. For an in-place twin whose first argument is kept, a copy is kept. NULL +
 * error on refusal or NOMEM. */
tni_node *tni_tape_begin(const tni_op *op, const tn_value *args, uint32_t n_args,
                         const tn_rng *rng);

/* After it ran. results: one per schema result (views: the new tensors; in-place: the target
 * itself; list results flattened), saved ones included. Attaches the node to visible floating
 * results and keeps what the row keeps. The tape takes over the caller's node reference. On failure
 * the results are left without history and the error raised. */
tn_status tni_tape_finish(tni_node *, tn_tensor *const *results, uint32_t n_results);
/* For a call that writes and is not recorded: false + GRAD if, while grad mode is on, it would
 * write a view that knows nothing of what its base depends on. */
bool tni_tape_may_write(const tni_op *op, const tn_value *args, uint32_t n_args);
void tni_tape_abandon(tni_node *); /* the call failed; NULL is fine */

/* After a view op made these views of `of`, recorded or not, before tni_tape_finish: a view made
 * while not recording hides history, and so do its views; all start out right for the storage's
 * version. */
void tni_tape_viewed(tn_tensor *of, tn_tensor *const *views, uint32_t n_views);

#endif
