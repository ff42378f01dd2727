/* causes.c - see causes.h. A list is "o:KEY,f:PATH,...", with %XX for what a line of the cache or
 * the list itself gives a meaning.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/causes.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/system.h"
#include "core/loader/host.h"
#include "core/loader/note.h"

/* ---- Numbers --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, const void *bytes, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return (h ^ n) * 1099511628211u;
}

static uint64_t mix_text(uint64_t h, const char *text) { return mix(h, text, strlen(text)); }

static uint64_t mix_number(uint64_t h, uint64_t n) { return mix(h, &n, sizeof n); }

static const uint64_t start = 1469598103934665603u; /* FNV-1a */

/* ---- Files ----------------------------------------------------------------------------------- */

/* Which file this is, and in which state. Absence is a state too. */
static uint64_t file_number(const char *path, bool *settled) {
    enum { SETTLED_SECONDS = 2 }; /* see verdict.c */
    char build_id[TNI_BUILD_ID_BYTES] = "";
    struct stat st = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const bool known = fd >= 0 ? fstat(fd, &st) == 0 : stat(path, &st) == 0;
    if (fd >= 0 && known && S_ISREG(st.st_mode))
        tni_build_id_read(fd, (uint64_t)st.st_size, build_id);
    if (fd >= 0) close(fd);
    if (!known) return mix_text(start, path);
    if (time(NULL) - st.st_ctim.tv_sec < SETTLED_SECONDS) *settled = false;
    const uint64_t fields[] = {st.st_dev,
                               st.st_ino,
                               (uint64_t)st.st_size,
                               (uint64_t)st.st_mtim.tv_sec,
                               (uint64_t)st.st_mtim.tv_nsec,
                               (uint64_t)st.st_ctim.tv_sec,
                               (uint64_t)st.st_ctim.tv_nsec};
    return mix_text(mix(mix_text(start, path), fields, sizeof fields), build_id);
}

/* ---- Surroundings ---------------------------------------------------------------------------- */

/* Does the entry begin with one of "A,B,C"? */
static bool begins_with_one_of(const char *entry, const char *list) {
    for (const char *at = list; *at; at += *at == ',') {
        const size_t n = strcspn(at, ",");
        if (strncmp(entry, at, n) == 0) return true;
        at += n;
    }
    return false;
}

bool tni_causes_passed_on(const char *entry, const char *prefixes) {
    return begins_with_one_of(entry, "TENON_,LD_LIBRARY_PATH=,HOME=,PATH=") ||
           begins_with_one_of(entry, prefixes);
}

tni_room tni_causes_in_use(void) {
    unsigned long long size = 0, private = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %*u %*u %*u %*u %llu", &size, &private) != 2) size = private = 0;
    if (f) fclose(f);
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (tni_room){size * page, private * page};
}

/* What limit leaves, as a power of two. */
static uint64_t left_of(int limit, uint64_t used) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)limit, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    const uint64_t left = r.rlim_cur > used ? r.rlim_cur - used : 0;
    return left ? UINT64_C(1) << (63 - __builtin_clzll(left)) : 0;
}

tni_room tni_causes_room(void) {
    const tni_room used = tni_causes_in_use();
    return (tni_room){left_of(RLIMIT_AS, used.address), left_of(RLIMIT_DATA, used.data)};
}

static uint64_t mix_limits(uint64_t h) {
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        struct rlimit r;
        const bool roomy = i == RLIMIT_AS || i == RLIMIT_DATA || i == RLIMIT_CORE;
        if (!roomy && getrlimit((__rlimit_resource_t)i, &r) == 0) h = mix_number(h, r.rlim_cur);
    }
    return h;
}

/* Options are causes one by one, where the plugin asks for them; the order of entries is
 * nobody's. */
static uint64_t environment_number(const char *prefixes) {
    uint64_t sum = 0;
    for (char **e = environ; e && *e; e++)
        if (tni_causes_passed_on(*e, prefixes) && !begins_with_one_of(*e, "TENON_,HOME=,PATH="))
            sum += mix_text(start, *e);
    return sum;
}

