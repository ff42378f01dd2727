/* layers.h - what the core does for layers (tenon/layers.h): where they are asked, and told.
 *
 * A thread with layers has TNI_HEAD_LAYERS in its head, so that one without asks nothing twice.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_LAYERS_H
#define TENON_DISPATCH_LAYERS_H

#include <tenon/layers.h>

#include "core/base/state.h"

struct tni_frame;

/* A call on a thread whose head is not 0: asks whether it may call ops at all, then its layers, and
 * then makes the call. */
tn_status tni_layers_call(tn_op_ref *, const tn_value *args, uint32_t n_args, tn_value *outs,
                          uint32_t n_outs);
/* Have they all passed this call on? */
static inline bool tni_layers_passed(tni_state *st) {
    const bool passed = st->layering.passed_all;
    st->layering.passed_all = false;
    return passed;
}
/* The kernel of a call that is ready, with what looks on. */
tn_status tni_layers_run(struct tni_frame *);

const tn_layers *tni_layers_table(void); /* "tn.layers/0" */

void tni_layers_drew(tn_generator *, tn_rng at, uint64_t counters);
void tni_layers_derivative(const char *op, bool begins);
/* Pops a layer of this thread, which may be gone already; false + error if it is not the innermost.
 * Works while an error is pending. */
bool tni_layers_drop(const tn_layer *, const char *where);
/* Drops those that were pushed since `floor` was the innermost. */
void tni_layers_unwind(tni_state *);

#endif
