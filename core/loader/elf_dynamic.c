/* elf_dynamic.c - what the dynamic linker will follow inside a shared object, followed here first.
 *
 * Invariant: no index, offset or chain of the file leads this code, or ld.so after it, outside of
 * the tables it belongs to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/elf_dynamic.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi.h>

#include "core/base/heap.h"
#include "core/base/text.h"
#include "core/loader/elf_relocation.h"

static const uint64_t table_most = UINT64_C(256) << 20;

bool tni_dynamic_no(const tni_dynamic *d, const char *format, ...) {
    va_list list;
    va_start(list, format);
    if (d->capacity > 0) vsnprintf(d->why, d->capacity, format, list);
    va_end(list);
    return false;
}
#define no tni_dynamic_no

void *tni_dynamic_load(const tni_dynamic *d, uint64_t address, uint64_t bytes, const char *what) {
    uint64_t offset;
    if (bytes == 0 || bytes > table_most || address % 8 != 0 ||
        !tni_elf_in_file(d->elf, address, bytes, &offset)) {
        no(d, "the %s lies outside of what is loaded", what);
        return NULL;
    }
    void *copy = tni_alloc(bytes);
    if (copy && tni_elf_read(d->elf, offset, copy, bytes)) return copy;
    no(d, copy ? "the %s cannot be read" : "out of memory while the %s is read", what);
    tni_free(copy);
    return NULL;
}

/* ---- The dynamic section --------------------------------------------------------------------- */

static int slot_of(int64_t tag) {
    switch (tag) {
    case DT_GNU_HASH:
        return TNI_DT_GNU_HASH;
    case DT_VERSYM:
        return TNI_DT_VERSYM;
    case DT_VERNEED:
        return TNI_DT_VERNEED;
    case DT_VERNEEDNUM:
        return TNI_DT_VERNEEDNUM;
    case DT_VERDEF:
        return TNI_DT_VERDEF;
    case DT_VERDEFNUM:
        return TNI_DT_VERDEFNUM;
    case DT_RELACOUNT:
        return TNI_DT_RELACOUNT;
    case DT_FLAGS_1:
        return TNI_DT_FLAGS_1;
    default:
        return tag >= 0 && tag < DT_NUM ? (int)tag : -1;
    }
}

/* Names that refer to the string table: remembered, since it may come later. */
static bool names_text(int64_t tag) {
    return tag == DT_NEEDED || tag == DT_SONAME || tag == DT_RPATH || tag == DT_RUNPATH ||
           tag == DT_AUXILIARY || tag == DT_FILTER || tag == DT_CONFIG || tag == DT_DEPAUDIT ||
           tag == DT_AUDIT;
}

static bool read_entries(tni_dynamic *d, const Elf64_Dyn *entries, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        int64_t tag = entries[i].d_tag;
        if (tag == DT_NULL) return true;
        int slot = slot_of(tag);
        if (slot < 0 || tag == DT_NEEDED) continue;
        if (d->has[slot])
            return no(d, "entry %#llx of the dynamic section appears twice",
                      (unsigned long long)tag);
        d->has[slot] = true;
        d->value[slot] = entries[i].d_un.d_val;
    }
    return no(d, "the dynamic section has no end");
}

/* Entries that make sense together only: ld.so takes the others for granted. */
static bool together(const tni_dynamic *d, int a, int b, int c) {
    return d->has[a] == d->has[b] && d->has[a] == d->has[c];
}

