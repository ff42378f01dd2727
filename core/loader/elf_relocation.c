/* elf_relocation.c - symbol versions and relocations of a shared object, before ld.so applies them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/elf_relocation.h"

#include <stddef.h>

#include "core/base/heap.h"

#define no tni_dynamic_no

/* ---- Versions -------------------------------------------------------------------------------- */

enum { MOST_VERSIONS = 4096 };

/* Reads a record of a linked list; false if it is not in the file. */
static bool record(const tni_dynamic *d, uint64_t address, void *out, uint64_t bytes) {
    uint64_t offset;
    return address % 4 == 0 && tni_elf_in_file(d->elf, address, bytes, &offset) &&
           tni_elf_read(d->elf, offset, out, bytes);
}

static bool need_names(const tni_dynamic *d, uint64_t at, uint32_t n, uint32_t *highest) {
    for (uint32_t i = 0; i < n; i++) {
        Elf64_Vernaux a;
        if (!record(d, at, &a, sizeof a) || a.vna_name >= d->n_strings) return false;
        if ((a.vna_other & 0x7fffu) > *highest) *highest = a.vna_other & 0x7fffu;
        if (a.vna_next == 0) return i + 1 == n;
        at += a.vna_next;
    }
    return true;
}

static bool needs_check(const tni_dynamic *d, uint32_t *highest) {
    uint64_t at = d->value[TNI_DT_VERNEED], n = d->value[TNI_DT_VERNEEDNUM];
    for (uint64_t i = 0; i < n && n <= MOST_VERSIONS; i++) {
        Elf64_Verneed v;
        if (!record(d, at, &v, sizeof v) || v.vn_version != 1 || v.vn_file >= d->n_strings ||
            v.vn_cnt == 0 || v.vn_cnt > MOST_VERSIONS ||
            !need_names(d, at + v.vn_aux, v.vn_cnt, highest))
            return false;
        if (v.vn_next == 0) return i + 1 == n;
        at += v.vn_next;
    }
    return false;
}

static bool definitions_check(const tni_dynamic *d, uint32_t *highest) {
    uint64_t at = d->value[TNI_DT_VERDEF], n = d->value[TNI_DT_VERDEFNUM];
    for (uint64_t i = 0; i < n && n <= MOST_VERSIONS; i++) {
        Elf64_Verdef v;
        Elf64_Verdaux a;
        if (!record(d, at, &v, sizeof v) || v.vd_version != 1 || v.vd_cnt == 0 ||
            !record(d, at + v.vd_aux, &a, sizeof a) || a.vda_name >= d->n_strings)
            return false;
        if ((v.vd_ndx & 0x7fffu) > *highest) *highest = v.vd_ndx & 0x7fffu;
        if (v.vd_next == 0) return i + 1 == n;
        at += v.vd_next;
    }
    return false;
}

bool tni_versions_check(const tni_dynamic *d) {
    uint32_t highest = 1;
    if (d->has[TNI_DT_VERNEED] && !needs_check(d, &highest))
        return no(d, "the table of needed versions is malformed");
    if (d->has[TNI_DT_VERDEF] && !definitions_check(d, &highest))
        return no(d, "the table of version definitions is malformed");
    if (!d->has[TNI_DT_VERSYM]) return true;
    uint64_t at = d->value[TNI_DT_VERSYM], offset;
    if (at % 2 != 0 || !tni_elf_in_file(d->elf, at, d->n_symbols * 2, &offset))
        return no(d, "the table of symbol versions lies outside of what is loaded");
    for (uint64_t i = 0; i < d->n_symbols;) {
        uint16_t block[256];
        uint64_t n = d->n_symbols - i < 256 ? d->n_symbols - i : 256;
        if (!tni_elf_read(d->elf, offset + 2 * i, block, 2 * n)) return no(d, "cannot be read");
        for (uint64_t j = 0; j < n; j++)
            if ((block[j] & 0x7fffu) > highest)
                return no(d, "a symbol has a version that does not exist");
        i += n;
    }
    return true;
}

/* ---- Relocations ----------------------------------------------------------------------------- */

typedef enum kind {
    UNKNOWN,
    NOTHING,
    ADDRESS,
    RELATIVE,
    RESOLVER,
    SYMBOL,
    THREAD,
    DESCRIPTOR
} kind;

static kind kind_of(uint32_t type) {
#if defined(__x86_64__)
    switch (type) {
    case R_X86_64_NONE:
        return NOTHING;
    case R_X86_64_64:
        return ADDRESS;
    case R_X86_64_GLOB_DAT:
    case R_X86_64_JUMP_SLOT:
        return SYMBOL;
    case R_X86_64_RELATIVE:
        return RELATIVE;
    case R_X86_64_IRELATIVE:
        return RESOLVER;
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64:
        return THREAD;
    case R_X86_64_TLSDESC:
        return DESCRIPTOR;
    default:
        return UNKNOWN;
    }
#elif defined(__aarch64__)
    switch (type) {
    case R_AARCH64_NONE:
        return NOTHING;
    case R_AARCH64_ABS64:
        return ADDRESS;
    case R_AARCH64_GLOB_DAT:
    case R_AARCH64_JUMP_SLOT:
        return SYMBOL;
    case R_AARCH64_RELATIVE:
        return RELATIVE;
    case R_AARCH64_IRELATIVE:
        return RESOLVER;
    case R_AARCH64_TLS_DTPMOD:
    case R_AARCH64_TLS_DTPREL:
    case R_AARCH64_TLS_TPREL:
        return THREAD;
    case R_AARCH64_TLSDESC:
        return DESCRIPTOR;
    default:
        return UNKNOWN;
    }
#else
    (void)type;
    return ADDRESS; /* not known here: places and symbols are checked all the same */
#endif
}

