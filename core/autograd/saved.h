/* saved.h - saved-tensor hooks: the program keeps, instead of the tape, what backward will need.
 *
 * A set of hooks is shared by the thread's stack and by every node whose values it holds.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_SAVED_H
#define TENON_AUTOGRAD_SAVED_H

#include "core/autograd/node.h"

struct tni_saved_set;

/* Has the innermost hooks keep t for slot s of node n, whose geometry is filled. False + error. */
bool tni_saved_pack(tni_node *n, tni_slot *s, tn_tensor *t);
/* The value again, as the hooks give it: checked for dtype and shape. Scope's; NULL + error. */
tn_tensor *tni_saved_unpack(const tni_node *n, const tni_slot *s, const char *name);
void tni_saved_drop(const tni_node *n, tni_slot *s); /* it is not needed any more */
void tni_saved_release(struct tni_saved_set *);      /* NULL is fine */
/* Lets the stack go from the innermost down to `until`, which stays; NULL: all. */
void tni_saved_unwind(struct tni_saved_set *innermost, const struct tni_saved_set *until);

#endif