static bool entries_check(const tni_dynamic *d) {
    if (!d->has[DT_STRTAB] || !d->has[DT_STRSZ] || !d->has[DT_SYMTAB] || !d->has[DT_SYMENT])
        return no(d, "the dynamic section names no symbols or strings");
    if (!d->has[TNI_DT_GNU_HASH] && !d->has[DT_HASH])
        return no(d, "the dynamic section names no hash table");
    if (!together(d, DT_RELA, DT_RELASZ, DT_RELAENT) || !together(d, DT_REL, DT_RELSZ, DT_RELENT) ||
        !together(d, DT_RELR, DT_RELRSZ, DT_RELRENT) ||
        !together(d, DT_JMPREL, DT_PLTRELSZ, DT_PLTREL) ||
        !together(d, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_INIT_ARRAY) ||
        !together(d, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, DT_FINI_ARRAY) ||
        !together(d, TNI_DT_VERNEED, TNI_DT_VERNEEDNUM, TNI_DT_VERNEED) ||
        !together(d, TNI_DT_VERDEF, TNI_DT_VERDEFNUM, TNI_DT_VERDEF))
        return no(d,
                  "the dynamic section has a table without its size, or a size without its table");
    if (d->value[DT_SYMENT] != sizeof(Elf64_Sym)) return no(d, "symbols have a wrong size");
    if (d->has[DT_REL]) return no(d, "relocations without addend are not used on this machine");
    if (d->has[DT_TEXTREL] || (d->value[DT_FLAGS] & DF_TEXTREL))
        return no(d, "has text relocations; compile it with -fPIC");
    if (d->value[TNI_DT_FLAGS_1] & DF_1_PIE) return no(d, "an executable, not a shared object");
    return true;
}

static bool strings_load(tni_dynamic *d) {
    uint64_t bytes = d->value[DT_STRSZ], offset;
    if (bytes == 0 || bytes > table_most ||
        !tni_elf_in_file(d->elf, d->value[DT_STRTAB], bytes, &offset))
        return no(d, "the string table lies outside of what is loaded");
    d->strings = tni_alloc(bytes);
    if (!d->strings) return no(d, "out of memory while the string table is read");
    d->n_strings = bytes;
    if (!tni_elf_read(d->elf, offset, d->strings, bytes)) return no(d, "cannot be read");
    return (d->strings[0] == 0 && d->strings[bytes - 1] == 0) ||
           no(d, "the string table is malformed");
}

static bool needed_check(const tni_dynamic *d, const Elf64_Dyn *entries) {
    for (; entries->d_tag != DT_NULL; entries++) {
        if (!names_text(entries->d_tag)) continue;
        if (entries->d_un.d_val >= d->n_strings)
            return no(d, "a name in the dynamic section lies outside of the string table");
        const char *name = d->strings + entries->d_un.d_val;
        if (entries->d_tag == DT_NEEDED && (name[0] == 0 || strstr(name, "libtenon.so")))
            return no(d,
                      name[0]
                          ? "is linked to libtenon; a plugin gets everything through its host table"
                          : "needs a library without a name");
    }
    return true;
}

/* Initialisers and finalisers must be code; their arrays must be file-backed. */
static bool functions_check(const tni_dynamic *d) {
    const int single[] = {DT_INIT, DT_FINI}, array[] = {DT_INIT_ARRAY, DT_FINI_ARRAY};
    const int size[] = {DT_INIT_ARRAYSZ, DT_FINI_ARRAYSZ};
    for (int i = 0; i < 2; i++) {
        uint64_t offset;
        if (d->has[single[i]] && !tni_elf_in_memory(d->elf, d->value[single[i]], 1, PF_X))
            return no(d, "its initialiser is not code");
        if (d->has[array[i]] &&
            (d->value[size[i]] % 8 != 0 || d->value[array[i]] % 8 != 0 ||
             !tni_elf_in_file(d->elf, d->value[array[i]], d->value[size[i]], &offset)))
            return no(d, "its array of initialisers lies outside of what is loaded");
    }
    if (d->has[DT_PLTGOT] && !tni_elf_in_memory(d->elf, d->value[DT_PLTGOT], 24, PF_R))
        return no(d, "its offset table lies outside of what is loaded");
    return true;
}

/* ---- Hash tables and symbols ----------------------------------------------------------------- */

