/* walk.h - what a pass will reach, found before it runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_WALK_H
#define TENON_AUTOGRAD_WALK_H

#include "core/autograd/engine.h"

/* Claims all that the roots lead to, if somebody must know it beforehand: tn_backward_wrt marks what
 * leads to its inputs; where leaves have hooks, the edges that lead to them are counted, and every
 * node is queued, so that one which gets no gradient is passed in its turn too. False + error. */
bool tni_walk(tni_task *, const tni_edge *roots, int64_t n);

#endif