/* A library that comes, goes or moves changes the folders it is looked for in, or ld.so's list. */
static uint64_t mix_library_folders(uint64_t h) {
    bool ignored = true;
    h = mix_number(h, file_number("/etc/ld.so.cache", &ignored));
    for (const char *at = getenv("LD_LIBRARY_PATH"); at; at = *at ? at + 1 : NULL) {
        char folder[PATH_MAX] = "."; /* what an empty entry means */
        const size_t n = strcspn(at, ":;");
        if (n > 0) snprintf(folder, sizeof folder, "%.*s", (int)n, at);
        h = mix_number(h, file_number(folder, &ignored));
        at += n;
    }
    return h;
}

uint64_t tni_causes_surroundings(const tni_room *room, const char *prefixes) {
    uint64_t h = mix_text(start, tni_system_cpu_name());
    h = mix_number(mix_number(h, room->address), room->data);
    return mix_library_folders(mix_number(mix_limits(h), environment_number(prefixes)));
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c) { return c > ' ' && c < 0x7f && c != '%' && c != ','; }

static bool encode(char *out, uint64_t capacity, char kind, const char *text) {
    static const char digits[] = "0123456789ABCDEF";
    uint64_t n = (uint64_t)snprintf(out, capacity, "%c:", kind);
    for (; *text && n + 4 < capacity; text++) {
        const unsigned char c = (unsigned char)*text;
        if (is_plain(c))
            out[n++] = *text;
        else
            out[n++] = '%', out[n++] = digits[c >> 4], out[n++] = digits[c & 15];
    }
    out[n] = 0;
    return *text == 0;
}

/* The text of an item of n bytes, its kind left out. */
static void decode(const char *item, uint64_t n, char *out, uint64_t capacity) {
    uint64_t k = 0;
    for (uint64_t i = 2; i < n && k + 1 < capacity; i++) {
        unsigned c = (unsigned char)item[i];
        if (c == '%' && i + 2 < n && sscanf(item + i + 1, "%2x", &c) == 1) i += 2;
        out[k++] = (char)c;
    }
    out[k] = 0;
}

static bool listed(const char *names, const char *item) {
    const size_t n = strlen(item);
    for (const char *at = names; (at = strstr(at, item)) != NULL; at += n)
        if ((at == names || at[-1] == ',') && (at[n] == ',' || at[n] == 0)) return true;
    return false;
}

static bool list_add(char *names, char kind, const char *text) {
    char item[PATH_MAX];
    const uint64_t n = strlen(names);
    if (!encode(item, sizeof item, kind, text)) return false;
    if (listed(names, item)) return true;
    if (n + strlen(item) + 2 > TNI_CAUSES_BYTES) return false;
    snprintf(names + n, TNI_CAUSES_BYTES - n, "%s%s", n ? "," : "", item);
    return true;
}

bool tni_causes_add_option(char names[TNI_CAUSES_BYTES], const char *key) {
    return list_add(names, 'o', key);
}

bool tni_causes_add_file(char names[TNI_CAUSES_BYTES], const char *path) {
    return list_add(names, 'f', path);
}

/* An option that names a file stands for the file too. */
static uint64_t option_number(const char *plugin_id, const char *key, bool *settled) {
    const char *value = tni_host_option(plugin_id, key);
    if (!value) return mix_text(start, key);
    const uint64_t h = mix_text(mix_text(start, key), value);
    return strchr(value, '/') ? mix_number(h, file_number(value, settled)) : h;
}

/* In any order: files are mapped in another one each time. */
uint64_t tni_causes_number(const char *names, const char *plugin_id, bool *settled) {
    uint64_t h = start;
    *settled = true;
    for (const char *at = names; *at;) {
        char text[PATH_MAX];
        const size_t n = strcspn(at, ",");
        decode(at, n, text, sizeof text);
        h += mix_number(start, at[0] == 'o' ? option_number(plugin_id, text, settled)
                                            : file_number(text, settled));
        at += n + (at[n] == ',');
    }
    return h;
}
