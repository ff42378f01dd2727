/* tenon/hooks.h - the program's own functions inside the library: hooks that backward calls, values
 * kept for backward, own ops; and where a NaN comes from.
 *
 * Whatever such a function changes of its thread's settings ends with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_HOOKS_H
#define TENON_HOOKS_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Hooks on gradients ------------------------------------------------------------------------
 *
 * They run on the thread of the backward pass, each in a scope of its own, in order of
 * registration; an error they leave pending ends the pass. Registering returns a number for
 * tn_hook_remove, or 0 with the error pending: GRAD for a tensor that does not require grad.
 * Hooks may be added and removed at any time, by hooks and by other threads too. What is added
 * begins with the next pass; a removed one that another thread is running runs to its end, so
 * its user must outlive that pass.
 *
 * Hooks may call ops. They may begin passes of their own, over other nodes, but none that leads to
 * the leaf they were called for (GRAD). On a device the current stream of a hook on a gradient or a
 * leaf is the one on which the gradient comes about: an event recorded there is passed when it is
 * whole. */

/* fn sees the gradient of t when all of it has arrived, before it goes on (a leaf's: before it is
 * added to what is there). What fn returns, of the same shape and dtype, takes its place; NULL
 * leaves it. Hooks of a result of an op outlive t. */
typedef tn_tensor *(*tn_grad_hook_fn)(void *user, tn_tensor *grad);
TN_API uint64_t tn_grad_hook(tn_tensor *t, tn_grad_hook_fn fn, void *user);

/* fn runs when all that this pass adds to the gradient of leaf has been added, while the pass goes
 * on: leaves of the last layers come first, and what fn begins (to sum gradients over processes)
 * overlaps with the rest. A leaf that gets nothing has no turn. */
typedef void (*tn_leaf_hook_fn)(void *user, tn_tensor *leaf);
TN_API uint64_t tn_accumulated_hook(tn_tensor *leaf, tn_leaf_hook_fn fn, void *user);

/* fn runs before (after) the derivative of the op that made `made`, and may exchange the gradients
 * of its results (of its tensor arguments), in schema order; NULL where there is none. */
typedef void (*tn_node_hook_fn)(void *user, const char *op, tn_tensor **grads, int64_t n);
TN_API uint64_t tn_node_hook(tn_tensor *made, bool after, tn_node_hook_fn fn, void *user);

/* NOTFOUND if the tensor has no such hook. */
TN_API tn_status tn_hook_remove(tn_tensor *, uint64_t hook);

/* ---- What the tape keeps for backward ----------------------------------------------------------
 *
 * Kept by the program instead: on disk, in fewer bits, or not at all. The functions run with grad
 * mode off, in a scope of their own; drop also while an error is pending, which it does not see. */

typedef struct tn_saved_hooks {
    /* Takes over a value; what it returns comes back to unpack and drop. t has no history and
     * shares the memory of what is kept (tn_keep makes it last). An error it leaves pending fails
     * the call; what it returned with one, if not NULL, comes back to drop at once. */
    void *(*pack)(void *user, tn_tensor *t);
    /* Gives the value back, of t's dtype, shape and device. */
    tn_tensor *(*unpack)(void *user, void *packed);
    /* (optional: nothing is done) It is not needed any more. */
    void (*drop)(void *user, void *packed);
    void *user; /* must live until the last drop */
} tn_saved_hooks;

/* For calls of this thread from now on, until they are popped; the innermost counts. */
TN_API tn_status tn_saved_hooks_push(const tn_saved_hooks *);
TN_API tn_status tn_saved_hooks_pop(void);

/* ---- Own functions and ops ------------------------------------------------------------------- */

/* A function of tensors. Returns its result, or NULL with an error pending. */
typedef tn_tensor *(*tn_tensors_fn)(void *user, tn_tensor *const *inputs, int64_t n);

/* Calls fn the way the library calls every function of the program: what it changes of this
 * thread's settings (grad mode, saved-tensor hooks, generator, provider and others) ends with
 * it, scopes it leaves open are closed, and those from outside are out of its reach (SCOPE;
 * INVALID for saved-tensor hooks). The result belongs to the current scope; NULL if an error is
 * pending. */
TN_API tn_tensor *tn_call_guarded(tn_tensors_fn fn, void *user, tn_tensors inputs);

/* Registers one op, with its derivative or decomposition; the row must outlive the process. */
TN_API tn_status tn_op_add(const tn_op *row);
/* The table tn.ops/0, in which such derivatives are written. */
TN_API const tn_ops *tn_ops_table(void);

/* ---- Where a NaN comes from ------------------------------------------------------------------ */

/* Anomaly mode of this thread: every recorded call is remembered with who made it, and a
 * backward pass fails (GRAD) at the first derivative that gives a NaN, with the forward call,
 * its shapes, its callers, and whether the forward value or the gradient that came in had one
 * already. Reads every value, so it is slow. Returns what it was. */
TN_API bool tn_set_anomaly_mode(bool on);
TN_API bool tn_anomaly_mode(void);

#ifdef __cplusplus
}
#endif
#endif
