/* causes.h - what an answer of the probe depends on, beside the plugin's own file.
 *
 * Surroundings are there before the plugin runs: limits of the process, what of the environment
 * the probe is given, the processor. The others the plugin names while it runs: options it asks
 * for, and files it maps, vendor libraries above all. Both end in numbers. Invariant: equal
 * numbers mean that nothing of it has changed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_CAUSES_H
#define TENON_LOADER_CAUSES_H

#include <stdbool.h>
#include <stdint.h>

enum { TNI_CAUSES_BYTES = 8192 };

typedef struct tni_room {
    uint64_t address; /* bytes of address space (RLIMIT_AS) */
    uint64_t data;    /* ... of private memory (RLIMIT_DATA) */
} tni_room;

tni_room tni_causes_in_use(void); /* what this process has of both */
/* What the limits leave it; UINT64_MAX: no limit. Rounded down to a power of two: the probe is
 * tried with less than there is, never with more. */
tni_room tni_causes_room(void);
/* A number for all that is around a plugin: limits, variables it is given, where libraries are. */
uint64_t tni_causes_surroundings(const tni_room *, const char *prefixes);

/* Is this entry of the environment given to the probe? What may decide whether a plugin and its
 * libraries are found is, and what the plugin's note asks for by prefix ("ACME_,ROAD_"); what would
 * inject code is not. */
bool tni_causes_passed_on(const char *entry, const char *prefixes);

/* Adds an option by its key, or a file by its path, to a list of causes, once: one word of text.
 * False: no room. */
bool tni_causes_add_option(char names[TNI_CAUSES_BYTES], const char *key);
bool tni_causes_add_file(char names[TNI_CAUSES_BYTES], const char *path);
/* The number of a list, for the plugin of this id. *settled: no file of it was changed just now. */
uint64_t tni_causes_number(const char *names, const char *plugin_id, bool *settled);

#endif
