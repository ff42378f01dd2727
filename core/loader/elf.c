/* elf.c - file header, segments and section table, each bounded by the real size of the file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/elf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/text.h"

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#define OUR_NAME    "x86-64"
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#define OUR_NAME    "aarch64"
#elif defined(__riscv)
#define OUR_MACHINE EM_RISCV
#define OUR_NAME    "riscv"
#else
#define OUR_MACHINE EM_NONE
#define OUR_NAME    "this machine"
#endif

enum { PAGE = 4096 }; /* the smallest there is */
static const uint64_t file_most = UINT64_C(4) << 30;
static const uint64_t image_most = UINT64_C(64) << 30;

bool tni_elf_read(const tni_elf *e, uint64_t offset, void *out, uint64_t bytes) {
    if (offset > e->file_bytes || bytes > e->file_bytes - offset) return false;
    char *to = out;
    while (bytes > 0) {
        ssize_t n = pread(e->fd, to, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false; /* it shrank, or the disk failed */
        to += n, offset += (uint64_t)n, bytes -= (uint64_t)n;
    }
    return true;
}

bool tni_elf_in_file(const tni_elf *e, uint64_t address, uint64_t bytes, uint64_t *offset) {
    for (uint32_t i = 0; i < e->n_segments; i++) {
        const Elf64_Phdr *s = &e->segments[i];
        if (s->p_type != PT_LOAD || address < s->p_vaddr) continue;
        uint64_t at = address - s->p_vaddr;
        if (at > s->p_filesz || bytes > s->p_filesz - at) continue;
        *offset = s->p_offset + at;
        return true;
    }
    return false;
}

bool tni_elf_in_memory(const tni_elf *e, uint64_t address, uint64_t bytes, uint32_t flags) {
    for (uint32_t i = 0; i < e->n_segments; i++) {
        const Elf64_Phdr *s = &e->segments[i];
        if (s->p_type != PT_LOAD || address < s->p_vaddr) continue;
        uint64_t at = address - s->p_vaddr;
        if (at <= s->p_memsz && bytes <= s->p_memsz - at && (s->p_flags & flags) == flags)
            return true;
    }
    return false;
}

static bool header_identity(const Elf64_Ehdr *h, const tni_problem *p) {
    const unsigned char *id = h->e_ident;
    if (memcmp(id, ELFMAG, SELFMAG) != 0) return tni_no(p, "not an ELF file");
    if (id[EI_CLASS] != ELFCLASS64) return tni_no(p, "not a 64-bit ELF file");
    if (id[EI_DATA] != ELFDATA2LSB) return tni_no(p, "not a little-endian ELF file");
    if (id[EI_VERSION] != EV_CURRENT || h->e_version != EV_CURRENT)
        return tni_no(p, "unknown ELF version");
    if (id[EI_OSABI] != ELFOSABI_SYSV && id[EI_OSABI] != ELFOSABI_GNU)
        return tni_no(p, "built for another system (OS ABI %d)", id[EI_OSABI]);
    if (id[EI_ABIVERSION] != 0) return tni_no(p, "unknown ABI version %d", id[EI_ABIVERSION]);
    for (int i = EI_PAD; i < EI_NIDENT; i++)
        if (id[i] != 0) return tni_no(p, "the file header is damaged");
    if (h->e_type != ET_DYN)
        return tni_no(p, "not a shared object (ELF type %d); link it with -shared", h->e_type);
    if (h->e_machine != OUR_MACHINE)
        return tni_no(p, "built for another machine (ELF machine %d, this is %s)", h->e_machine,
                      OUR_NAME);
    return true;
}

static bool power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

static bool load_check(const Elf64_Phdr *s, const Elf64_Phdr *before, const tni_problem *p) {
    if (!(s->p_flags & PF_R)) return tni_no(p, "a segment cannot be read");
    if ((s->p_flags & PF_W) && (s->p_flags & PF_X))
        return tni_no(p, "a segment is both writable and executable");
    if (s->p_memsz < s->p_filesz)
        return tni_no(p, "a segment is smaller in memory than in the file");
    if (!power_of_two(s->p_align) || s->p_align < PAGE || s->p_align > (UINT64_C(1) << 30) ||
        (s->p_vaddr - s->p_offset) % s->p_align != 0)
        return tni_no(p, "a segment is not aligned to pages");
    if (s->p_vaddr > image_most || s->p_memsz > image_most - s->p_vaddr)
        return tni_no(p, "a segment is too large");
    if (before) {
        uint64_t end = (before->p_vaddr + before->p_memsz + PAGE - 1) / PAGE * PAGE;
        if (s->p_vaddr / PAGE * PAGE < end)
            return tni_no(p, "segments overlap or are not in order");
    }
    return true;
}

/* Parts of loaded segments: what is read through the file must be what will be mapped. */
static bool part_check(const tni_elf *e, const Elf64_Phdr *s, const tni_problem *p) {
    uint64_t offset;
    if (s->p_filesz > 0 &&
        (!tni_elf_in_file(e, s->p_vaddr, s->p_filesz, &offset) || offset != s->p_offset))
        return tni_no(p, "a segment of type %#x lies outside of what is loaded", s->p_type);
    if (s->p_type == PT_TLS &&
        (s->p_memsz < s->p_filesz || s->p_memsz > (UINT64_C(1) << 30) || s->p_align > (1 << 20) ||
         (s->p_align != 0 && !power_of_two(s->p_align))))
        return tni_no(p, "the thread-local segment is malformed");
    if (s->p_type == PT_GNU_RELRO && !tni_elf_in_memory(e, s->p_vaddr, s->p_memsz, PF_W))
        return tni_no(p, "the relro segment is not part of a writable one");
    return true;
}

static bool segment_check(tni_elf *e, uint32_t i, const Elf64_Phdr **before, const tni_problem *p) {
    const Elf64_Phdr *s = &e->segments[i];
    if (s->p_offset > e->file_bytes || s->p_filesz > e->file_bytes - s->p_offset)
        return tni_no(p, "cut off: segment %u ends at byte %llu of %llu", i,
                      (unsigned long long)(s->p_offset + s->p_filesz),
                      (unsigned long long)e->file_bytes);
    if (s->p_type == PT_GNU_STACK && (s->p_flags & PF_X))
        return tni_no(p, "asks for an executable stack; link it with -z noexecstack");
    if (s->p_type == PT_INTERP)
        return tni_no(p, "an executable, not a shared object; link it with -shared");
    if (s->p_type != PT_LOAD) return true;
    if (!load_check(s, *before, p)) return false;
    *before = s;
    e->image_end = s->p_vaddr + s->p_memsz;
    return true;
}

static bool segments_check(tni_elf *e, const tni_problem *p) {
    const Elf64_Phdr *before = NULL;
    for (uint32_t i = 0; i < e->n_segments; i++)
        if (!segment_check(e, i, &before, p)) return false;
    if (!before) return tni_no(p, "nothing to load");
    uint32_t dynamics = 0;
    for (uint32_t i = 0; i < e->n_segments; i++) {
        uint32_t type = e->segments[i].p_type;
        dynamics += type == PT_DYNAMIC;
        bool part = type == PT_DYNAMIC || type == PT_NOTE || type == PT_TLS || type == PT_PHDR ||
                    type == PT_GNU_RELRO || type == PT_GNU_EH_FRAME || type == PT_GNU_PROPERTY;
        if (part && !part_check(e, &e->segments[i], p)) return false;
    }
    return dynamics == 1 || tni_no(p, "has %u dynamic sections, must have one", dynamics);
}

/* Nobody maps sections, but a file whose section table is cut off is not whole. */
static bool sections_check(const tni_elf *e, const Elf64_Ehdr *h, const tni_problem *p) {
    if (h->e_shoff == 0) return true; /* stripped to the bone */
    if (h->e_shentsize != sizeof(Elf64_Shdr)) return tni_no(p, "the section table is malformed");
    uint64_t bytes = (uint64_t)h->e_shnum * sizeof(Elf64_Shdr);
    if (h->e_shoff > e->file_bytes || bytes > e->file_bytes - h->e_shoff)
        return tni_no(p, "cut off: the section table ends at byte %llu of %llu",
                      (unsigned long long)(h->e_shoff + bytes), (unsigned long long)e->file_bytes);
    for (uint32_t i = 0; i < h->e_shnum; i++) {
        Elf64_Shdr s;
        if (!tni_elf_read(e, h->e_shoff + i * sizeof s, &s, sizeof s))
            return tni_no(p, "cannot be read");
        if (s.sh_type == SHT_NOBITS || s.sh_type == SHT_NULL) continue;
        if (s.sh_offset > e->file_bytes || s.sh_size > e->file_bytes - s.sh_offset)
            return tni_no(p, "cut off: section %u lies outside of the file", i);
    }
    return true;
}

bool tni_elf_open(tni_elf *e, int fd, uint64_t file_bytes, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    Elf64_Ehdr h;
    *e = (tni_elf){.fd = fd, .file_bytes = file_bytes};
    if (file_bytes > file_most) return tni_no(&p, "larger than 4 GiB");
    if (!tni_elf_read(e, 0, &h, sizeof h))
        return tni_no(&p, file_bytes < sizeof h ? "not an ELF file: too short" : "cannot be read");
    if (!header_identity(&h, &p)) return false;
    if (h.e_ehsize != sizeof h || h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0 ||
        h.e_phnum > TNI_ELF_SEGMENTS)
        return tni_no(&p, "the program header table is malformed");
    e->n_segments = h.e_phnum;
    if (h.e_phoff % 8 != 0 ||
        !tni_elf_read(e, h.e_phoff, e->segments, h.e_phnum * sizeof(Elf64_Phdr)))
        return tni_no(&p, "cut off: the program header table lies outside of the file");
    return segments_check(e, &p) && sections_check(e, &h, &p);
}
