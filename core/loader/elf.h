/* elf.h - is this file a shared object that can be mapped and relocated without harm?
 *
 * Invariants: everything is read with pread through bounded reads of an open file, never through a
 * map (a file that shrinks would kill us); every number from the file is checked before it is used.
 * What a check of the bytes cannot see is what tenon-probe is for.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_ELF_H
#define TENON_LOADER_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

enum { TNI_ELF_SEGMENTS = 64 };

typedef struct tni_elf { /* headers of a file that passed tni_elf_open */
    int fd;              /* borrowed */
    uint32_t n_segments;
    uint64_t file_bytes;
    uint64_t image_end; /* end of the last segment in memory */
    Elf64_Phdr segments[TNI_ELF_SEGMENTS];
} tni_elf;

/* Header, segments and section table against the real size. False: why says what is wrong. */
bool tni_elf_open(tni_elf *, int fd, uint64_t file_bytes, char *why, uint64_t capacity);
bool tni_elf_read(const tni_elf *, uint64_t offset, void *out, uint64_t bytes); /* all, or false */
/* Where [address, address + bytes) of the image lies in the file; false if it is not all in it. */
bool tni_elf_in_file(const tni_elf *, uint64_t address, uint64_t bytes, uint64_t *offset);
/* Is it in one loaded segment that has all of flags (PF_*)? */
bool tni_elf_in_memory(const tni_elf *, uint64_t address, uint64_t bytes, uint32_t flags);

#endif
