/* note.h - a plugin's identity, read from its file without running it.
 *
 * Invariants: what is parsed is bounded, printable UTF-8; every string points into one block the
 * note owns. Unknown keys are fine, a key that appears twice is not.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_NOTE_H
#define TENON_LOADER_NOTE_H

#include <tenon/abi.h>

#include "core/loader/elf.h"

enum { TNI_NOTE_PAIRS = 16, TNI_NOTE_TEXT = 8192, TNI_ID_BYTES = 48, TNI_BUILD_ID_BYTES = 65 };

typedef struct tni_pair { /* runtime.NAME=VALUE, or ID >= VERSION */
    const char *name;
    const char *value;
} tni_pair;

typedef struct tni_note {
    char *text; /* owns the strings; NULL = no identity */
    const char *id, *version, *abi, *kinds, *licence;
    const char *environment; /* prefixes of the variables it reads: "ACME_,ROAD_", or "" */
    int32_t abi_major, abi_minor;
    uint32_t n_runtimes, n_requires;
    tni_pair runtimes[TNI_NOTE_PAIRS]; /* name without "runtime." */
    tni_pair requires[TNI_NOTE_PAIRS]; /* name without "tenon."; value "" = any version */
    char *schemas;                     /* "schema\tdoc\n" lines, or NULL */
    uint32_t n_schemas;
    char build_id[TNI_BUILD_ID_BYTES]; /* hex, or "" */
} tni_note;

/* Reads all PT_NOTE segments. False: why says what is missing or malformed; out holds nothing. */
bool tni_note_read(const tni_elf *, tni_note *out, char *why, uint64_t capacity);
/* The identity text alone; takes a copy. */
bool tni_note_parse(tni_note *out, const char *text, uint64_t len, char *why, uint64_t capacity);
void tni_note_free(tni_note *);

bool tni_kind_listed(const char *kinds, const char *kind); /* "ops" in "ops,kernels" */
int tni_version_compare(const char *a, const char *b);     /* dotted numbers: <0, 0, >0 */
/* The build id of any ELF file, hex; out stays as it is if there is none. */
void tni_build_id_read(int fd, uint64_t file_bytes, char out[TNI_BUILD_ID_BYTES]);
const char *tni_core_build_id(void); /* of this library, hex; the version if it has none */

#endif
