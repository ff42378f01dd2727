/* cache.h - signatures that were resolved before, by what their calls look like.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_CACHE_H
#define TENON_DISPATCH_CACHE_H

#include "core/dispatch/image.h"

typedef struct tni_seen { /* a signature in use on this thread */
    tni_signature *s;     /* owned */
    tni_image *image;     /* of a plain call, made when it comes again: lacks data only */
    bool busy;            /* a call that is under way uses the image */
} tni_seen;

/* What a call resolves to: a reference that the cache owns until the thread's next call, or NULL +
 * error. seen: what this thread remembers of calls like this one, or NULL. */
tni_signature *tni_cache_find(const tni_invocation *, tni_seen **seen);

#endif
