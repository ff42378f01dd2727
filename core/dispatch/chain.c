/* chain.c - who runs a call: the providers of an op, asked best first.
 *
 * A provider takes it if its row covers dtype and arguments, it supports the call, perhaps with
 * copies of arguments that lie otherwise, and its plan works. Everyone who declines says why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/chain.h"

#include <stdio.h>
#include <string.h>

#include "core/base/geometry.h"
#include "core/base/log.h"
#include "core/dispatch/needs.h"
#include "core/dispatch/pin.h"
#include "core/memory/device.h"

static void declined(tni_resolution *r, const tni_provider *p, int32_t reason, int32_t detail) {
    if (r->n_refusals == TNI_CHAIN_ROOM) return;
    r->refusals[r->n_refusals++] = (tni_refusal){p, reason, detail};
}

static void refusal_text(const tni_refusal *f, char *out, size_t capacity) {
    static const char *const texts[] = {
#define TEXT(number, NAME, text) text,
        TN_REASON_LIST(TEXT)
#undef TEXT
    };
    static const char *const odd[] = {
        [-TNI_ODD_ANSWER] = "answered %d, which is neither no nor yes",
        [-TNI_ODD_REASON] = "said no for reason %d, which this version does not know",
        [-TNI_ODD_PLAN] = "planning set flag bit %d, which must be understood and is not known",
        [-TNI_ODD_NEED] = "needs what bit %d says, which this version does not know",
        [-TNI_ODD_ORDER] = "planning gave result %d an order of dims that it cannot have",
    };
    if (f->reason < 0)
        snprintf(out, capacity, odd[-f->reason], f->detail);
    else
        snprintf(out, capacity, "%s", texts[f->reason]);
}

/* "cpu_blas: dtype; cpu_ref: layout" */
static void reasons_text(const tni_resolution *r, char *out, size_t capacity) {
    size_t n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < r->n_refusals && n < capacity; i++) {
        char text[120];
        refusal_text(&r->refusals[i], text, sizeof text);
        const int m = snprintf(out + n, capacity - n, "%s%s: %s", n ? "; " : "",
                               r->refusals[i].provider->label, text);
        n += m > 0 ? (size_t)m : 0;
    }
}

/* Running on the reference while a faster provider has the op is worth a line, once per
 * signature. */
static void report_fallback(const tni_resolution *r, const tni_provider *chosen) {
    if (chosen->row.priority >= 0 || r->n_refusals == 0 || !tni_log_wanted(TN_LOG_INFO)) return;
    char shapes[600], reasons[512];
    tni_invocation_text(r->v, shapes, sizeof shapes);
    reasons_text(r, reasons, sizeof reasons);
    tni_log(TN_LOG_INFO, "", "%s %s runs on %s (%s)", r->s->op->schema.name, shapes, chosen->label,
            reasons);
}

/* An argument the kernel does not know must have its default. */
static bool arguments_known(const tni_invocation *v, const tni_provider *p) {
    for (uint32_t i = p->row.n_args; i < v->op->n_args; i++)
        if (!tni_arg_is_default(v, i)) return false;
    return true;
}

static tn_dtype mask_dtype(const tni_resolution *r) { /* what a kernel's dtype mask speaks of */
    const tni_schema *schema = &r->s->op->schema;
    tn_dtype d = tni_promotion_of(&r->types, schema->variable);
    return d.lanes || !r->ruled || schema->n_results == 0 || schema->variable == 0
               ? d
               : r->metas[0].dtype;
}

static bool eligible(tni_resolution *r, const tni_provider *p) {
    tn_dtype d = mask_dtype(r);
    int32_t reason = -1;
    if (p->misfit)
        reason = TN_REASON_SCHEMA;
    else if (d.lanes && !(p->row.dtypes >> tn_dtype_index(d) & 1))
        reason = TN_REASON_DTYPE;
    else if (p->row.flags & TN_KERNEL_NONDETERMINISTIC && r->s->call_flags & TN_CALL_DETERMINISTIC)
        reason = TN_REASON_NONDETERMINISTIC;
    else if (!arguments_known(r->v, p))
        reason = TN_REASON_ARGUMENTS;
    if (reason >= 0) declined(r, p, reason, 0);
    return reason < 0;
}

static bool said_no(tni_resolution *r, const tni_provider *p, const tn_verdict *v) {
    if (v->answer != TN_NO)
        declined(r, p, TNI_ODD_ANSWER, v->answer);
    else if (v->reason < 0 || v->reason >= TN_REASON_COUNT)
        declined(r, p, TNI_ODD_REASON, v->reason);
    else
        declined(r, p, v->reason, 0);
    return false;
}

enum { NEEDS_KNOWN = TN_NEEDS_CONTIGUOUS | TN_NEEDS_CHANNELS_LAST | TN_NEEDS_ALIGNED };

/* Yes; or yes if, with copies of arguments that are not as needed. */
static bool supports(tni_resolution *r, const tni_provider *p, tni_needs *n) {
    n->before = NULL;
    if (!p->row.supports) return true;
    tn_verdict verdict = {.size = sizeof verdict, .answer = TN_NO, .bits_known = NEEDS_KNOWN};
    p->row.supports(&r->image.call, &verdict);
    if (verdict.answer == TN_YES) return true;
    if (verdict.answer != TN_YES_IF) return said_no(r, p, &verdict);
    const uint32_t strange = verdict.needs & ~(uint32_t)NEEDS_KNOWN;
    if (strange) return declined(r, p, TNI_ODD_NEED, 31 - __builtin_clz(strange)), false;
    return tni_needs_meet(r, &verdict, n) || (declined(r, p, TN_REASON_LAYOUT, 0), false);
}

