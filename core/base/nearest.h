/* nearest.h - which of many names is meant: "did you mean".
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_NEAREST_H
#define TENON_BASE_NEAREST_H

#include <stdlib.h>
#include <string.h>

/* Damerau-Levenshtein distance (optimal string alignment), names cut at 63 bytes. Row i of the
 * table needs the two above it, so three are kept. */
static inline int tni_edit_distance(const char *a, const char *b) {
    int d[3][64];
    size_t n = strlen(a), m = strlen(b);
    if (n > 63) n = 63;
    if (m > 63) m = 63;
    for (size_t j = 0; j <= m; j++) d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *row = d[i % 3], *above = d[(i + 2) % 3], *higher = d[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                higher[j - 2] + 1 < best)
                best = higher[j - 2] + 1;
            row[j] = best;
        }
    }
    return d[n % 3][m];
}

/* The nearest of the names that were offered; best is NULL while none is near: a slip changes less
 * than a third of a name, and 3 letters at most. */
typedef struct tni_nearest {
    const char *wanted, *best;
    int closest;
} tni_nearest;

static inline tni_nearest tni_nearest_to(const char *wanted) {
    const size_t n = strlen(wanted);
    return (tni_nearest){.wanted = wanted, .closest = n < 9 ? (int)n / 3 + 1 : 4};
}

static inline void tni_nearest_offer(tni_nearest *s, const char *name) {
    if (labs((long)strlen(s->wanted) - (long)strlen(name)) >= s->closest) return;
    const int d = tni_edit_distance(s->wanted, name);
    if (d < s->closest) s->closest = d, s->best = name;
}

#endif
