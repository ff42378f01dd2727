/* forms.c - the geometry kernels see: broadcast as stride 0, coalesced, reduced dims gathered.
 *
 * Invariant: a form never changes what is computed, only how it is walked; whatever cannot be shown
 * in the form's shape is copied first, and the copy is part of the signature.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/forms.h"

#include <string.h>

#include "core/base/geometry.h"

/* ---- Geometry of operands and outputs as they are -------------------------------------------- */

static void row_major(tni_geometry *g) { tni_row_major(g->sizes, g->rank, g->strides); }

bool tni_form_contiguous(const tni_geometry *g) {
    return tni_contiguous(g->sizes, g->strides, g->rank);
}

static void geometry_of_meta(tni_geometry *g, const tn_meta *m) {
    g->rank = m->rank;
    memcpy(g->sizes, m->sizes, (size_t)m->rank * sizeof(int64_t));
    memcpy(g->strides, m->strides, (size_t)m->rank * sizeof(int64_t));
}

void tni_form_copy(tni_draft *draft, uint32_t k, const tn_tensor *t, const int8_t *permutation) {
    tni_operand *o = &draft->s.operands[k];
    tni_geometry *g = &draft->operands[k];
    o->prepare = TNI_COPY;
    g->rank = t->rank;
    for (int32_t d = 0; d < t->rank; d++) {
        o->permutation[d] = permutation ? permutation[d] : (int8_t)d;
        g->sizes[d] = t->sizes[o->permutation[d]];
    }
    row_major(g);
}

void tni_form_lay(tni_draft *draft, uint32_t k, const tn_tensor *t, const int8_t *order) {
    tni_form_copy(draft, k, t, order);
    memcpy(draft->operands[k].sizes, t->sizes, (size_t)t->rank * sizeof(int64_t));
    tni_strides_in(order, t->sizes, t->rank, draft->operands[k].strides);
}

/* ---- strided --------------------------------------------------------------------------------- */

static bool form_strided(tni_draft *draft, const tni_invocation *v) {
    (void)v;
    for (uint32_t i = 0; i < draft->s.n_outputs; i++)
        geometry_of_meta(&draft->outputs[i], &draft->s.outputs[i].meta);
    return true;
}

/* ---- pointwise ------------------------------------------------------------------------------- */

/* Shows g as broadcast to `sizes`, dims aligned at the end. */
static void broadcast_to(tni_geometry *g, const tni_geometry *to) {
    int64_t strides[TN_MAX_RANK];
    int32_t shift = to->rank - g->rank;
    for (int32_t d = 0; d < to->rank; d++)
        strides[d] = d < shift || g->sizes[d - shift] == 1 ? 0 : g->strides[d - shift];
    g->rank = to->rank;
    memcpy(g->sizes, to->sizes, sizeof g->sizes);
    memcpy(g->strides, strides, sizeof strides);
}

typedef struct walk { /* geometries that are walked together */
    tni_geometry *g[TNI_FLAT_OPERANDS + 1];
    int n;
} walk;

static bool dims_merge(const walk *w, int32_t outer, int32_t inner) {
    for (int i = 0; i < w->n; i++) {
        const tni_geometry *g = w->g[i];
        if (g->strides[outer] != g->strides[inner] * g->sizes[inner]) return false;
    }
    return true;
}

/* Drops dims of size 1 and merges neighbours that step alike in all; at least one dim is left. */
static void coalesce(const walk *w) {
    tni_geometry *lead = w->g[0];
    int32_t rank = lead->rank, kept = 0;
    for (int32_t d = 0; d < rank; d++) {
        if (lead->sizes[d] == 1) continue;
        bool merge = kept > 0;
        for (int i = 0; i < w->n; i++) { /* bring d next to the last kept dim, to compare */
            w->g[i]->sizes[kept] = w->g[i]->sizes[d];
            w->g[i]->strides[kept] = w->g[i]->strides[d];
        }
        merge = merge && dims_merge(w, kept - 1, kept);
        for (int i = 0; i < w->n && merge; i++) {
            w->g[i]->sizes[kept - 1] *= w->g[i]->sizes[kept];
            w->g[i]->strides[kept - 1] = w->g[i]->strides[kept];
        }
        kept += !merge;
    }
    for (int i = 0; i < w->n; i++) {
        if (kept == 0) w->g[i]->sizes[0] = 1, w->g[i]->strides[0] = 1;
        w->g[i]->rank = kept == 0 ? 1 : kept;
    }
}

