/* elf_dynamic.h - what the dynamic linker will follow, followed first.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_ELF_DYNAMIC_H
#define TENON_LOADER_ELF_DYNAMIC_H

#include "core/loader/elf.h"

typedef struct tni_elf_entry { /* what it exports under TN_PLUGIN_ENTRY's name */
    bool found;                /* a function, this ABI major */
    char other[64];            /* else an entry of another major, or "" */
    char extra[64];            /* a symbol it exports beside its entries, or "" */
} tni_elf_entry;

/* All that the dynamic linker will follow: strings, symbols, hashes, versions, relocations,
 * arrays. */
bool tni_elf_check_dynamic(const tni_elf *, tni_elf_entry *out, char *why, uint64_t capacity);

/* ---- For the half of the checks in elf_relocation.c ------------------------------------------ */

enum { /* tags above DT_NUM get the slots behind it */
       TNI_DT_GNU_HASH = DT_NUM,
       TNI_DT_VERSYM,
       TNI_DT_VERNEED,
       TNI_DT_VERNEEDNUM,
       TNI_DT_VERDEF,
       TNI_DT_VERDEFNUM,
       TNI_DT_RELACOUNT,
       TNI_DT_FLAGS_1,
       TNI_DT_SLOTS
};

typedef struct tni_dynamic {
    const tni_elf *elf;
    tni_elf_entry *entry;
    char *why;
    uint64_t capacity;
    bool has[TNI_DT_SLOTS];
    uint64_t value[TNI_DT_SLOTS];
    char *strings; /* ends with a NUL */
    uint64_t n_strings;
    Elf64_Sym *symbols;
    uint64_t n_symbols;
    bool exports_nothing; /* then nobody can tell how many symbols there are, and it is no plugin */
} tni_dynamic;

bool tni_dynamic_no(const tni_dynamic *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A copy of a file-backed table, to be freed; NULL with why set. */
void *tni_dynamic_load(const tni_dynamic *, uint64_t address, uint64_t bytes, const char *what);

#endif
