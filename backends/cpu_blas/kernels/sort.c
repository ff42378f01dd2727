/* sort.c - stable sort of one line, by radix: values and where each came from.
 *
 * Invariant: an element is sorted as an unsigned integer that has its order, NaN above
 * everything and -0 equal to 0, with its index beside it; digits are passed from the lowest up,
 * each stably.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backends/cpu_blas/kernels/kernels.h"
#include "backends/cpu_blas/kernels/lines.h"

enum { DIGITS = 256, FEW = 48 };

typedef struct entry {
    uint64_t key;
    int64_t index;
} entry;

static uint64_t key_of_i32(int32_t x) { return (uint32_t)x ^ UINT32_C(1) << 31; }
static uint64_t key_of_i64(int64_t x) { return (uint64_t)x ^ UINT64_C(1) << 63; }

/* Negative floats are mirrored, the others come after them. */
static uint64_t key_of_f32(float x) {
    uint32_t bits;
    if (x != x) return UINT32_MAX;
    if (x == 0) return UINT32_C(1) << 31;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

static uint64_t key_of_f64(double x) {
    uint64_t bits;
    if (x != x) return UINT64_MAX;
    if (x == 0) return UINT64_C(1) << 63;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

#define LOAD(E, T, all)                                                                            \
    case BLAS_##E: {                                                                               \
        const T *x = row;                                                                          \
        for (int64_t i = 0; i < n; i++)                                                            \
            out[i] = (entry){key_of_##T##_(x[i]) ^ (descending ? (all) : 0), i};                   \
        return;                                                                                    \
    }
#define key_of_int32_t_ key_of_i32
#define key_of_int64_t_ key_of_i64
#define key_of_float_   key_of_f32
#define key_of_double_  key_of_f64

static void load(int type, const void *row, int64_t n, bool descending, entry *out) {
    switch (type) {
        LOAD(I32, int32_t, UINT32_MAX)
        LOAD(I64, int64_t, UINT64_MAX)
        LOAD(F32, float, UINT32_MAX)
        LOAD(F64, double, UINT64_MAX)
    default:
        return;
    }
}

static void insertion_sort(entry *a, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        const entry e = a[i];
        int64_t k = i;
        for (; k > 0 && a[k - 1].key > e.key; k--) a[k] = a[k - 1];
        a[k] = e;
    }
}

/* Sorts a, using b as room; returns the one that holds the result. */
static entry *radix_sort(entry *a, entry *b, int64_t n, int bytes) {
    int64_t count[8][DIGITS];
    memset(count, 0, sizeof count);
    for (int64_t i = 0; i < n; i++)
        for (int d = 0; d < bytes; d++) count[d][a[i].key >> 8 * d & 255]++;
    for (int d = 0; d < bytes; d++) {
        if (count[d][a[0].key >> 8 * d & 255] == n) continue; /* all alike here */
        for (int64_t k = 0, sum = 0; k < DIGITS; k++) {
            const int64_t here = count[d][k];
            count[d][k] = sum, sum += here;
        }
        for (int64_t i = 0; i < n; i++) b[count[d][a[i].key >> 8 * d & 255]++] = a[i];
        entry *swap = a;
        a = b, b = swap;
    }
    return a;
}

/* rows: values, indices, x */
void blas_sort_line(const blas_lines *l, void *const *rows, void *room) {
    entry *a = room;
    const int64_t n = l->n, bytes = l->lanes[2];
    int64_t *where = rows[1];
    load(blas_lane_type(l->views[2]->dtype), rows[2], n, l->descending, a);
    if (n <= FEW)
        insertion_sort(a, n);
    else
        a = radix_sort(a, a + n, n, (int)bytes);
    for (int64_t i = 0; i < n; i++) where[i] = a[i].index;
    for (int64_t i = 0; bytes == 4 && i < n; i++)
        ((uint32_t *)rows[0])[i] = ((const uint32_t *)rows[2])[where[i]];
    for (int64_t i = 0; bytes == 8 && i < n; i++)
        ((uint64_t *)rows[0])[i] = ((const uint64_t *)rows[2])[where[i]];
}