/* Are all operands of the result's own sizes channels-last, and some are? Then so is the result. */
static bool is_channels_last(const tni_draft *draft, const tni_invocation *v) {
    const tni_signature *s = &draft->s;
    const tn_meta *m = &s->outputs[0].meta;
    int8_t order[TN_MAX_RANK];
    uint32_t n = 0;
    if (m->rank < 4 || s->outputs[0].target >= 0 || s->op->row.traits & TN_OP_RANDOM) return false;
    for (uint32_t k = 0; k < s->n_operands; k++) {
        const tni_geometry *g = &draft->operands[k];
        if (!v->operands[k] || g->rank != m->rank ||
            memcmp(g->sizes, m->sizes, (size_t)m->rank * sizeof *m->sizes) != 0)
            continue;
        if (tni_form_contiguous(g) ||
            !tni_lies_in(tni_channels_last(g->rank, order), g->sizes, g->strides, g->rank))
            return false;
        n++;
    }
    return n > 0;
}

/* Shows all as their dims lie in memory: elements of a pointwise op have no order. */
static void turn_channels_last(const walk *w) {
    int8_t order[TN_MAX_RANK];
    tni_channels_last(w->g[0]->rank, order);
    for (int i = 0; i < w->n; i++) {
        const tni_geometry from = *w->g[i];
        for (int32_t d = 0; d < from.rank; d++) {
            w->g[i]->sizes[d] = from.sizes[order[d]];
            w->g[i]->strides[d] = from.strides[order[d]];
        }
    }
}

static bool form_pointwise(tni_draft *draft, const tni_invocation *v) {
    walk w = {.n = 0};
    tni_signature *s = &draft->s;
    tni_output *out = &s->outputs[0];
    tni_geometry *lead = &draft->outputs[0];
    int8_t order[TN_MAX_RANK];
    out->ordered = is_channels_last(draft, v);
    if (out->ordered)
        tni_strides_in(tni_channels_last(out->meta.rank, order), out->meta.sizes, out->meta.rank,
                       out->meta.strides);
    geometry_of_meta(lead, &out->meta);
    if (s->n_operands > TNI_FLAT_OPERANDS) {
        tn_raise(TN_ERR_INVALID, "%s: too many tensors for a pointwise op", s->op->schema.name);
        return false;
    }
    w.g[w.n++] = lead;
    const tni_geometry to = *lead;
    for (uint32_t k = 0; k < s->n_operands; k++) {
        if (!v->operands[k]) continue;
        broadcast_to(&draft->operands[k], &to);
        w.g[w.n++] = &draft->operands[k];
    }
    if (out->ordered) turn_channels_last(&w);
    coalesce(&w);
    bool flat = lead->rank == 1 && lead->strides[0] == 1;
    for (int i = 1; i < w.n; i++)
        flat = flat && (w.g[i]->strides[0] == 1 || w.g[i]->strides[0] == 0);
    if (flat) s->call_flags |= TN_CALL_FLAT;
    return true;
}

/* ---- reduce and along: [outer, n, inner] ----------------------------------------------------- */

static uint32_t dims_of(const tni_signature *s, int32_t rank) {
    const tn_value *dim = &s->args[tni_schema_param(&s->op->schema, "dim")];
    uint32_t mask = 0;
    if (dim->tag == TN_TAG_INT) return rank == 0 ? 0 : 1u << dim->i;
    if (dim->tag != TN_TAG_INTS || dim->aux == 0) return (1u << rank) - 1;
    for (uint32_t j = 0; j < dim->aux && rank > 0; j++) mask |= 1u << dim->ints[j];
    return mask;
}

/* True if the dims in mask are neighbours, dims of size 1 aside. */
static bool neighbours(const tn_tensor *x, uint32_t mask) {
    int changes = 0;
    bool last = false;
    for (int32_t d = 0; d < x->rank; d++) {
        if (x->sizes[d] == 1) continue;
        bool in = mask >> d & 1;
        changes += in != last;
        last = in;
    }
    return changes <= 2;
}

static void three_dims(tni_geometry *g, int64_t outer, int64_t n, int64_t inner) {
    g->rank = 3;
    g->sizes[0] = outer, g->sizes[1] = n, g->sizes[2] = inner;
    row_major(g);
}

typedef struct blocks {
    int64_t outer, n, inner;
} blocks;

/* Sizes before, in and behind the masked dims, once they are gathered (behind is 1 unless they were
 * neighbours). */
static blocks blocks_of(const tn_tensor *x, uint32_t mask, bool gathered) {
    blocks b = {1, 1, 1};
    bool past = false;
    for (int32_t d = 0; d < x->rank; d++) {
        if (mask >> d & 1)
            b.n *= x->sizes[d], past = past || x->sizes[d] != 1;
        else if (past && !gathered)
            b.inner *= x->sizes[d];
        else
            b.outer *= x->sizes[d];
    }
    return b;
}

