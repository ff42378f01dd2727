/* image.h - the call as a kernel sees it: views and values on the caller's stack.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_IMAGE_H
#define TENON_DISPATCH_IMAGE_H

#include "core/dispatch/signature.h"

typedef struct tni_image {
    tn_call call;
    tn_value args[TNI_MAX_ARGS];
    tn_value outs[TNI_MAX_RESULTS];
    tn_view *views;       /* operands, then outputs */
    const tn_view **list; /* pointers to them, for list arguments */
    tn_view few[TNI_FLAT_OPERANDS + TNI_MAX_RESULTS];
    const tn_view *few_list[TNI_FLAT_OPERANDS + TNI_MAX_RESULTS];
    uint64_t many_bytes;    /* of views + list when they did not fit */
    _Atomic int32_t failed; /* status given to fail; the first wins */
    char text[480];
} tni_image;

/* While a signature is made: views without data, arguments without run-time values. False +
 * NOMEM. */
bool tni_image_make(tni_image *, const tni_draft *, const tni_invocation *);
/* The views of a draft, operands, then outputs; they lead to its geometry. */
void tni_image_views(tn_view *, const tni_draft *, const tni_invocation *);
/* The same as make, from what the signature remembers. */
bool tni_image_recall(tni_image *, const tni_signature *, const tni_invocation *);
/* After a failure: the image may be used again. */
static inline void tni_image_forgive(tni_image *m) {
    atomic_init(&m->failed, TN_OK);
    m->text[0] = 0;
}
/* Data of operands that need no preparation. */
static inline void tni_image_point(tni_image *m, const tni_invocation *v) {
    for (uint32_t k = 0; k < v->n_operands; k++)
        if (v->operands[k]) m->views[k].data = tni_tensor_data(v->operands[k]);
}
void tni_image_free(tni_image *);

#endif
