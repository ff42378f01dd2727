/* ready.h - which node runs next: a heap, in the nodes themselves, newest on top.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_READY_H
#define TENON_AUTOGRAD_READY_H

#include "core/autograd/node.h"

void tni_ready_push(tni_node **heap, tni_node *);
tni_node *tni_ready_pop(tni_node **heap); /* NULL if empty */

#endif