static bool sysv_hash(tni_dynamic *d) {
    uint64_t at = d->value[DT_HASH], offset;
    uint32_t head[2];
    if (at % 4 != 0 || !tni_elf_in_file(d->elf, at, sizeof head, &offset) ||
        !tni_elf_read(d->elf, offset, head, sizeof head) || head[0] == 0)
        return no(d, "the hash table is malformed");
    uint64_t n = (uint64_t)head[0] + head[1], bytes = n * 4;
    if (bytes > table_most || !tni_elf_in_file(d->elf, at, 8 + bytes, &offset))
        return no(d, "the hash table lies outside of what is loaded");
    uint32_t *links = tni_alloc(bytes);
    bool ok = links && tni_elf_read(d->elf, offset + 8, links, bytes);
    for (uint64_t i = 0; i < n && ok; i++) ok = links[i] < head[1];
    /* A chain that only ever goes on to another symbol at most n_symbols times cannot be cyclic. */
    for (uint32_t b = 0; b < head[0] && ok; b++) {
        uint32_t steps = 0;
        for (uint32_t i = links[b]; i != 0 && ok; i = links[head[0] + i]) ok = steps++ < head[1];
    }
    tni_free(links);
    d->n_symbols = head[1];
    return ok || no(d, "the hash table is malformed");
}

static bool gnu_chains(tni_dynamic *d, const uint32_t *head, uint64_t at, const uint32_t *buckets) {
    uint64_t last = 0, offset;
    for (uint32_t b = 0; b < head[0]; b++) {
        if (buckets[b] == 0) continue;
        if (buckets[b] < head[1]) return no(d, "the hash table is malformed");
        if (buckets[b] > last) last = buckets[b];
    }
    /* The chain that starts last also ends last; all others end before the table does. */
    uint64_t n = head[1];
    if (last != 0) {
        uint32_t link = 0;
        for (n = last; !(link & 1); n++) {
            if (n - last > (1 << 24) ||
                !tni_elf_in_file(d->elf, at + 4 * (n - head[1]), 4, &offset) ||
                !tni_elf_read(d->elf, offset, &link, 4))
                return no(d, "a chain of the hash table does not end");
        }
    }
    d->exports_nothing = last == 0 && d->n_symbols == 0;
    if (d->n_symbols != 0 && d->n_symbols < n) return no(d, "the two hash tables differ");
    if (d->n_symbols == 0) d->n_symbols = n;
    return true;
}

/* head: buckets, first symbol, words of the filter, shift. */
static bool gnu_hash(tni_dynamic *d) {
    uint64_t at = d->value[TNI_DT_GNU_HASH], offset;
    uint32_t head[4];
    if (at % 8 != 0 || !tni_elf_in_file(d->elf, at, sizeof head, &offset) ||
        !tni_elf_read(d->elf, offset, head, sizeof head) || head[0] == 0 || head[2] == 0 ||
        (head[2] & (head[2] - 1)) != 0 || head[3] > 63)
        return no(d, "the hash table is malformed");
    uint64_t filter = (uint64_t)head[2] * 8, buckets = (uint64_t)head[0] * 4;
    if (filter + buckets > table_most ||
        !tni_elf_in_file(d->elf, at + sizeof head, filter + buckets, &offset))
        return no(d, "the hash table lies outside of what is loaded");
    uint32_t *links = tni_alloc(buckets);
    if (!links) return no(d, "out of memory while the hash table is read");
    bool ok = (tni_elf_read(d->elf, offset + filter, links, buckets) || no(d, "cannot be read")) &&
              gnu_chains(d, head, at + sizeof head + filter + buckets, links);
    tni_free(links);
    return ok;
}

/* What linkers and compilers put there by themselves: names, and beginnings of names. */
static bool is_toolchains_own(const char *name) {
    static const char *const names[] = {"_init", "_fini", "_edata", "edata", "_end",
                                        "end",   "etext", "_etext", NULL};
    static const char *const beginnings[] = {"__bss_start", "__end__", "__start_", "__stop_",
                                             "__odr_asan",  "__asan_", "__gcov_",  "__llvm_",
                                             "__sancov_",   "__tsan_", NULL};
    for (const char *const *n = names; *n; n++)
        if (strcmp(name, *n) == 0) return true;
    for (const char *const *n = beginnings; *n; n++)
        if (strncmp(name, *n, strlen(*n)) == 0) return true;
    return false;
}

