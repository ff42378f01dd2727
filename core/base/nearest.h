/* nearest.h - how far two names are apart, for "did you mean".
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_NEAREST_H
#define TENON_BASE_NEAREST_H

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

#endif
