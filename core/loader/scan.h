/* scan.h - listings of candidates.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_SCAN_H
#define TENON_LOADER_SCAN_H

#include "core/loader/discover.h"
#include "core/loader/plugin.h"

typedef struct tni_listing { /* examined candidates, in order of discovery; the first of an id
                                counts */
    tn_plugin **items;
    uint32_t n;
} tni_listing;
bool tni_listing_make(const tni_search *, tni_listing *out); /* false + NOMEM raised */
void tni_listing_free(tni_listing *);
tn_plugin *tni_listing_find(const tni_listing *, const char *id); /* not shadowed; NULL if none */

#endif
