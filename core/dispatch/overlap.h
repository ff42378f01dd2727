/* overlap.h - which operands share memory with one that is written.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_OVERLAP_H
#define TENON_DISPATCH_OVERLAP_H

#include "core/dispatch/invocation.h"

enum { TNI_OVERLAP_WORDS = 8 };

/* Bit k: operand k shares memory with another that is written, without being the same elements. Of
 * the first 512. */
typedef struct tni_overlap {
    uint64_t bits[TNI_OVERLAP_WORDS];
} tni_overlap;

static inline uint32_t tni_overlap_words(const tni_invocation *v) {
    const uint32_t n = (v->n_operands + 63) / 64;
    return n < TNI_OVERLAP_WORDS ? n : TNI_OVERLAP_WORDS;
}
/* Fills that many words. */
void tni_overlap_find(const tni_invocation *, tni_overlap *);
/* With which written operand does k share memory so? -1: with none. */
int32_t tni_overlap_with(const tni_invocation *, uint32_t k);

#endif
