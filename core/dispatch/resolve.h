/* resolve.h - a call never seen before: its signature, while it is made.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_RESOLVE_H
#define TENON_DISPATCH_RESOLVE_H

#include "core/dispatch/image.h"
#include "core/dispatch/promote.h"

/* Promotion, contract, shape rule, forms, provider chain, plan. One reference, or NULL +
 * error. */
tni_signature *tni_resolve(const tni_invocation *, const uint64_t *key, uint64_t n_key);

/* ---- For who helps making it ----------------------------------------------------------------- */

enum { TNI_INTS_ROOM = TNI_MAX_ARGS * TN_MAX_RANK, TNI_CHAIN_ROOM = 64, TNI_DRAFT_ROOM = 8 };

/* Answers that are none, beside TN_REASON_*; `detail` is what was answered. */
enum {
    TNI_ODD_ANSWER = -1,
    TNI_ODD_REASON = -2,
    TNI_ODD_PLAN = -3,
    TNI_ODD_NEED = -4,
    TNI_ODD_ORDER = -5
};

typedef struct tni_refusal { /* who declined, and why */
    const tni_provider *provider;
    int32_t reason; /* TN_REASON_* or TNI_ODD_* */
    int32_t detail;
} tni_refusal;

/* Lives while one signature is made; on the stack and not zeroed, which would cost a miss. */
typedef struct tni_resolution {
    tni_draft draft;
    tni_signature *s; /* the draft's */
    const tni_invocation *v;
    tni_promotion types;
    tni_image image;
    tn_infer infer;
    bool ruled;                     /* there is a shape rule */
    tn_meta metas[TNI_MAX_RESULTS]; /* results, as it fills them */
    tn_meta *list;                  /* of the result that is a list */
    uint32_t n_list;
    uint32_t n_refusals;
    tni_refusal refusals[TNI_CHAIN_ROOM];
    int64_t ints[TNI_INTS_ROOM]; /* normalised dims */
    /* The draft's arrays, unless a list asks for more. */
    tn_value args[TNI_MAX_ARGS];
    tni_operand few_operands[TNI_DRAFT_ROOM];
    tni_output few_outputs[TNI_DRAFT_ROOM];
    tni_geometry few_seen[2][TNI_DRAFT_ROOM];
    void *many[2]; /* of operands, of outputs */
} tni_resolution;

/* Raises "op: text, called with shapes"; returns false. */
bool tni_resolve_refuse(const tni_resolution *, tn_status code, const char *text);
/* The image of operands, arguments and outputs as they are now. False + NOMEM. */
bool tni_resolve_image(tni_resolution *);

#endif
