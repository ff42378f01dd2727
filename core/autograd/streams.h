/* streams.h - where a pass works: each node on the stream of its call.
 *
 * Calls of a pass wait for the streams that their tensors come from; when it ends, the stream of its
 * caller waits for all it has used, so that gradients are there for what follows.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_STREAMS_H
#define TENON_AUTOGRAD_STREAMS_H

#include "core/autograd/node.h"

enum { TNI_PASS_STREAMS = 16 };

typedef struct tni_streams {
    tni_place *caller;
    bool ordered; /* what the thread's setting was */
    uint32_t n;
    tni_place *used[TNI_PASS_STREAMS]; /* beside the cpu's */
} tni_streams;

void tni_streams_begin(tni_streams *);
void tni_streams_enter_slowly(tni_streams *, const tni_node *);
static inline void tni_streams_enter(tni_streams *s, const tni_node *n) {
    if (__builtin_expect(s->n > 0 || (n->n_results && n->results->place != &tni_host), 0))
        tni_streams_enter_slowly(s, n);
}
/* What is done to t is done where t lies, in one order with all else that is done to it. Returns where
 * the thread worked before, for tni_tls.place. */
tni_place *tni_streams_go_slowly(tni_streams *, const tn_tensor *t);
static inline tni_place *tni_streams_go(tni_streams *s, const tn_tensor *t) {
    if (__builtin_expect(t->storage->place == &tni_host, 1)) return tni_tls.place;
    return tni_streams_go_slowly(s, t);
}
void tni_streams_end(tni_streams *);

#endif
