/* verdict.h - what tenon-probe said of a plugin, remembered between processes.
 *
 * Invariants: a verdict holds for one state of one file, one build of the core, and the causes
 * it was found with (causes.h); a cache that is missing, damaged, foreign or unwritable only
 * costs time. The file is replaced by rename.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_VERDICT_H
#define TENON_LOADER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { TNI_VERDICT_TEXT = 400 };

typedef struct tni_subject { /* whom a verdict is about, and in which surroundings */
    const struct stat *st;
    const char *build_id, *id; /* of the plugin */
    uint64_t surroundings;
} tni_subject;

typedef struct tni_verdict {
    bool ok;                     /* else it killed the probe, or did not come back */
    bool late;                   /* the latter, perhaps on a busy machine: believed for an hour */
    char text[TNI_VERDICT_TEXT]; /* what it said of itself, or what happened */
} tni_verdict;

/* False if there is none, or if it would let in a file that was changed within the last 2
 * seconds. */
bool tni_verdict_get(const tni_subject *, tni_verdict *out);
/* causes: the list of what the plugin named. */
void tni_verdict_put(const tni_subject *, const tni_verdict *, const char *causes);

#endif
