/* needs.c - what a provider needs of arguments to say yes, met by copies that can be taken back.
 *
 * Invariant: a provider that does not get the call leaves the operands as it found them, so that
 * the next one is asked about the call as it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/needs.h"

#include <stdio.h>
#include <string.h>

#include "core/base/geometry.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/dispatch/forms.h"

typedef struct need { /* of one argument */
    bool contiguous, channels_last, aligned;
} need;

static need need_of(const tn_verdict *v, uint32_t param) {
    const uint32_t bit = 1u << param;
    return (need){v->contiguous & bit, v->channels_last & bit, v->aligned & bit};
}

static bool is_met(const tni_resolution *r, uint32_t k, need n) {
    const tni_operand *o = &r->s->operands[k];
    const tni_geometry *g = &r->draft.operands[k];
    const tn_tensor *t = r->v->operands[k];
    int8_t order[TN_MAX_RANK];
    if (n.contiguous && !tni_form_contiguous(g)) return false;
    if (n.channels_last &&
        (r->s->op->form != TNI_STRIDED ||
         !tni_lies_in(tni_channels_last(g->rank, order), g->sizes, g->strides, g->rank)))
        return false;
    return !n.aligned || o->prepare == TNI_COPY ||
           (o->prepare == TNI_AS_IS && ((uintptr_t)tni_tensor_data(t) & 63) == 0);
}

/* All operands as they are, before the first one changes. False + NOMEM. */
static bool remember(const tni_resolution *r, tni_needs *n) {
    if (n->before) return true;
    n->before = tni_alloc(r->s->n_operands * sizeof *n->before);
    if (!n->before) return tni_resolve_refuse(r, TN_ERR_NOMEM, "no memory to plan copies");
    for (uint32_t k = 0; k < r->s->n_operands; k++)
        n->before[k] = (tni_operand_was){r->s->operands[k], r->draft.operands[k]};
    return true;
}

/* False: it cannot be copied, or, with an error, there is no memory. */
static bool meet(tni_resolution *r, uint32_t k, const tni_param *p, need want, tni_needs *n) {
    int8_t order[TN_MAX_RANK];
    const tn_tensor *t = r->v->operands[k];
    if (is_met(r, k, want)) return true;
    if (p->mutated || r->s->op->form != TNI_STRIDED || !remember(r, n)) return false;
    tni_form_lay(&r->draft, k, t, want.channels_last ? tni_channels_last(t->rank, order) : NULL);
    return is_met(r, k, want); /* nothing is contiguous and channels-last */
}

bool tni_needs_meet(tni_resolution *r, const tn_verdict *v, tni_needs *n) {
    uint32_t k = 0;
    n->before = NULL;
    for (uint32_t i = 0; i < r->s->op->n_args; i++) {
        const uint32_t end = k + tni_arg_tensors(r->s->op, r->v->args, i);
        for (; k < end; k++) {
            if (!r->v->operands[k]) continue;
            if (meet(r, k, &r->s->op->schema.params[i], need_of(v, i), n)) continue;
            tni_needs_undo(r, n);
            return false;
        }
    }
    return !n->before || tni_resolve_image(r);
}

bool tni_needs_undo(tni_resolution *r, tni_needs *n) {
    if (!n->before) return true;
    for (uint32_t k = 0; k < r->s->n_operands; k++) {
        r->s->operands[k] = n->before[k].operand;
        r->draft.operands[k] = n->before[k].geometry;
    }
    tni_free(n->before);
    n->before = NULL;
    return tni_resolve_image(r);
}

/* "x, w": the arguments that are copied because of it. */
static void copied_text(const tni_resolution *r, const tni_needs *n, char *out, size_t capacity) {
    size_t used = 0;
    out[0] = 0;
    for (uint32_t k = 0; k < r->s->n_operands && used < capacity; k++) {
        if (r->s->operands[k].prepare == n->before[k].operand.prepare) continue;
        const int m = snprintf(out + used, capacity - used, "%s%s", used ? ", " : "",
                               tni_operand_param(r->v, k)->name);
        used += m > 0 ? (size_t)m : 0;
    }
}

void tni_needs_keep(const tni_resolution *r, const tni_provider *p, tni_needs *n) {
    char shapes[600], names[200];
    if (n->before && tni_log_wanted(TN_LOG_INFO)) {
        tni_invocation_text(r->v, shapes, sizeof shapes);
        copied_text(r, n, names, sizeof names);
        tni_log(TN_LOG_INFO, "", "%s %s: %s copied for %s, which needs another layout",
                r->s->op->schema.name, shapes, names, p->label);
    }
    tni_free(n->before);
    n->before = NULL;
}
