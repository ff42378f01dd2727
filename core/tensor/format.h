/* format.h - tensors as text, for messages.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_FORMAT_H
#define TENON_TENSOR_FORMAT_H

#include <tenon/abi.h>

/* "f32[2,3]" into out; returns its length without the end. Cuts, never overflows. */
uint64_t tni_shape_text(const tn_meta *, char *out, uint64_t capacity);
uint64_t tni_tensor_text(const tn_tensor *, char *out, uint64_t capacity); /* the same */

#endif
