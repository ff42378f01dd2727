/* shape_rules.c - the shape rules any row may name: same, broadcast, reduce.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/shape_rules.h"

#include <stdio.h>
#include <string.h>

#include "core/tensor/format.h"

/* Tensors of an argument: one, or those of a list, where absent ones are NULL. */
static uint32_t view_count(const tn_value *a) {
    return a->tag == TN_TAG_VIEW ? 1 : a->tag == TN_TAG_VIEWS ? a->aux : 0;
}

static const tn_view *view_at(const tn_value *a, uint32_t i) {
    return a->tag == TN_TAG_VIEW ? a->view : a->views[i];
}

static const tn_view *first_view(const tn_infer *in) {
    for (uint32_t i = 0; i < in->n_args; i++)
        for (uint32_t j = 0; j < view_count(&in->args[i]); j++)
            if (view_at(&in->args[i], j)) return view_at(&in->args[i], j);
    return NULL;
}

/* Every result is shaped like the first tensor. */
static tn_status rule_same(tn_infer *in) {
    const tn_view *x = first_view(in);
    if (!x) return tn_fail(in, TN_ERR_INVALID, "there is no tensor to be shaped like");
    for (uint32_t i = 0; i < in->n_outs; i++) {
        in->outs[i].rank = x->rank;
        for (int32_t d = 0; d < x->rank; d++) in->outs[i].sizes[d] = x->sizes[d];
    }
    return TN_OK;
}

/* Widens out by v, dims aligned at the end. False if they do not fit. */
static bool widen(tn_meta *out, const tn_view *v) {
    if (v->rank > out->rank) {
        int32_t shift = v->rank - out->rank;
        for (int32_t d = out->rank - 1; d >= 0; d--) out->sizes[d + shift] = out->sizes[d];
        for (int32_t d = 0; d < shift; d++) out->sizes[d] = 1;
        out->rank = v->rank;
    }
    int32_t shift = out->rank - v->rank;
    for (int32_t d = 0; d < v->rank; d++) {
        int64_t a = out->sizes[d + shift], b = v->sizes[d];
        if (a != b && a != 1 && b != 1) return false;
        out->sizes[d + shift] = a == 1 ? b : a;
    }
    return true;
}

static uint64_t view_text(const tn_view *v, char *out, uint64_t capacity) {
    tn_meta m = {.dtype = v->dtype, .rank = v->rank};
    memcpy(m.sizes, v->sizes, (size_t)v->rank * sizeof(int64_t));
    return tni_shape_text(&m, out, capacity);
}

static tn_status not_broadcast(tn_infer *in, const tn_view *v) {
    char a[200], b[200], text[480];
    view_text(first_view(in), a, sizeof a);
    view_text(v, b, sizeof b);
    snprintf(text, sizeof text,
             "%s and %s do not broadcast: dims, aligned at the end, must be equal or 1", a, b);
    return tn_fail(in, TN_ERR_SHAPE, text);
}

/* Every result has the shape that all tensors broadcast to. */
static tn_status rule_broadcast(tn_infer *in) {
    tn_meta *out = &in->outs[0];
    out->rank = 0;
    for (uint32_t i = 0; i < in->n_args; i++) {
        for (uint32_t j = 0; j < view_count(&in->args[i]); j++) {
            const tn_view *v = view_at(&in->args[i], j);
            if (v && !widen(out, v)) return not_broadcast(in, v);
        }
    }
    for (uint32_t i = 1; i < in->n_outs; i++) {
        in->outs[i].rank = out->rank;
        memcpy(in->outs[i].sizes, out->sizes, sizeof out->sizes);
    }
    return TN_OK;
}

/* Which dims of a reduction go: bit mask. dim is an int, an int[] (empty: all), or absent (all). */
static uint32_t reduced_dims(const tn_infer *in, int32_t rank) {
    for (uint32_t i = 1; i < in->n_args; i++) {
        const tn_value *a = &in->args[i];
        if (a->tag == TN_TAG_INT) return 1u << a->i;
        if (a->tag != TN_TAG_INTS || a->aux == 0) continue;
        uint32_t mask = 0;
        for (uint32_t j = 0; j < a->aux; j++) mask |= 1u << a->ints[j];
        return mask;
    }
    return (1u << rank) - 1;
}

static bool keeps_dims(const tn_infer *in) {
    for (uint32_t i = 0; i < in->n_args; i++)
        if (in->args[i].tag == TN_TAG_BOOL)
            return in->args[i].i != 0; /* keepdim is the only bool of a reduction */
    return false;
}

static tn_status rule_reduce(tn_infer *in) {
    const tn_view *x = first_view(in);
    if (!x) return tn_fail(in, TN_ERR_INVALID, "there is no tensor to reduce");
    uint32_t mask = reduced_dims(in, x->rank);
    bool keep = keeps_dims(in);
    for (uint32_t i = 0; i < in->n_outs; i++) {
        tn_meta *out = &in->outs[i];
        out->rank = 0;
        for (int32_t d = 0; d < x->rank; d++) {
            bool gone = mask >> d & 1;
            if (!gone || keep) out->sizes[out->rank++] = gone ? 1 : x->sizes[d];
        }
    }
    return TN_OK;
}

tn_shape_fn tni_shape_rule(const char *name) {
    static const struct {
        const char *name;
        tn_shape_fn rule;
    } rules[] = {{"same", rule_same}, {"broadcast", rule_broadcast}, {"reduce", rule_reduce}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(name, rules[i].name) == 0) return rules[i].rule;
    return NULL;
}
