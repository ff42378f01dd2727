/* note.c - walks the notes of an ELF file and parses the identity strictly.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/note.h"

#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <tenon/tenon.h>

#include "core/base/heap.h"
#include "core/base/text.h"

enum { MOST_LINES = 64, MOST_KEY = 48, MOST_VALUE = 256 };

/* ---- Versions and lists ---------------------------------------------------------------------- */

int tni_version_compare(const char *a, const char *b) {
    for (;;) {
        uint64_t left = 0, right = 0;
        for (; *a >= '0' && *a <= '9'; a++)
            left = left < UINT32_MAX ? left * 10 + (uint64_t)(*a - '0') : left;
        for (; *b >= '0' && *b <= '9'; b++)
            right = right < UINT32_MAX ? right * 10 + (uint64_t)(*b - '0') : right;
        if (left != right) return left < right ? -1 : 1;
        if (*a != '.' && *b != '.') return 0; /* what follows, "-rc1", does not count */
        a += *a == '.', b += *b == '.';
    }
}

bool tni_kind_listed(const char *kinds, const char *kind) {
    size_t n = strlen(kind);
    for (const char *at = kinds; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, kind, n) == 0 && (at[n] == ',' || at[n] == 0)) return true;
    }
    return false;
}

static bool all_of(const char *s, const char *also) {
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || strchr(also, *s)))
            return false;
    return true;
}

static bool id_valid(const char *s) {
    return s[0] >= 'a' && s[0] <= 'z' && strlen(s) < TNI_ID_BYTES && all_of(s, "_");
}

/* ---- The identity ---------------------------------------------------------------------------- */

static bool number(const char **at, int32_t *out) {
    if (**at < '0' || **at > '9' || (**at == '0' && (*at)[1] >= '0' && (*at)[1] <= '9'))
        return false;
    for (*out = 0; **at >= '0' && **at <= '9'; (*at)++) {
        if (*out > 99999) return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool abi_parse(tni_note *n, const tni_problem *p) {
    const char *at = n->abi;
    if (number(&at, &n->abi_major) && *at++ == '.' && number(&at, &n->abi_minor) && *at == 0)
        return true;
    return tni_no(p, "note: abi='%s' is not MAJOR.MINOR", n->abi);
}

/* "tenon.math>=0.1,nn" */
static bool requires_parse(tni_note *n, char *list, const tni_problem *p) {
    char *rest = list;
    for (char *item; (item = strsep(&rest, ",")) != NULL;) {
        char *version = strstr(item, ">=");
        if (version) *version = 0, version += 2;
        if (strncmp(item, "tenon.", 6) == 0) item += 6;
        if (!id_valid(item) || (version && (*version < '0' || *version > '9')))
            return tni_no(p, "note: requires= must list plugins as tenon.NAME>=VERSION");
        if (n->n_requires == TNI_NOTE_PAIRS)
            return tni_no(p, "note: requires= lists more than %d plugins", TNI_NOTE_PAIRS);
        n->requires[n->n_requires++] = (tni_pair){item, version ? version : ""};
    }
    return true;
}

/* "ACME_,ROAD_". What decides which code is loaded ("LD_PRELOAD") is nobody's to ask for. */
static bool environment_parse(tni_note *n, const char *list, const tni_problem *p) {
    for (const char *at = list;; at++) {
        const size_t len = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        if (len < 3 || strncmp(at, "LD_", 3) == 0 || (at[len] && at[len] != ','))
            return tni_no(p,
                          "note: environment='%.64s' must list prefixes of at least 3 capitals, "
                          "as in ACME_, none of which begins with LD_",
                          list);
        at += len;
        if (!*at) break;
    }
    n->environment = list;
    return true;
}

static bool pair_parse(tni_note *n, const char *key, char *value, const tni_problem *p) {
    static const char runtime[] = "runtime.";
    if (strcmp(key, "id") == 0) n->id = value;
    if (strcmp(key, "version") == 0) n->version = value;
    if (strcmp(key, "abi") == 0) n->abi = value;
    if (strcmp(key, "kinds") == 0) n->kinds = value;
    if (strcmp(key, "licence") == 0) n->licence = value;
    if (strcmp(key, "requires") == 0) return requires_parse(n, value, p);
    if (strcmp(key, "environment") == 0) return environment_parse(n, value, p);
    if (strncmp(key, runtime, sizeof runtime - 1) == 0) {
        if (n->n_runtimes == TNI_NOTE_PAIRS)
            return tni_no(p, "note: more than %d runtime keys", TNI_NOTE_PAIRS);
        n->runtimes[n->n_runtimes++] = (tni_pair){key + sizeof runtime - 1, value};
    }
    return true;
}

static bool complete(const tni_note *n, const tni_problem *p) {
    const char *missing = !n->id        ? "id"
                          : !n->version ? "version"
                          : !n->abi     ? "abi"
                          : !n->kinds   ? "kinds"
                                        : NULL;
    if (missing) return tni_no(p, "note: %s= is missing", missing);
    if (!id_valid(n->id))
        return tni_no(p, "note: id='%.64s' must be lower-case letters, digits and '_', at most %d",
                      n->id, TNI_ID_BYTES - 1);
    if (strlen(n->version) > 31 || n->version[0] < '0' || n->version[0] > '9')
        return tni_no(
            p, "note: version='%.64s' must begin with a digit and have at most 31 characters",
            n->version);
    if (n->kinds[0] == 0 || !all_of(n->kinds, ",_"))
        return tni_no(p, "note: kinds='%.64s' must list ops, kernels or driver", n->kinds);
    return true;
}

/* One line, at an index for messages; line has its NUL where the '\n' was. */
static bool line_parse(tni_note *n, char *line, const char **keys, uint32_t i,
                       const tni_problem *p) {
    char *value = strchr(line, '=');
    if (!value || value == line) return tni_no(p, "note: line %u is not key=value", i + 1);
    *value++ = 0;
    if (strlen(line) > MOST_KEY || !(line[0] >= 'a' && line[0] <= 'z') || !all_of(line, "_."))
        return tni_no(p, "note: the key of line %u is malformed", i + 1);
    if (strlen(value) > MOST_VALUE || (value[0] == 0 && strcmp(line, "licence") != 0))
        return tni_no(p, "note: the value of %s= is empty or longer than %d bytes", line,
                      MOST_VALUE);
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(keys[k], line) == 0) return tni_no(p, "note: %s= appears twice", line);
    keys[i] = line;
    return pair_parse(n, line, value, p);
}

static bool lines_parse(tni_note *n, uint64_t len, const tni_problem *p) {
    const char *keys[MOST_LINES];
    uint32_t i = 0;
    for (char *line = n->text, *end = n->text + len; line < end; i++) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end; /* the last one */
        *stop = 0;
        if (i == MOST_LINES) return tni_no(p, "note: more than %d lines", MOST_LINES);
        if (!tni_text_valid(line, (uint64_t)(stop - line)))
            return tni_no(p, "note: line %u is not printable text", i + 1);
        if (!line_parse(n, line, keys, i, p)) return false;
        line = stop + 1;
    }
    return true;
}