static bool is_permutation(const int8_t *order, int32_t rank) {
    uint32_t seen = 0;
    for (int32_t i = 0; i < rank; i++) {
        if (order[i] < 0 || order[i] >= rank) return false;
        seen |= 1u << order[i];
    }
    return seen == (1u << rank) - 1;
}

/* Lays new results out as the plan says. False: they cannot be. */
static bool lay_results(tni_resolution *r, const tni_provider *p) {
    tni_signature *s = r->s;
    for (uint32_t i = 0; i < TN_PLAN_RESULTS; i++) {
        const int8_t *order = s->plan.order[i];
        s->plan.order[i] = NULL; /* only now the plan's memory is sure to be there */
        if (!order) continue;
        const bool one = i < s->op->schema.n_results && (int32_t)i != s->op->list_at;
        tni_output *out = one ? &s->outputs[tni_result_output(s, i)] : NULL;
        if (!out || out->target >= 0 || out->absent || s->op->form != TNI_STRIDED ||
            !is_permutation(order, out->meta.rank))
            return declined(r, p, TNI_ODD_ORDER, (int32_t)i), false;
        tni_strides_in(order, out->meta.sizes, out->meta.rank, out->meta.strides);
        memcpy(r->draft.outputs[out - s->outputs].strides, out->meta.strides,
               sizeof out->meta.strides);
        out->ordered = !tni_contiguous(out->meta.sizes, out->meta.strides, out->meta.rank);
    }
    return true;
}

/* As if no plan had been made. */
static void plan_drop(tni_resolution *r, const tni_provider *p) {
    tni_signature *s = r->s;
    tni_plan_drop(p, &s->plan);
    s->plan = (tn_plan){.size = sizeof(tn_plan)};
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        tni_output *out = &s->outputs[i];
        if (!out->ordered || s->op->form != TNI_STRIDED) continue;
        tni_row_major(out->meta.sizes, out->meta.rank, out->meta.strides);
        memcpy(r->draft.outputs[i].strides, out->meta.strides, sizeof out->meta.strides);
        out->ordered = false;
    }
    atomic_store(&r->image.failed, TN_OK);
}

/* Whether the plan may be used as it is. */
static bool plan_known(tni_resolution *r, const tni_provider *p) {
    const uint32_t strange = r->s->plan.flags & TN_MUST_UNDERSTAND;
    if (strange) declined(r, p, TNI_ODD_PLAN, 31 - __builtin_clz(strange));
    return !strange;
}

static bool plan(tni_resolution *r, const tni_provider *p) {
    r->s->plan = (tn_plan){.size = sizeof(tn_plan)};
    if (!p->row.plan) return true;
    const tn_status status = p->row.plan(&r->image.call, &r->s->plan);
    const bool made = status == TN_OK && atomic_load(&r->image.failed) == TN_OK;
    if (made && plan_known(r, p) && lay_results(r, p)) return true;
    if (!made) declined(r, p, TN_REASON_PLAN, 0);
    plan_drop(r, p);
    return false;
}

/* Does this provider take the call? If not, nothing of it is left. */
static bool takes(tni_resolution *r, const tni_provider *p) {
    tni_needs needs;
    r->image.call.user = p->row.user;
    if (!eligible(r, p) || !supports(r, p, &needs)) return false;
    r->image.call.user = p->row.user; /* copies have made another image */
    if (!plan(r, p)) return tni_needs_undo(r, &needs), false;
    tni_needs_keep(r, p, &needs);
    return true;
}

bool tni_chain_ask(tni_resolution *r) {
    const tni_provider *chain[TNI_CHAIN_ROOM];
    uint64_t n = tni_registry_providers(r->s->op, r->v->place->device.kind, chain, TNI_CHAIN_ROOM);
    /* Who pins a provider means its kernels, inside the decomposition too, not a rival's. */
    const int32_t pin = tni_state_get()->pin;
    const bool can_compose =
        r->s->op->row.decompose && (r->s->op->inplace || !r->s->op->schema.mutates);
    if (pin >= 0 && can_compose && (n == 0 || !tni_pinned(chain[0], pin))) return false;
    for (uint64_t i = 0; i < n && tn_error() == TN_OK; i++) {
        if (!takes(r, chain[i])) continue;
        r->s->kind = TNI_SIG_KERNEL;
        r->s->provider = chain[i];
        report_fallback(r, chain[i]);
        return true;
    }
    return false;
}

bool tni_chain_unsupported(const tni_resolution *r) {
    char text[800], reasons[512];
    tn_dtype d = mask_dtype(r);
    reasons_text(r, reasons, sizeof reasons);
    snprintf(text, sizeof text, "no kernel on %s%s%s, and the op has no decomposition; asked: %s",
             tni_device_kind_name(r->v->place->device.kind), d.lanes ? " for " : "",
             d.lanes ? tn_dtype_name(d) : "", reasons[0] ? reasons : "nobody registered one");
    return tni_resolve_refuse(r, TN_ERR_UNSUPPORTED, text);
}
