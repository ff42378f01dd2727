/* history.h - what tensors know of the nodes that made them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_HISTORY_H
#define TENON_AUTOGRAD_HISTORY_H

#include "core/autograd/node.h"

/* Does t depend on something that wants a gradient? */
bool tni_history_wanted(tn_tensor *);
bool tni_history_wanted_of(const tn_value *); /* a tensor, or some tensor of a list */
/* Makes the node of a view right again after its base was changed in place. False + error. */
bool tni_history_refresh(tn_tensor *);
/* The edge to what made t, or to leaf t, owned by the caller. False + error. */
bool tni_history_edge(tn_tensor *, tni_edge *out);
void tni_edge_release(tni_edge *); /* and clears it */
/* t was made by result `out` of node: takes over one reference, drops the old history. */
void tni_history_attach(tn_tensor *, tni_node *, uint32_t out);
/* Records that view is a part of base, whatever made it. False + error. */
bool tni_history_attach_view(tn_tensor *base, tn_tensor *view);

#endif