static void extra_note(const tni_dynamic *d, const Elf64_Sym *s, const char *name) {
    const unsigned visible = ELF64_ST_VISIBILITY(s->st_other);
    if (d->entry->extra[0] || name[0] == 0 || ELF64_ST_BIND(s->st_info) == STB_LOCAL ||
        visible == STV_HIDDEN || visible == STV_INTERNAL || is_toolchains_own(name))
        return;
    tni_text_format(d->entry->extra, sizeof d->entry->extra, "%s", name);
}

static bool entry_note(const tni_dynamic *d, const Elf64_Sym *s, const char *name) {
    static const char stem[] = "tn_plugin_query_v";
    if (strncmp(name, stem, sizeof stem - 1) != 0) return extra_note(d, s, name), true;
    if (strcmp(name, TN_PLUGIN_ENTRY) != 0) {
        snprintf(d->entry->other, sizeof d->entry->other, "%s", name);
        return true;
    }
    if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || ELF64_ST_BIND(s->st_info) != STB_GLOBAL)
        return no(d, "%s is not a plain function", name);
    d->entry->found = true;
    return true;
}

static bool symbol_check(const tni_dynamic *d, const Elf64_Sym *s) {
    if (s->st_name >= d->n_strings)
        return no(d, "a symbol's name lies outside of the string table");
    const char *name = d->strings + s->st_name;
    if (s->st_shndx == SHN_UNDEF) {
        if (strncmp(name, "tn_", 3) == 0 || strncmp(name, "tni_", 4) == 0)
            return no(d, "imports %.60s; a plugin gets everything through its host table", name);
        return true;
    }
    uint32_t type = ELF64_ST_TYPE(s->st_info);
    if (type == STT_TLS) extra_note(d, s, name);
    if (type == STT_TLS || s->st_shndx == SHN_ABS) return true;
    bool code = type == STT_FUNC || type == STT_GNU_IFUNC;
    bool inside =
        code ? tni_elf_in_memory(d->elf, s->st_value, 1, PF_X) : s->st_value <= d->elf->image_end;
    if (!inside) return no(d, "symbol %.60s points outside of what is loaded", name);
    return entry_note(d, s, name);
}

static bool symbols_check(tni_dynamic *d) {
    if (d->n_symbols == 0 || d->n_symbols > table_most / sizeof(Elf64_Sym))
        return no(d, "the symbol table is malformed");
    d->symbols =
        tni_dynamic_load(d, d->value[DT_SYMTAB], d->n_symbols * sizeof(Elf64_Sym), "symbol table");
    if (!d->symbols) return false;
    for (uint64_t i = 1; i < d->n_symbols; i++)
        if (!symbol_check(d, &d->symbols[i])) return false;
    return true;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static bool tables_check(tni_dynamic *d, const Elf64_Dyn *entries, uint64_t n) {
    if (!read_entries(d, entries, n) || !entries_check(d) || !strings_load(d) ||
        !needed_check(d, entries) || !functions_check(d))
        return false;
    if (d->has[DT_HASH] && !sysv_hash(d)) return false;
    if (d->has[TNI_DT_GNU_HASH] && !gnu_hash(d)) return false;
    if (d->exports_nothing) return true; /* the missing entry is what refuses it */
    return symbols_check(d) && tni_versions_check(d) && tni_relocations_check(d);
}

bool tni_elf_check_dynamic(const tni_elf *e, tni_elf_entry *out, char *why, uint64_t capacity) {
    tni_dynamic d = {.elf = e, .entry = out, .why = why, .capacity = capacity};
    const Elf64_Phdr *s = e->segments;
    while (s->p_type != PT_DYNAMIC) s++; /* there is one: tni_elf_open checked */
    *out = (tni_elf_entry){0};
    if (s->p_filesz % sizeof(Elf64_Dyn) != 0 ||
        !tni_elf_in_memory(e, s->p_vaddr, s->p_filesz, PF_W))
        return no(&d, "the dynamic section is malformed");
    Elf64_Dyn *entries = tni_dynamic_load(&d, s->p_vaddr, s->p_filesz, "dynamic section");
    if (!entries) return false;
    bool ok = tables_check(&d, entries, s->p_filesz / sizeof(Elf64_Dyn));
    tni_free(entries);
    tni_free(d.strings);
    tni_free(d.symbols);
    return ok;
}