static bool form_blocks(tni_draft *draft, const tni_invocation *v, bool reduce) {
    const tni_signature *s = &draft->s;
    const tn_tensor *x = v->operands[0];
    uint32_t mask = dims_of(s, x->rank);
    bool gather = !neighbours(x, mask);
    blocks b = blocks_of(x, mask, gather);
    int8_t order[TN_MAX_RANK];
    int32_t n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t d = 0; d < x->rank; d++)
            if ((mask >> d & 1) == (uint32_t)pass) order[n++] = (int8_t)d;
    for (uint32_t k = 0; k < s->n_operands; k++) {
        const tn_tensor *t = v->operands[k];
        if (!t) continue;
        tni_geometry *g = &draft->operands[k];
        if (s->operands[k].prepare != TNI_COPY && (gather || !tni_form_contiguous(g)))
            tni_form_copy(draft, k, t, gather ? order : NULL);
        else if (gather)
            tni_form_copy(draft, k, t, order);
        three_dims(g, b.outer, b.n, b.inner);
    }
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        tni_geometry *g = &draft->outputs[i];
        three_dims(g, b.outer, b.n, b.inner);
        if (!reduce) continue;
        g->rank = 2;
        g->sizes[1] = b.inner;
        row_major(g);
    }
    return true;
}

/* ---- What every form promises its kernels ---------------------------------------------------- */

static bool same_sizes(const tn_tensor *x, const tn_tensor *t) {
    return x->rank == t->rank && memcmp(x->sizes, t->sizes, (size_t)x->rank * sizeof(int64_t)) == 0;
}

static bool widens_to(const tn_tensor *t, const tn_meta *to) {
    int32_t shift = to->rank - t->rank;
    bool fits = shift >= 0;
    for (int32_t d = 0; fits && d < t->rank; d++)
        fits = t->sizes[d] == to->sizes[d + shift] || t->sizes[d] == 1;
    return fits;
}

static bool operand_fits(const tni_signature *s, const tn_tensor *first, const tn_tensor *t) {
    if (!t || s->op->form == TNI_STRIDED) return true;
    if (s->op->form != TNI_POINTWISE) return first && same_sizes(first, t);
    return s->n_outputs > 0 && widens_to(t, &s->outputs[0].meta);
}

/* How many elements the form makes of result i; -1: any number. */
static int64_t output_elements(const tni_signature *s, const tni_invocation *v, uint32_t i) {
    const tn_tensor *x = v->n_operands > 0 ? v->operands[0] : NULL;
    if (s->op->form == TNI_STRIDED) return -1;
    if (s->op->form == TNI_POINTWISE)
        return i == 0 ? -1 : tni_numel(s->outputs[0].meta.sizes, s->outputs[0].meta.rank, 1);
    if (!x) return 0;
    blocks b = blocks_of(x, dims_of(s, x->rank), false);
    return b.outer * b.inner * (s->op->form == TNI_REDUCE ? 1 : b.n);
}

static bool misfit(const tni_invocation *v, tn_status code, const char *text) {
    char shapes[600];
    tni_invocation_text(v, shapes, sizeof shapes);
    tn_raise(code, "%s: %s\n  called with %s", v->op->schema.name, text, shapes);
    return false;
}

bool tni_form_check(const tni_signature *s, const tni_invocation *v) {
    const tn_tensor *first = v->n_operands > 0 ? v->operands[0] : NULL;
    for (uint32_t k = 0; k < s->n_operands; k++) {
        if (operand_fits(s, first, v->operands[k])) continue;
        return misfit(v, TN_ERR_SHAPE,
                      s->op->form == TNI_POINTWISE
                          ? "a tensor cannot be broadcast to the result's shape"
                          : "all tensors must have the same shape");
    }
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        const int64_t want = output_elements(s, v, i);
        if (want < 0 || s->outputs[i].absent || s->outputs[i].numel == want) continue;
        return misfit(v, TN_ERR_INTERNAL,
                      "a result does not have the size its form asks for; its shape rule is wrong");
    }
    return true;
}

bool tni_form_apply(tni_draft *draft, const tni_invocation *v) {
    switch (draft->s.op->form) {
    case TNI_POINTWISE:
        return form_pointwise(draft, v);
    case TNI_REDUCE:
        return form_blocks(draft, v, true);
    case TNI_ALONG:
        return form_blocks(draft, v, false);
    case TNI_STRIDED:
        break;
    }
    return form_strided(draft, v);
}
