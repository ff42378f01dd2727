/* grad.h - what tensors ask of the tape: core/autograd defines these.
 *
 * Declared here because a tensor owns its node and what a leaf has, but must not know them: a room
 * asks nothing of a higher one except through such a header.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_GRAD_H
#define TENON_TENSOR_GRAD_H

#include "core/tensor/tensor.h"

/* NULL is fine; iterative. */
void tni_node_release(tni_node *);

/* Drops a reference to a leaf that no edge holds; true if it was the last of all. */
bool tni_leaf_drop(tn_tensor *);
void tni_leaf_free(struct tni_leaf *);

/* Elements of t were written, outside of a recorded call or before tni_tape_finish: counts the
 * storage's version. */
void tni_tape_mutated(tn_tensor *t);

#endif
