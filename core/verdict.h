/* verdict.h - what tenon-probe said of a file, remembered between processes.
 *
 * Invariants: a verdict holds for exactly one state of one file and one build of the core; a cache
 * that is missing, damaged, foreign or unwritable only costs time. The file is replaced by rename.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CORE_VERDICT_H
#define TENON_CORE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { TNI_VERDICT_TEXT = 400 };

typedef struct tni_verdict {
    bool ok;                     /* else it killed the probe */
    char text[TNI_VERDICT_TEXT]; /* what it said of itself, or what happened */
} tni_verdict;

/* False if there is none, or if it would let in a file that was changed within the last 2 seconds. */
bool tni_verdict_get(const struct stat *, const char *build_id, tni_verdict *out);
void tni_verdict_put(const struct stat *, const char *build_id, const tni_verdict *);

#endif
