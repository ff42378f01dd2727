/* discover.h - where plugins are looked for, in which order, and what lies there.
 *
 * Invariants: never the working directory, never an empty or relative item; candidates come in
 * order of place, then name, never in readdir's order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_DISCOVER_H
#define TENON_LOADER_DISCOVER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tni_search { /* what tn_init and the environment decided */
    bool safe_mode;
    bool strict;
    char *plugin_path; /* owned; NULL = none */
} tni_search;

typedef struct tni_place {
    const char *origin; /* "given", "TENON_PLUGIN_PATH", "user", "beside libtenon", "built in" */
    char *path;         /* absolute: a folder, or a file found in one */
} tni_place;

typedef struct tni_places {
    tni_place *items;
    uint32_t n, capacity;
    int failed; /* errno of what ran out, memory or descriptors; 0: all is well */
} tni_places;

/* Also folders that do not exist. False if something ran out. */
bool tni_places_make(const tni_search *, tni_places *out);
void tni_places_free(tni_places *);

/* All *.so files of the places, sorted by name inside each. False if something ran out. */
bool tni_places_files(const tni_places *, tni_places *out);

/* The folder of libtenon (TENON_HOME stands in for it), or of the program it is linked into. */
bool tni_home(const tni_search *, char *out, uint64_t capacity);
/* The helper program tenon-probe: TENON_PROBE, beside libtenon, libexec, the build tree. False:
 * errno says if something ran out, else there is none. */
bool tni_probe_find(const tni_search *, char *out, uint64_t capacity);

#endif
