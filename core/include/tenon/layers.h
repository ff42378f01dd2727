/* tenon/layers.h - standing in calls: layers, and two that come with the library: a trace, and
 * capture with replay. Draft: it may still change. docs/layers.md shows how.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LAYERS_H
#define TENON_LAYERS_H

#include <tenon/abi_layers.h>
#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Layers ------------------------------------------------------------------------------------
 *
 * A layer is of the thread that pushed it. It is copied, so it need not last; its name and user
 * must. A function of the program that the library runs (a hook, a derivative) leaves the stack as
 * it found it: what it pushes ends with it. */

/* Makes it the innermost. INVALID while a layer stands in a call, or if it is there already. */
TN_API tn_status tn_layer_push(const tn_layer *);
/* The innermost one, and no other (INVALID); works while an error is pending. */
TN_API tn_status tn_layer_pop(const tn_layer *);
/* In tn_layer.call: gives this call, or another in its place, to the layer below, in the end to the
 * library. May be called several times, or not at all. */
TN_API tn_status tn_layer_pass(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs);

#ifdef __cplusplus
}
#endif
#endif
