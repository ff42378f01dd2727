/* along.h - a tensor as an index along one of its dims sees it.
 *
 * Invariant: an index is checked before anything is touched through it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_ALONG_H
#define TENON_CPU_REF_ALONG_H

#include "backends/cpu_ref/walk.h"

/* x as seen from index's elements: it does not move along dim, where the index says how far. */
typedef struct tni_along {
    tn_view x;
    int64_t strides[TN_MAX_RANK];
    int64_t limit, stride; /* size and stride of x along dim */
} tni_along;

static inline void tni_along_dim(const tn_view *x, int64_t dim, tni_along *out) {
    const bool scalar = x->rank == 0; /* counts as one dim of size 1 */
    out->x = *x;
    for (int32_t d = 0; d < x->rank; d++) out->strides[d] = d == dim ? 0 : x->strides[d];
    out->x.strides = out->strides;
    out->limit = scalar ? 1 : x->sizes[dim];
    out->stride = scalar ? 0 : x->strides[dim];
}

#endif