/* Takes over n->text, len bytes and room for one more. */
static bool identity_parse(tni_note *n, uint64_t len, const tni_problem *p) {
    if (len > 0 && n->text[len - 1] == 0) len--; /* the string's own end */
    if (memchr(n->text, 0, len)) return tni_no(p, "note: is not printable text");
    n->text[len] = 0;
    n->licence = n->environment = "";
    return lines_parse(n, len, p) && complete(n, p) && abi_parse(n, p);
}

bool tni_note_parse(tni_note *out, const char *text, uint64_t len, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    *out = (tni_note){0};
    if (len > TNI_NOTE_TEXT) return tni_no(&p, "note: longer than %d bytes", TNI_NOTE_TEXT);
    out->text = tni_alloc(len + 1);
    if (!out->text) return tni_no(&p, "out of memory while the note is read");
    memcpy(out->text, text, len);
    if (identity_parse(out, len, &p)) return true;
    tni_note_free(out);
    return false;
}

void tni_note_free(tni_note *n) {
    tni_free(n->text);
    tni_free(n->schemas);
    *n = (tni_note){0};
}

/* ---- Walking the notes ----------------------------------------------------------------------- */

typedef struct header {
    uint32_t name_bytes, desc_bytes, type;
} header;

static uint64_t up(uint64_t n, uint64_t align) { return (n + align - 1) / align * align; }

static bool take_identity(const tni_elf *e, tni_note *n, uint64_t at, uint64_t bytes,
                          const tni_problem *p) {
    if (n->text) return tni_no(p, "has two Tenon identities");
    if (bytes == 0 || bytes > TNI_NOTE_TEXT)
        return tni_no(p, "note: empty, or longer than %d bytes", TNI_NOTE_TEXT);
    n->text = tni_alloc(bytes + 1);
    if (!n->text || !tni_elf_read(e, at, n->text, bytes))
        return tni_no(p, n->text ? "note: cannot be read" : "out of memory while the note is read");
    return identity_parse(n, bytes, p);
}

