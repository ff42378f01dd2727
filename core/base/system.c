/* system.c - processors and memory this process may use.
 *
 * Invariant: what cannot be read counts as no limit; the answers never change while the process
 * runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/system.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES = 4096, CPUS_MAX = 1 << 16 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int32_t cpus;
static uint64_t memory;
static char cpu_name[64] = "cpu";

/* The beginning of a file, as a string. */
static bool read_text(const char *path, char *out, size_t capacity) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    size_t n = 0;
    ssize_t got;
    while (n + 1 < capacity && (got = read(file, out + n, capacity - 1 - n)) > 0) n += (size_t)got;
    close(file);
    out[n] = '\0';
    return n > 0;
}

/* A number like "max" or "100000", from *text on; UINT64_MAX for no limit. */
static uint64_t parse_limit(const char *text, const char **end) {
    char *stop;
    unsigned long long n = strtoull(text, &stop, 10);
    if (end) *end = stop;
    return stop == text || text[0] == '-' ? UINT64_MAX : n;
}

static uint64_t parse_memory(const char *text) { return parse_limit(text, NULL); }

/* "150000 100000": 150 ms of processor time per 100 ms are two processors, rounded up. */
static uint64_t parse_cpus(const char *text) {
    const char *rest;
    uint64_t quota = parse_limit(text, &rest);
    if (quota == UINT64_MAX) return UINT64_MAX;
    uint64_t period = parse_limit(rest, NULL);
    if (period == 0 || period == UINT64_MAX) return UINT64_MAX;
    return quota / period + (quota % period != 0);
}

/* The smallest limit named `file` in this process's cgroup and all above it (version 2). */
static uint64_t cgroup_limit(const char *file, uint64_t (*parse)(const char *)) {
    char text[TEXT_BYTES], path[TEXT_BYTES + 64], folder[TEXT_BYTES] = "";
    uint64_t limit = UINT64_MAX;
    if (read_text("/proc/self/cgroup", text, sizeof text)) {
        const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
        if (line) snprintf(folder, sizeof folder, "%s", strstr(line, "::") + 2);
        folder[strcspn(folder, "\n")] = '\0';
    }
    for (;;) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", folder, file);
        if (read_text(path, text, sizeof text)) {
            uint64_t here = parse(text);
            if (here < limit) limit = here;
        }
        char *slash = strrchr(folder, '/');
        if (!slash) return limit;
        *slash = '\0';
    }
}

/* The same question to cgroup version 1, at the root a container sees. */
static uint64_t cgroup1_cpus(void) {
    char quota[64], period[64], both[160];
    if (!read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota) ||
        !read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period)) {
        return UINT64_MAX;
    }
    snprintf(both, sizeof both, "%s %s", quota, period);
    return parse_cpus(both);
}

static uint64_t cgroup1_memory(void) {
    char text[64];
    return read_text("/sys/fs/cgroup/memory/memory.limit_in_bytes", text, sizeof text)
               ? parse_memory(text)
               : UINT64_MAX;
}

static int32_t affinity_cpus(void) {
    for (int32_t n = 1024; n <= CPUS_MAX; n *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (!set) break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)n);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < CPUS_MAX ? (int32_t)online : 1;
}

static void read_cpu_name(void) {
    char text[TEXT_BYTES];
    if (!read_text("/proc/cpuinfo", text, sizeof text)) return;
    const char *line = strstr(text, "model name");
    const char *colon = line ? strchr(line, ':') : NULL;
    if (!colon) return;
    colon += strspn(colon, ": \t");
    size_t n = strcspn(colon, "\n");
    if (n == 0) return;
    snprintf(cpu_name, sizeof cpu_name, "%.*s", (int)(n < 63 ? n : 63), colon);
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void read_all(void) {
    uint64_t n = smaller((uint64_t)affinity_cpus(),
                         smaller(cgroup_limit("cpu.max", parse_cpus), cgroup1_cpus()));
    cpus = n > 0 ? (int32_t)n : 1;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 32;
    memory = smaller(memory, smaller(cgroup_limit("memory.max", parse_memory), cgroup1_memory()));
    read_cpu_name();
}

int32_t tni_system_cpus(void) {
    pthread_once(&once, read_all);
    return cpus;
}

uint64_t tni_system_memory(void) {
    pthread_once(&once, read_all);
    return memory;
}

const char *tni_system_cpu_name(void) {
    pthread_once(&once, read_all);
    return cpu_name;
}
