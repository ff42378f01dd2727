/* shapes.h - what shape rules of several tensors ask and say.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_SHAPES_H
#define TENON_MATH_SHAPES_H

#include <string.h>

#include "modules/math/rows.h"

static inline const tn_view *view_of(const tn_infer *in, uint32_t i) {
    return i < in->n_args && in->args[i].tag == TN_TAG_VIEW ? in->args[i].view : NULL;
}

static inline tn_status missing(tn_infer *in) {
    return tn_fail(in, TN_ERR_INVALID, "a required tensor is missing");
}

/* Fails with "a[..] and b[..]: rule". */
static inline tn_status mismatch(tn_infer *in, const char *a_name, const tn_view *a,
                                 const char *b_name, const tn_view *b, const char *rule) {
    char a_text[TNK_LIST_BYTES], b_text[TNK_LIST_BYTES];
    return tnk_fail_shape(in, TN_ERR_SHAPE, "%s%s and %s%s: %s", a_name,
                          tnk_sizes_text(a->sizes, a->rank, a_text), b_name,
                          tnk_sizes_text(b->sizes, b->rank, b_text), rule);
}

static inline bool same_sizes(const tn_view *a, const tn_view *b) {
    return a->rank == b->rank &&
           (!a->rank || !memcmp(a->sizes, b->sizes, (size_t)a->rank * sizeof *a->sizes));
}

#endif
