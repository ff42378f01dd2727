/* shared_cache.h - signatures that all threads share, bounded in bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_SHARED_CACHE_H
#define TENON_DISPATCH_SHARED_CACHE_H

#include "core/dispatch/signature.h"

/* A reference, or NULL. */
tni_signature *tni_shared_find(const uint64_t *key, uint64_t n, uint64_t hash, uint64_t epoch);
/* Takes a reference of its own. Those not asked for longest go when there are too many bytes; all
 * when the registry has changed. */
void tni_shared_put(tni_signature *);
#endif
