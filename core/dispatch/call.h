/* call.h - one call that is under way.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_CALL_H
#define TENON_DISPATCH_CALL_H

#include "core/dispatch/cache.h"

typedef struct tni_frame {
    tni_invocation v;
    tni_signature *s;
    tni_seen *seen;
    tni_image *image; /* what the kernel sees: the one below, or seen's */
    tni_image own;
    tni_node *node;      /* what is being recorded, or NULL */
    tn_tensor **results; /* one reference each, in the schema's order */
    uint32_t n_results;
    tn_tensor *few[TNI_MAX_RESULTS];
    tn_tensor **temporaries; /* copies of operands, NULL where there is none */
    tn_tensor *few_temporaries[TNI_FLAT_OPERANDS];
    double numbers[TNI_FLAT_OPERANDS]; /* wrapped numbers, cast; 8 bytes hold any dtype */
    void *workspace;
    tn_rng rng;
    bool has_rng;
} tni_frame;

bool tni_call_room(tni_frame *, uint32_t n); /* for results; false + NOMEM */
/* The number at p in the dtype that a call of op computes in, into a cell of 8 bytes; false +
 * error. */
bool tni_call_number(const char *op, void *cell, tn_dtype to, const void *p, tn_dtype from);

#endif
