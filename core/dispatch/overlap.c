/* overlap.c - which operands share memory with one that is written.
 *
 * Asked at every call of an op that writes. Most write one argument: all others are held against
 * it. Where several are written, as by optimizers, a table first tells whether any two lie in one
 * storage, which takes a step per tensor; only then is each pair looked at.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/overlap.h"

#include <string.h>

#include "core/base/dtype.h"
#include "core/base/geometry.h"

enum { MOST = 64 * TNI_OVERLAP_WORDS, TABLE = 2 * MOST };

/* Bytes [low, high) of the storage. */
static void extent(const tn_tensor *t, int64_t *low, int64_t *high) {
    const int64_t bytes = tni_dtype_bytes(t->dtype);
    tni_reach(t->sizes, t->strides, t->rank, low, high);
    *low = (t->offset + *low) * bytes;
    *high = (t->offset + *high + 1) * bytes;
}

static bool same_geometry(const tn_tensor *a, const tn_tensor *b) {
    if (a->offset != b->offset || a->rank != b->rank || !tn_dtype_is(a->dtype, b->dtype))
        return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->sizes[d] != b->sizes[d] || a->strides[d] != b->strides[d]) return false;
    return true;
}

static bool overlap(const tn_tensor *a, const tn_tensor *b) {
    int64_t low_a, high_a, low_b, high_b;
    if (!a || !b || a->storage != b->storage || a->numel == 0 || b->numel == 0 ||
        same_geometry(a, b))
        return false;
    extent(a, &low_a, &high_a);
    extent(b, &low_b, &high_b);
    return low_a < high_b && low_b < high_a;
}

static uint32_t considered(const tni_invocation *v) {
    return v->n_operands < MOST ? v->n_operands : MOST;
}

static void mark(tni_overlap *o, uint32_t k) { o->bits[k / 64] |= UINT64_C(1) << k % 64; }

/* ---- Several that are written ---------------------------------------------------------------- */

/* Do two operands lie in one storage? */
static bool some_share(const tni_invocation *v, uint32_t n) {
    uint16_t table[TABLE]; /* operands + 1, by storage */
    uint32_t mask = 15;
    while (mask + 1 < 2 * n) mask = 2 * mask + 1;
    memset(table, 0, (mask + 1) * sizeof *table);
    for (uint32_t k = 0; k < n; k++) {
        if (!v->operands[k]) continue;
        const tni_storage *s = v->operands[k]->storage;
        uint64_t at = (uint64_t)(uintptr_t)s * 0x9e3779b97f4a7c15u >> 40;
        for (; table[at & mask]; at++)
            if (v->operands[table[at & mask] - 1]->storage == s) return true;
        table[at & mask] = (uint16_t)(k + 1);
    }
    return false;
}

/* Bit k: operand k is written. */
static void find_written(const tni_invocation *v, uint32_t n, tni_overlap *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0, k = 0; i < v->op->n_args; i++) {
        const uint32_t end = k + tni_arg_tensors(v->op, v->args, i);
        for (; k < end && k < n; k++)
            if (v->op->schema.params[i].mutated) mark(out, k);
        k = end;
    }
}

static void find_many(const tni_invocation *v, uint32_t n, tni_overlap *o) {
    tni_overlap written;
    if (!some_share(v, n)) return;
    find_written(v, n, &written);
    for (uint32_t w = 0; w < n; w++) {
        if (!(written.bits[w / 64] >> w % 64 & 1)) continue;
        for (uint32_t k = 0; k < n; k++)
            if (k != w && overlap(v->operands[k], v->operands[w])) mark(o, k);
    }
}

/* ---- Asking ---------------------------------------------------------------------------------- */

void tni_overlap_find(const tni_invocation *v, tni_overlap *o) {
    const uint32_t n = considered(v);
    memset(o, 0, tni_overlap_words(v) * sizeof *o->bits);
    if (v->op->written < 0) {
        find_many(v, n, o);
        return;
    }
    const tn_tensor *target = v->operands[v->op->written];
    for (uint32_t k = 0; target && k < n; k++)
        if (k != (uint32_t)v->op->written && v->operands[k] &&
            v->operands[k]->storage == target->storage && overlap(v->operands[k], target))
            mark(o, k);
}

int32_t tni_overlap_with(const tni_invocation *v, uint32_t k) {
    tni_overlap written;
    const uint32_t n = considered(v);
    find_written(v, n, &written);
    for (uint32_t w = 0; w < n; w++)
        if (w != k && (written.bits[w / 64] >> w % 64 & 1) &&
            overlap(v->operands[k], v->operands[w]))
            return (int32_t)w;
    return -1;
}
