/* stream.h - streams as programs hold them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_STREAM_H
#define TENON_MEMORY_STREAM_H

#include "core/memory/place.h"

enum { TNI_STREAM_LIVE = 0x7374726d, TNI_STREAM_FREED = 0x66726565 }; /* a place's state */

/* Raises INVALID for NULL and STALE for one that was freed; false while an error is pending. */
bool tni_stream_usable(const tn_stream *, const char *where);
/* DEVICE: what is on the one, and the stream on the other. */
tn_status tni_stream_apart(const char *where, const char *what, const tni_place *one,
                           const tni_place *other);

#endif
