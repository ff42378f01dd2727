/* watch.h - what tensors tell layers: core/dispatch defines these.
 *
 * Declared here because tensors are made and read in this room, but must not know layers: a room
 * asks nothing of a higher one except through such a header.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_WATCH_H
#define TENON_TENSOR_WATCH_H

#include "core/base/state.h"

void tni_layers_made(tn_tensor *, const char *how);
bool tni_layers_touched(tn_tensor *, const char *how); /* false + error: refused */

/* No op made t; returns it. */
static inline tn_tensor *tni_made(tn_tensor *t, const char *how) {
    if (__builtin_expect(tni_tls.head & TNI_HEAD_LAYERS, 0) && t) tni_layers_made(t, how);
    return t;
}

/* The host is about to read or write elements of t; false + error if a layer refuses that. */
static inline bool tni_may_touch(tn_tensor *t, const char *how) {
    return __builtin_expect(!(tni_tls.head & TNI_HEAD_LAYERS), 1) || tni_layers_touched(t, how);
}

#endif
