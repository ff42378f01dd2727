/* resolve.c - from a call never seen before to everything its signature needs.
 *
 * Order: promotion, contract, shape rule, in-place target, provider chain, plan. No kernel code
 * runs before contract and shape rule have passed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/resolve.h"

#include <stdio.h>
#include <string.h>

#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/base/heap.h"
#include "core/dispatch/chain.h"
#include "core/dispatch/forms.h"
#include "core/dispatch/held.h"
#include "core/dispatch/overlap.h"
#include "core/dispatch/results.h"
#include "core/schema/contract.h"

bool tni_resolve_refuse(const tni_resolution *r, tn_status code, const char *text) {
    char shapes[600];
    tni_invocation_text(r->v, shapes, sizeof shapes);
    tn_raise(code, "%s: %s\n  called with %s", r->v->op->schema.name, text, shapes);
    return false;
}

static bool no_memory(const tni_resolution *r) {
    return tni_resolve_refuse(r, TN_ERR_NOMEM, "no memory for its signature");
}

/* ---- Operands -------------------------------------------------------------------------------- */

/* The dtype a kernel sees of operand t. A number, or a 0-dim tensor that gave way, keeps its
 * precision beside 16-bit floats: rounded to those, a loss scale of 65536 would be infinite. */
static tn_dtype seen_dtype(const tni_resolution *r, const tn_tensor *t, const tni_param *p) {
    const tni_op *op = r->s->op;
    if (!p->variable) return p->fixed ? p->dtype : t->dtype;
    const tn_dtype computed = tni_promotion_of(&r->types, p->variable);
    const bool gives_way = t->rank == 0 && !tn_dtype_is(t->dtype, computed);
    const bool rounds = op->form == TNI_POINTWISE && !op->schema.results[0].fixed;
    return gives_way && rounds && tni_dtype_is_half(computed) ? TN_F32 : computed;
}

static void operand_fill(tni_resolution *r, uint32_t k, const tni_param *p) {
    const tn_tensor *t = r->v->operands[k];
    tni_operand *o = &r->s->operands[k];
    tni_geometry *g = &r->draft.operands[k];
    o->dtype = seen_dtype(r, t, p);
    g->rank = t->rank;
    memcpy(g->sizes, t->sizes, (size_t)t->rank * sizeof(int64_t));
    memcpy(g->strides, t->strides, (size_t)t->rank * sizeof(int64_t));
    const bool along = !tni_same_device(t->storage->place, r->v->place);
    if (along && r->s->op->form != TNI_POINTWISE) {
        tni_form_copy(&r->draft, k, t, NULL); /* only pointwise kernels take numbers from the cpu */
        return;
    }
    if (tn_dtype_is(o->dtype, t->dtype)) return;
    if (along || t->flags & TNI_WRAPPED)
        o->prepare = TNI_CAST_NUMBER;
    else
        tni_form_copy(&r->draft, k, t, NULL);
}

static bool overlaps_itself(const tn_tensor *t) {
    tn_meta m;
    if (t->flags & TNI_CONTIGUOUS) return false;
    tni_tensor_meta(t, &m);
    return tni_overlaps(m.sizes, m.strides, m.rank);
}

static bool operand_check(const tni_resolution *r, uint32_t k, const tni_param *p) {
    const tn_tensor *t = r->v->operands[k];
    char text[160];
    const bool widens = p->index && tn_dtype_is(t->dtype, TN_I32);
    if (p->fixed && !widens && !tn_dtype_is(p->dtype, t->dtype)) {
        snprintf(text, sizeof text, "argument '%s' must be %s%s, not %s", p->name,
                 tn_dtype_name(p->dtype), p->index ? " or i32" : "", tn_dtype_name(t->dtype));
        return tni_resolve_refuse(r, TN_ERR_DTYPE, text);
    }
    if (p->mutated && overlaps_itself(t)) {
        snprintf(text, sizeof text,
                 "argument '%s' is written, but several of its elements share memory (it is "
                 "expanded or overlaps itself); clone it first",
                 p->name);
        return tni_resolve_refuse(r, TN_ERR_INVALID, text);
    }
    const tn_dtype wanted = p->variable ? tni_promotion_of(&r->types, p->variable) : t->dtype;
    if (p->mutated && !tn_dtype_is(wanted, t->dtype))
        return tni_resolve_refuse(r, TN_ERR_DTYPE,
                                  "all tensors that are written must have one dtype");
    if (p->mutated && t->flags & TNI_WRAPPED) {
        snprintf(text, sizeof text, "argument '%s' is written, but it is a mere number", p->name);
        return tni_resolve_refuse(r, TN_ERR_INVALID, text);
    }
    return true;
}

