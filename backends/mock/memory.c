/* memory.c - a device's memory: one file in memory, mapped where nobody may touch it and where the
 * device's threads work; first fit, with a guard behind each piece.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/mock/mock.h"

#include <sys/mman.h>
#include <unistd.h>

enum { LINE = 64, GUARD = 0xa5, POISON = 0xdb, PIECES = 1 << 16 };

typedef struct piece {
    uint64_t begin, bytes; /* with its guard */
} piece;

typedef struct memory {
    char *seen, *real; /* the two mappings */
    piece *used;       /* by begin */
    uint32_t n;
    int64_t allocs;
    pthread_mutex_t lock;
} memory;

static memory memories[MOCK_DEVICES];

static bool open_one(memory *m) {
    const int file = memfd_create("tenon-mock", MFD_CLOEXEC);
    const size_t n = mock.capacity;
    if (file < 0) return false;
    bool ok = ftruncate(file, (off_t)n) == 0;
    void *seen = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *real = ok ? mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0)
                    : MAP_FAILED;
    close(file);
    m->used = tn_plugin_host->alloc(tn_plugin_self, PIECES * sizeof *m->used);
    m->seen = seen == MAP_FAILED ? NULL : seen;
    m->real = real == MAP_FAILED ? NULL : real;
    pthread_mutex_init(&m->lock, NULL);
    return ok && m->seen && m->real && m->used;
}

bool mock_memory_open(void) {
    for (int i = 0; i < MOCK_DEVICES; i++)
        if (!open_one(&memories[i])) return false;
    return true;
}

void *mock_reach(const void *p) {
    for (int i = 0; i < MOCK_DEVICES; i++) {
        const memory *m = &memories[i];
        const uint64_t at = (uint64_t)((uintptr_t)p - (uintptr_t)m->seen);
        if (p && at < mock.capacity) return m->real + at;
    }
    return (void *)(uintptr_t)p;
}

/* The first gap that holds so many bytes lies before piece *at. */
static bool find_gap(const memory *m, uint64_t bytes, uint32_t *at, uint64_t *begin) {
    *begin = 0;
    for (*at = 0; *at < m->n; (*at)++) {
        if (m->used[*at].begin - *begin >= bytes) return true;
        *begin = m->used[*at].begin + m->used[*at].bytes;
    }
    return mock.capacity - *begin >= bytes;
}

void *mock_alloc(int32_t index, uint64_t bytes) {
    memory *m = &memories[index];
    void *p = NULL;
    uint32_t at;
    uint64_t begin;
    if (bytes > mock.capacity) return NULL;
    const uint64_t whole = (bytes + LINE - 1) / LINE * LINE + LINE;
    pthread_mutex_lock(&m->lock);
    m->allocs++;
    if (m->allocs != mock.fail_alloc && m->n < PIECES && find_gap(m, whole, &at, &begin)) {
        memmove(m->used + at + 1, m->used + at, (m->n++ - at) * sizeof *m->used);
        m->used[at] = (piece){begin, whole};
        memset(m->real + begin + whole - LINE, GUARD, LINE);
        p = m->seen + begin;
    }
    pthread_mutex_unlock(&m->lock);
    return p;
}

static bool guard_holds(const memory *m, const piece *p) {
    const unsigned char *guard = (const unsigned char *)m->real + p->begin + p->bytes - LINE;
    for (int i = 0; i < LINE; i++)
        if (guard[i] != GUARD) return false;
    return true;
}

static void complain(int32_t index, uint64_t bytes) {
    char text[160];
    const int n = tn_text(text, sizeof text,
                          "mock:%d: something wrote past the end of a buffer of %llu bytes", index,
                          (unsigned long long)bytes);
    tn_plugin_host->log(tn_plugin_self, TN_LOG_ERROR, text, (uint64_t)n);
    mock_lose(index, "a write past the end of a buffer");
}

void mock_free(int32_t index, void *p, uint64_t bytes) {
    memory *m = &memories[index];
    const uint64_t begin = (uint64_t)((char *)p - m->seen) / LINE * LINE;
    bool whole = true;
    pthread_mutex_lock(&m->lock);
    uint32_t at = 0;
    while (at < m->n && m->used[at].begin != begin) at++;
    if (at < m->n) {
        whole = guard_holds(m, &m->used[at]);
        memset(m->real + begin, POISON, m->used[at].bytes);
        memmove(m->used + at, m->used + at + 1, (--m->n - at) * sizeof *m->used);
    }
    pthread_mutex_unlock(&m->lock);
    if (!whole) complain(index, bytes);
}
