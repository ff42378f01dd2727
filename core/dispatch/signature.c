/* signature.c - see signature.h. One block: dims and everything else take as much as they need.
 *
 *     signature | key | args | views | dims | lists and strings of args | outputs | operands
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/signature.h"

#include "core/base/heap.h"
#include "core/dispatch/image.h"

static uint64_t words_of(const tn_value *a) {
    return (a->aux * tni_entry_bytes(a) + (a->tag == TN_TAG_STR) + 7) / 8;
}

/* Words of all sizes and strides, and of what arguments lead to. */
static uint64_t count_words(const tni_draft *d) {
    uint64_t n = 0;
    for (uint32_t k = 0; k < d->s.n_operands; k++) n += 2 * (uint64_t)d->operands[k].rank;
    for (uint32_t i = 0; i < d->s.n_outputs; i++) n += 2 * (uint64_t)d->outputs[i].rank;
    for (uint32_t i = 0; i < d->s.op->schema.n_params; i++) n += words_of(&d->s.args[i]);
    return n;
}

static int64_t *put(int64_t *at, const int64_t **words, int32_t n) {
    memcpy(at, *words, (size_t)n * sizeof *at);
    *words = at;
    return at + n;
}

/* Sizes and strides of views, copied to `at`; returns where they end. */
static int64_t *own_dims(tni_signature *s, int64_t *at) {
    for (uint32_t i = 0; i < s->n_operands + s->n_outputs; i++) {
        tn_view *v = &s->views[i];
        if (!v->sizes) continue; /* an absent tensor */
        at = put(at, &v->sizes, v->rank);
        at = put(at, &v->strides, v->rank);
    }
    return at;
}

/* Lists and strings, likewise. */
static int64_t *own_args(tni_signature *s, int64_t *at) {
    for (uint32_t i = 0; i < s->op->schema.n_params; i++) {
        tn_value *a = &s->args[i];
        const uint64_t bytes = a->aux * tni_entry_bytes(a);
        if (!tni_entry_bytes(a)) continue;
        if (bytes > 0) memcpy(at, a->ints, bytes);
        a->ints = at; /* the members of the union are all pointers to the same bytes */
        at += words_of(a);
    }
    return at;
}

/* Copies n items of `size` bytes, which a multiple of 8 come to, and moves `at` behind them. */
static void *own(char **at, const void *from, uint64_t n, uint64_t size) {
    void *to = *at;
    if (from && n > 0) memcpy(to, from, n * size);
    *at += n * size;
    return to;
}

tni_signature *tni_signature_new(const tni_draft *d, const tni_invocation *v, const uint64_t *key,
                                 uint64_t n_key) {
    const uint64_t n_args = d->s.op->schema.n_params, n_operands = d->s.n_operands;
    const uint64_t n_outputs = d->s.n_outputs, n_views = n_operands + n_outputs;
    const uint64_t bytes = sizeof d->s + n_args * sizeof(tn_value) + n_views * sizeof(tn_view) +
                           n_outputs * sizeof(tni_output) + count_words(d) * sizeof(int64_t) +
                           n_key * sizeof *key + n_operands * sizeof(tni_operand);
    tni_signature *s = tni_alloc(bytes);
    if (!s) return NULL;
    char *at = (char *)(s + 1);
    *s = d->s;
    atomic_init(&s->refs, 1);
    s->key = own(&at, key, n_key, sizeof *key);
    s->n_key = n_key;
    s->args = own(&at, d->s.args, n_args, sizeof *s->args);
    s->views = own(&at, NULL, n_views, sizeof *s->views);
    tni_image_views(s->views, d, v);
    at = (char *)own_args(s, own_dims(s, (int64_t *)(void *)at));
    s->outputs = own(&at, d->s.outputs, n_outputs, sizeof *s->outputs);
    s->operands = own(&at, d->s.operands, n_operands, sizeof *s->operands);
    s->bytes = bytes + s->plan.plan_bytes;
    return s;
}

void tni_plan_drop(const tni_provider *p, const tn_plan *plan) {
    if (plan->data && p && p->row.drop) p->row.drop(plan->data);
}

void tni_signature_retain(tni_signature *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void tni_signature_release(tni_signature *s) {
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    tni_plan_drop(s->provider, &s->plan);
    tni_free(s);
}