static bool take_schemas(const tni_elf *e, tni_note *n, uint64_t at, uint64_t bytes,
                         const tni_problem *p) {
    if (n->schemas) return tni_no(p, "has two notes with schemas");
    if (bytes > TN_NOTE_MAX) return tni_no(p, "note: schemas longer than %d bytes", TN_NOTE_MAX);
    n->schemas = tni_alloc(bytes + 1);
    if (!n->schemas || !tni_elf_read(e, at, n->schemas, bytes))
        return tni_no(p,
                      n->schemas ? "note: cannot be read" : "out of memory while the note is read");
    uint64_t len = strlen(n->schemas);
    if (len + 1 < bytes) return tni_no(p, "note: the schemas are not text");
    for (char *c = n->schemas; *c; c++) {
        n->n_schemas += *c == '\n';
        if ((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t')
            return tni_no(p, "note: the schemas are not text");
    }
    return true;
}

static void take_build_id(const unsigned char *id, uint64_t bytes, char *out) {
    static const char digits[] = "0123456789abcdef";
    uint64_t n = bytes < (TNI_BUILD_ID_BYTES - 1) / 2 ? bytes : (TNI_BUILD_ID_BYTES - 1) / 2;
    for (uint64_t i = 0; i < n; i++)
        out[2 * i] = digits[id[i] >> 4], out[2 * i + 1] = digits[id[i] & 15];
    out[2 * n] = 0;
}

static bool take(const tni_elf *e, tni_note *n, const header *h, const char *name, uint64_t at,
                 const tni_problem *p) {
    if (h->name_bytes == sizeof TN_NOTE_OWNER && strcmp(name, TN_NOTE_OWNER) == 0) {
        if (h->type == TN_NOTE_IDENTITY) return take_identity(e, n, at, h->desc_bytes, p);
        if (h->type == TN_NOTE_SCHEMAS) return take_schemas(e, n, at, h->desc_bytes, p);
    }
    unsigned char id[32];
    if (h->name_bytes == 4 && strcmp(name, "GNU") == 0 && h->type == NT_GNU_BUILD_ID &&
        h->desc_bytes <= sizeof id && tni_elf_read(e, at, id, h->desc_bytes))
        take_build_id(id, h->desc_bytes, n->build_id);
    return true;
}

static bool walk(const tni_elf *e, const Elf64_Phdr *s, tni_note *n, const tni_problem *p) {
    uint64_t align = s->p_align == 8 ? 8 : 4;
    for (uint64_t at = 0; at + sizeof(header) <= s->p_filesz;) {
        header h;
        char name[8] = "";
        if (!tni_elf_read(e, s->p_offset + at, &h, sizeof h))
            return tni_no(p, "note: cannot be read");
        if (h.name_bytes == 0) { /* padding between notes */
            at += 4;
            continue;
        }
        uint64_t desc = up(at + sizeof h + h.name_bytes, align), end = desc + h.desc_bytes;
        if (end > s->p_filesz) return tni_no(p, "note: reaches beyond its segment");
        uint64_t n_name = h.name_bytes < sizeof name - 1 ? h.name_bytes : sizeof name - 1;
        if (!tni_elf_read(e, s->p_offset + at + sizeof h, name, n_name))
            return tni_no(p, "note: cannot be read");
        if (!take(e, n, &h, name, s->p_offset + desc, p)) return false;
        at = up(end, align);
    }
    return true;
}

bool tni_note_read(const tni_elf *e, tni_note *out, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    bool ok = true;
    *out = (tni_note){0};
    for (uint32_t i = 0; i < e->n_segments && ok; i++)
        if (e->segments[i].p_type == PT_NOTE) ok = walk(e, &e->segments[i], out, &p);
    if (ok && !out->text) ok = tni_no(&p, "carries no Tenon note");
    if (!ok) tni_note_free(out);
    return ok;
}

void tni_build_id_read(int fd, uint64_t file_bytes, char out[TNI_BUILD_ID_BYTES]) {
    const tni_problem unsaid = {NULL, 0};
    tni_elf e;
    tni_note n = {0};
    char why[1];
    if (!tni_elf_open(&e, fd, file_bytes, why, 0)) return;
    for (uint32_t i = 0; i < e.n_segments; i++)
        if (e.segments[i].p_type == PT_NOTE && !walk(&e, &e.segments[i], &n, &unsaid)) break;
    memcpy(out, n.build_id, sizeof n.build_id);
    tni_note_free(&n);
}

/* ---- Our own build id ------------------------------------------------------------------------ */

static char core_id[TNI_BUILD_ID_BYTES] = "v" TN_VERSION;

/* Finds the object that holds core_id, and the build id in its mapped notes. */
static int core_object(struct dl_phdr_info *o, size_t size, void *arg) {
    (void)size, (void)arg;
    uintptr_t ours = (uintptr_t)core_id;
    bool found = false;
    for (int i = 0; i < o->dlpi_phnum; i++) {
        uintptr_t at = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;
        found |= o->dlpi_phdr[i].p_type == PT_LOAD && ours - at < o->dlpi_phdr[i].p_memsz;
    }
    for (int i = 0; i < o->dlpi_phnum && found; i++) {
        const Elf64_Phdr *s = &o->dlpi_phdr[i];
        const unsigned char *base = (const unsigned char *)(o->dlpi_addr + s->p_vaddr);
        uint64_t align = s->p_align == 8 ? 8 : 4;
        for (uint64_t at = 0; s->p_type == PT_NOTE && at + sizeof(header) <= s->p_memsz;) {
            header h;
            memcpy(&h, base + at, sizeof h);
            uint64_t desc = up(at + sizeof h + h.name_bytes, align);
            if (h.name_bytes == 4 && h.type == NT_GNU_BUILD_ID &&
                memcmp(base + at + sizeof h, "GNU", 4) == 0)
                take_build_id(base + desc, h.desc_bytes, core_id);
            at = up(desc + h.desc_bytes, align);
        }
    }
    return found;
}

static void core_find(void) { dl_iterate_phdr(core_object, NULL); }

const char *tni_core_build_id(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, core_find);
    return core_id;
}
