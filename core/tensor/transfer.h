/* transfer.h - moving elements between tensors and plain row-major host memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_TRANSFER_H
#define TENON_TENSOR_TRANSFER_H

#include "core/tensor/tensor.h"

/* All elements of t, row-major, from or into numel elements of host memory; any device, any
 * strides. tni_tensor_upload counts no mutation. Raise on failure. */
tn_status tni_tensor_download(const tn_tensor *t, void *out, const char *where);
tn_status tni_tensor_upload(tn_tensor *t, const void *in, const char *where);
/* x's elements into y, which is as large; both contiguous, on two devices. Raises on failure. */
tn_status tni_tensor_send(tn_tensor *y, const tn_tensor *x);

#endif