static bool operands_fill(tni_resolution *r) {
    tni_signature *s = r->s;
    const tni_invocation *v = r->v;
    uint32_t k = 0;
    s->call_flags |= TN_CALL_ALIGNED;
    for (uint32_t i = 0; i < s->op->schema.n_params; i++) {
        uint32_t n = tni_arg_tensors(s->op, v->args, i);
        for (uint32_t j = 0; j < n; j++, k++) {
            if (!v->operands[k]) continue;
            if (!operand_check(r, k, &s->op->schema.params[i])) return false;
            operand_fill(r, k, &s->op->schema.params[i]);
            if ((uintptr_t)tni_tensor_data(v->operands[k]) & 63)
                s->call_flags &= ~(uint32_t)TN_CALL_ALIGNED;
        }
    }
    return true;
}

static bool refuse_overlap(const tni_resolution *r, uint32_t k) {
    char text[200];
    const int32_t other = tni_overlap_with(r->v, k);
    const tni_param *p = tni_operand_param(r->v, k);
    const tni_param *q = other < 0 ? p : tni_operand_param(r->v, (uint32_t)other);
    snprintf(text, sizeof text,
             p == q ? "several tensors of '%s' are written and share memory; clone them"
                    : "'%s' and '%s' are both written and share memory; clone one of them",
             p->name, q->name);
    return tni_resolve_refuse(r, TN_ERR_INVALID, text);
}

/* Inputs that overlap what is written without being it are copied first: as if they were apart. */
static bool operands_separate(tni_resolution *r) {
    tni_overlap o;
    if (!r->s->op->schema.mutates) return true;
    tni_overlap_find(r->v, &o);
    for (uint32_t k = 0; k < r->s->n_operands && k / 64 < tni_overlap_words(r->v); k++) {
        if (!(o.bits[k / 64] >> k % 64 & 1)) continue;
        if (tni_operand_param(r->v, k)->mutated && tni_overlap_with(r->v, k) >= 0)
            return refuse_overlap(r, k);
        if (r->s->operands[k].prepare == TNI_AS_IS)
            tni_form_copy(&r->draft, k, r->v->operands[k], NULL);
    }
    return true;
}

/* ---- Arguments the contract normalises ------------------------------------------------------- */

static void args_plain(tni_resolution *r) {
    const tni_schema *schema = &r->s->op->schema;
    for (uint32_t i = 0; i < schema->n_params; i++) {
        bool keep = schema->params[i].type > TNI_TENSORS && !schema->params[i].runtime;
        r->s->args[i] = keep ? r->v->args[i] : tn_value_none();
    }
}

static bool contract_check(tni_resolution *r) {
    tni_signature *s = r->s;
    if (!s->op->contract) return true;
    tn_value args[TNI_MAX_ARGS];
    char why[400] = "";
    for (uint32_t i = 0; i < s->op->schema.n_params; i++) args[i] = r->image.args[i];
    tn_status status = tni_contract_check(s->op->contract, &s->op->schema, args,
                                          s->op->schema.n_params, r->ints, why, sizeof why);
    if (status != TN_OK) return tni_resolve_refuse(r, status, why);
    for (uint32_t i = 0; i < s->op->schema.n_params; i++)
        if (s->op->schema.params[i].type > TNI_TENSORS) s->args[i] = r->image.args[i] = args[i];
    return tni_held_check(s, r->v, s->op->held_args & ~s->op->runtime_args);
}

bool tni_resolve_image(tni_resolution *r) {
    tni_image_free(&r->image);
    return tni_image_make(&r->image, &r->draft, r->v);
}

/* ---- All of it ------------------------------------------------------------------------------- */

static void rng_need(tni_signature *s) {
    if (!(s->op->row.traits & TN_OP_RANDOM) || s->n_outputs == 0) return;
    const tni_output *out = &s->outputs[0];
    const uint64_t words = (uint64_t)out->numel * (out->meta.dtype.bits == 64 ? 2 : 1);
    s->rng_counters = words / 4 + (words % 4 != 0);
}

static int32_t viewed_operand(const tni_signature *s, const tni_invocation *v) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < s->op->schema.n_params; i++) {
        if (s->op->schema.params[i].alias == s->op->schema.results[0].alias) return (int32_t)k;
        k += tni_arg_tensors(s->op, v->args, i);
    }
    return -1;
}

