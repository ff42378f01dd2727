/* along.h - a tensor as an index along one of its dims sees it.
 *
 * Invariant: an index is checked before anything is touched through it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_ALONG_H
#define TENON_CPU_REF_ALONG_H

#include "backends/cpu_ref/walk.h"

/* x as seen from index's elements: it does not move along dim, where the index says how far. */
typedef struct ref_along {
    tn_view x;
    int64_t strides[TN_MAX_RANK];
    int64_t limit, stride; /* size and stride of x along dim */
} ref_along;

/* v, or, if it is 0-dim, a view of it with one dim of size 1, in room. */
static inline const tn_view *ref_with_dims(const tn_view *v, tn_view *room) {
    static const int64_t one = 1, zero = 0;
    if (v->rank > 0) return v;
    *room = *v;
    room->rank = 1, room->sizes = &one, room->strides = &zero;
    return room;
}

static inline void ref_along_dim(const tn_view *x, int64_t dim, ref_along *out) {
    x = ref_with_dims(x, &out->x);
    out->limit = x->sizes[dim], out->stride = x->strides[dim];
    for (int32_t d = 0; d < x->rank; d++) out->strides[d] = d == dim ? 0 : x->strides[d];
    out->x = *x;
    out->x.strides = out->strides;
}

#endif