static bool in_initialisers(const tni_dynamic *d, uint64_t at) {
    return (at - d->value[DT_INIT_ARRAY] < d->value[DT_INIT_ARRAYSZ]) ||
           (at - d->value[DT_FINI_ARRAY] < d->value[DT_FINI_ARRAYSZ]);
}

/* A place that is thread-local needs a thread-local symbol, or this object's own segment. */
static bool thread_check(const tni_dynamic *d, uint64_t symbol) {
    if (symbol != 0 && d->symbols[symbol].st_shndx == SHN_UNDEF) return true;
    for (uint32_t i = 0; i < d->elf->n_segments; i++)
        if (d->elf->segments[i].p_type == PT_TLS) return true;
    return false;
}

static bool relocation_check(const tni_dynamic *d, const Elf64_Rela *r) {
    kind k = kind_of((uint32_t)ELF64_R_TYPE(r->r_info));
    uint64_t symbol = ELF64_R_SYM(r->r_info), target = (uint64_t)r->r_addend;
    if (k == UNKNOWN)
        return no(d, "relocation type %u is not used in shared objects",
                  (uint32_t)ELF64_R_TYPE(r->r_info));
    if (k == NOTHING) return true;
    if (symbol >= d->n_symbols) return no(d, "a relocation names a symbol that does not exist");
    if (!tni_elf_in_memory(d->elf, r->r_offset, k == DESCRIPTOR ? 16 : 8, PF_W))
        return no(d, "a relocation writes outside of the writable part");
    if (k == SYMBOL && symbol == 0) return no(d, "a relocation names no symbol");
    if ((k == THREAD || k == DESCRIPTOR) && !thread_check(d, symbol))
        return no(d, "a thread-local relocation without thread-local data");
    if (k == RESOLVER || (k == RELATIVE && in_initialisers(d, r->r_offset)))
        return tni_elf_in_memory(d->elf, target, 1, PF_X) || no(d, "an initialiser is not code");
    if (k == RELATIVE && (symbol != 0 || !tni_elf_in_memory(d->elf, target, 0, PF_R)))
        return no(d, "a relocation points outside of what is loaded");
    return true;
}

static bool table_check(const tni_dynamic *d, int at, int bytes, uint64_t n_relative) {
    uint64_t size = d->value[bytes];
    if (!d->has[at] || size == 0) return true;
    if (size % sizeof(Elf64_Rela) != 0) return no(d, "the relocation table has a broken size");
    Elf64_Rela *rows = tni_dynamic_load(d, d->value[at], size, "relocation table");
    if (!rows) return false;
    uint64_t n = size / sizeof(Elf64_Rela);
    bool ok = n_relative <= n || no(d, "counts more relative relocations than there are");
    for (uint64_t i = 0; i < n && ok; i++) {
        ok = relocation_check(d, &rows[i]);
        if (ok && i < n_relative && kind_of((uint32_t)ELF64_R_TYPE(rows[i].r_info)) != RELATIVE)
            ok = no(d, "counts more relative relocations than there are");
    }
    tni_free(rows);
    return ok;
}

/* Packed relative relocations: an even word is a place, an odd one a bit map of the 63 words
 * after. */
static bool packed_check(const tni_dynamic *d) {
    uint64_t size = d->value[DT_RELRSZ], place = 0;
    if (!d->has[DT_RELR] || size == 0) return true;
    if (size % 8 != 0 || d->value[DT_RELRENT] != 8)
        return no(d, "the packed relocations have a broken size");
    uint64_t *rows = tni_dynamic_load(d, d->value[DT_RELR], size, "table of packed relocations");
    if (!rows) return false;
    bool ok = !(rows[0] & 1);
    for (uint64_t i = 0; i < size / 8 && ok; i++) {
        if (!(rows[i] & 1)) {
            ok = tni_elf_in_memory(d->elf, rows[i], 8, PF_W);
            place = rows[i] + 8;
            continue;
        }
        for (uint64_t bit = 0; bit < 63 && ok; bit++)
            if (rows[i] >> (bit + 1) & 1) ok = tni_elf_in_memory(d->elf, place + 8 * bit, 8, PF_W);
        place += UINT64_C(63) * 8;
    }
    tni_free(rows);
    return ok || no(d, "a packed relocation writes outside of the writable part");
}

bool tni_relocations_check(const tni_dynamic *d) {
    if (d->has[DT_RELA] && d->value[DT_RELAENT] != sizeof(Elf64_Rela))
        return no(d, "relocations have a wrong size");
    if (d->has[DT_JMPREL] && d->value[DT_PLTREL] != DT_RELA)
        return no(d, "the procedure table uses relocations of an unknown kind");
    return table_check(d, DT_RELA, DT_RELASZ, d->value[TNI_DT_RELACOUNT]) &&
           table_check(d, DT_JMPREL, DT_PLTRELSZ, 0) && packed_check(d);
}
