/* gather.h - leaves with hooks: in one pass their gradients are gathered until the last edge of the
 * pass that leads to the leaf has delivered, or will not; so a hook sees a whole gradient, as soon as
 * it is whole.
 *
 * Invariant: what is gathered holds its leaf and hangs on leaf and pass, one for each pair, until the
 * pass ends; a pass inside another one counts for itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_GATHER_H
#define TENON_AUTOGRAD_GATHER_H

#include "core/autograd/engine.h"

typedef struct tni_gathered {
    struct tni_gathered *next_of_leaf, *next_of_task;
    const tni_task *task;
    tn_tensor *leaf;                    /* owned */
    tn_tensor *sum;                     /* owned; NULL = nothing yet */
    uint64_t edges;                     /* yet to come */
    _Atomic(const tni_state *) running; /* the thread that runs the leaf's hooks */
} tni_gathered;

/* One more edge of the pass leads to leaf: counted if the leaf has hooks. False + error: no memory,
 * or one of these hooks has begun this pass. */
bool tni_gathered_expect(tni_task *, tn_tensor *leaf);
tni_gathered *tni_gathered_of(const tni_task *, tn_tensor *leaf); /* NULL: not counted */
void tni_gathered_end(tni_task *);                                /* lets go of all */

#endif
