/* extra.h - what few nodes have beside the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_EXTRA_H
#define TENON_AUTOGRAD_EXTRA_H

#include "core/autograd/node.h"

typedef struct tni_extra { /* each NULL or owned */
    struct tni_hook *hooks;
    struct tni_saved_set *saved; /* who holds its PACKED values */
    struct tni_trace *trace;     /* of anomaly mode */
} tni_extra;

/* Makes it if need be; NULL + NOMEM. */
tni_extra *tni_extra_of(tni_node *);
void tni_extra_free(tni_extra *); /* NULL is fine */

#endif
