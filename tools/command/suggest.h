/* suggest.h - "did you mean": collects names and remembers the nearest.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_SUGGEST_H
#define TENON_COMMAND_SUGGEST_H

#include <stdio.h>
#include <string.h>

#include "core/base/nearest.h"

typedef struct suggestion {
    const char *word, *prefix; /* prefix: "--" for options */
    char best[64], text[112];
    int distance;
} suggestion;

static inline suggestion suggest(const char *word) {
    return (suggestion){.word = word, .prefix = "", .distance = 1 << 20};
}

static inline void suggest_name(suggestion *s, const char *name) {
    const int d = tni_edit_distance(s->word, name);
    if (d >= s->distance) return;
    s->distance = d;
    snprintf(s->best, sizeof s->best, "%s", name);
}

/* "\n  did you mean 'x'?", or "" if nothing is near: at most a third of the word may differ. */
static inline const char *suggest_text(suggestion *s) {
    const int most = 1 + (int)strlen(s->word) / 3;
    s->text[0] = 0;
    if (s->best[0] && s->distance <= most)
        snprintf(s->text, sizeof s->text, "\n  did you mean '%s%s'?", s->prefix, s->best);
    return s->text;
}

#endif
