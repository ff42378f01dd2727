/* elf_relocation.h - symbol versions and relocations of a shared object.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_ELF_RELOCATION_H
#define TENON_LOADER_ELF_RELOCATION_H

#include "core/loader/elf_dynamic.h"

/* Both need strings and symbols loaded; false: why says what is wrong. */
bool tni_versions_check(const tni_dynamic *);
bool tni_relocations_check(const tni_dynamic *);

#endif
