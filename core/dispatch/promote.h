/* promote.h - which dtype a call computes in.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_PROMOTE_H
#define TENON_DISPATCH_PROMOTE_H

#include "core/dispatch/invocation.h"

typedef struct tni_promotion {
    char variable[4];
    tn_dtype dtype[4];
    int n;
} tni_promotion;
bool tni_promote(const tni_invocation *, tni_promotion *); /* false + DTYPE */
/* The dtype of a type variable; lanes 0 if it is unknown. */
tn_dtype tni_promotion_of(const tni_promotion *, char variable);
/* PyTorch's lattice; false for unknown dtypes. */
bool tni_promote_pair(tn_dtype a, tn_dtype b, tn_dtype *out);

#endif