/* Nothing is to be done for such a call beside running its kernel. */
static bool is_plain(const tni_signature *s) {
    const tni_op *op = s->op;
    return s->kind == TNI_SIG_KERNEL && !s->prepares && op->list_at < 0 && s->n_outputs == 1 &&
           s->outputs[0].visible && s->outputs[0].target < 0 && !s->outputs[0].ordered &&
           !s->outputs[0].absent && !op->schema.mutates && op->runtime_args == 0 &&
           !(op->row.traits & TN_OP_RANDOM) && s->plan.workspace_bytes == 0;
}

static bool resolve_kind(tni_resolution *r) {
    tni_signature *s = r->s;
    if (s->op->row.traits & TN_OP_VIEW) {
        s->kind = TNI_SIG_VIEW;
        s->viewed = viewed_operand(s, r->v);
        return s->viewed >= 0 || tni_resolve_refuse(r, TN_ERR_INTERNAL, "a view of nothing");
    }
    if (s->n_outputs > 0 && !tni_form_check(s, r->v)) return false;
    if (!tni_must_decompose(r->v) && !tni_op_runs_base(s->op) &&
        (r->ruled || s->op->schema.n_results == 0) && tni_form_apply(&r->draft, r->v) &&
        tni_resolve_image(r) && tni_chain_ask(r))
        return true;
    s->kind = TNI_SIG_DECOMPOSE;
    if (tn_error() != TN_OK) return false;
    return s->op->row.decompose || tni_op_runs_base(s->op) || tni_chain_unsupported(r);
}

static bool resolve_all(tni_resolution *r) {
    return tni_promote(r->v, &r->types) && operands_fill(r) && operands_separate(r) &&
           (args_plain(r), true) && tni_image_make(&r->image, &r->draft, r->v) &&
           contract_check(r) && tni_results_infer(r) && tni_results_fill(r) && resolve_kind(r);
}

/* Operands, of which nothing is known yet. */
static bool operands_room(tni_resolution *r) {
    const uint64_t n = r->v->n_operands;
    r->s->operands = r->few_operands;
    r->draft.operands = r->few_seen[0];
    if (n > TNI_DRAFT_ROOM) {
        r->s->operands = r->many[0] = tni_alloc(n * (sizeof(tni_operand) + sizeof(tni_geometry)));
        if (!r->s->operands) return no_memory(r);
        r->draft.operands = (tni_geometry *)(void *)(r->s->operands + n);
    }
    for (uint64_t k = 0; k < n; k++) {
        r->s->operands[k].prepare = TNI_AS_IS;
        r->draft.operands[k].rank = 0;
    }
    return true;
}

static void draft_begin(tni_resolution *r, const tni_invocation *v) {
    const tni_state *st = tni_state_get();
    memset(&r->draft, 0, sizeof r->draft);
    r->s = &r->draft.s;
    r->v = v;
    r->many[0] = r->many[1] = NULL;
    r->list = NULL;
    r->n_list = r->n_refusals = 0;
    r->image.many_bytes = 0;
    r->s->op = v->op;
    r->s->args = r->args;
    r->s->n_operands = v->n_operands;
    r->s->math = st->math;
    r->s->call_flags =
        (st->deterministic ? TN_CALL_DETERMINISTIC : 0u) | (v->op->inplace ? TN_CALL_INPLACE : 0u);
}

/* What the draft needs no more, whatever became of it. */
static void draft_end(tni_resolution *r) {
    tni_image_free(&r->image);
    tni_free(r->list);
    tni_free(r->many[0]);
    tni_free(r->many[1]);
}

tni_signature *tni_resolve(const tni_invocation *v, const uint64_t *key, uint64_t n_key) {
    tni_resolution r;
    tni_signature *made = NULL;
    draft_begin(&r, v);
    if (operands_room(&r) && resolve_all(&r)) {
        rng_need(r.s);
        for (uint32_t k = 0; k < r.s->n_operands; k++)
            r.s->prepares |= r.s->operands[k].prepare != TNI_AS_IS;
        r.s->plain = is_plain(r.s);
        made = tni_signature_new(&r.draft, v, key, n_key);
        if (!made) no_memory(&r);
    }
    if (!made) tni_plan_drop(r.s->provider, &r.s->plan);
    draft_end(&r);
    return made;
}
