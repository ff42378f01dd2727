/* results.c - what a call returns, before it runs: sizes by the shape rule, absent ones, aliases.
 *
 * Invariant: whatever a rule says, no result reaches a kernel whose rank, dtype and size were not
 * checked; one that is written in place has the shape and dtype of what it is written into.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/results.h"

#include <stdio.h>
#include <string.h>

#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/base/heap.h"
#include "core/dispatch/shape_rules.h"

enum { RESULTS_LIMIT = 1 << 20 }; /* of one list */

static void infer_fail(tn_infer *in, tn_status code, const char *text, uint64_t len) {
    tni_resolution *r = (tni_resolution *)((char *)in - offsetof(tni_resolution, infer));
    char copy[400];
    const int n = len < sizeof copy ? (int)len : (int)sizeof copy - 1;
    snprintf(copy, sizeof copy, "%.*s", text ? n : 0, text ? text : "");
    tni_resolve_refuse(r, code, copy);
}

/* The dtype a result has unless its shape rule says otherwise. */
static tn_dtype result_dtype(const tni_resolution *r, const tni_result *result) {
    const tni_schema *schema = &r->s->op->schema;
    if (result->fixed) return result->dtype;
    tn_dtype d =
        tni_promotion_of(&r->types, result->variable ? result->variable : schema->variable);
    if (d.lanes) return d;
    for (uint32_t k = 0; k < r->s->n_operands; k++)
        if (r->v->operands[k]) return r->s->operands[k].dtype;
    for (uint32_t i = 0; i < schema->n_params; i++)
        if (r->v->args[i].tag == TN_TAG_DTYPE) return r->v->args[i].dtype;
    return TN_F32;
}

/* Of the one result that is a list. */
static tn_meta *infer_resize(tn_infer *in, uint32_t n) {
    tni_resolution *r = (tni_resolution *)((char *)in - offsetof(tni_resolution, infer));
    const tni_op *op = r->s->op;
    if (n > RESULTS_LIMIT || op->list_at < 0) return NULL;
    tn_meta *list = tni_alloc(n * sizeof(tn_meta) + 8);
    if (!list) return NULL;
    for (uint32_t i = 0; i < n; i++)
        list[i].dtype = result_dtype(r, &op->schema.results[op->list_at]);
    tni_free(r->list);
    r->n_list = n;
    return r->list = list;
}

bool tni_results_infer(tni_resolution *r) {
    const tni_op *op = r->s->op;
    tn_shape_fn rule = op->row.shape        ? op->row.shape
                       : op->row.shape_rule ? tni_shape_rule(op->row.shape_rule)
                                            : NULL;
    r->ruled = rule != NULL;
    if (!rule) return true;
    memset(r->metas, 0, op->schema.n_results * sizeof(tn_meta));
    for (uint32_t i = 0; i < op->schema.n_results; i++)
        r->metas[i].dtype = result_dtype(r, &op->schema.results[i]);
    r->infer = (tn_infer){.size = sizeof(tn_infer),
                          .n_args = op->schema.n_params,
                          .args = r->image.args,
                          .outs = r->metas,
                          .n_outs = op->schema.n_results,
                          .resize = infer_resize,
                          .fail = infer_fail};
    tn_status status = rule(&r->infer);
    if (status != TN_OK && tn_error() == TN_OK)
        tni_resolve_refuse(r, status, "its shape rule refused without a reason");
    return status == TN_OK && tn_error() == TN_OK;
}

static bool meta_check(const tni_resolution *r, tn_meta *m) {
    int64_t bytes = tni_dtype_bytes(m->dtype);
    if (m->rank == TN_ABSENT)
        return tni_resolve_refuse(r, TN_ERR_INTERNAL,
                                  "its shape rule leaves a result out that is not optional");
    if (m->rank < 0 || m->rank > TN_MAX_RANK)
        return tni_resolve_refuse(r, TN_ERR_SHAPE, "the result would have more than 16 dims");
    if (bytes == 0)
        return tni_resolve_refuse(r, TN_ERR_INTERNAL,
                                  "its shape rule gave a result without a known dtype");
    if (tni_numel(m->sizes, m->rank, bytes) < 0)
        return tni_resolve_refuse(r, TN_ERR_OVERFLOW, "the size of the result overflows");
    if (r->s->op->row.traits & TN_OP_VIEW) return true;
    tni_row_major(m->sizes, m->rank, m->strides);
    return true;
}

/* The operand a result aliases because it is written in place, or -1. */
static int32_t target_of(const tni_resolution *r, const tni_result *result) {
    const tni_schema *schema = &r->s->op->schema;
    uint32_t k = 0;
    for (uint32_t i = 0; i < schema->n_params; i++) {
        const tni_param *p = &schema->params[i];
        if (result->alias && p->alias == result->alias && p->mutated) return (int32_t)k;
        k += tni_arg_tensors(r->s->op, r->v->args, i);
    }
    return -1;
}

static bool output_in_place(tni_resolution *r, tni_output *out) {
    const tn_tensor *t = r->v->operands[out->target];
    bool same = t->rank == out->meta.rank;
    for (int32_t d = 0; same && d < t->rank; d++) same = t->sizes[d] == out->meta.sizes[d];
    if (!same)
        return tni_resolve_refuse(
            r, TN_ERR_SHAPE, "the result does not have the shape of the tensor it is written into");
    if (!tn_dtype_is(out->meta.dtype, t->dtype))
        return tni_resolve_refuse(
            r, TN_ERR_DTYPE,
            "the result has another dtype than the tensor it is written into; use the form "
            "without '_'");
    memcpy(out->meta.strides, t->strides, (size_t)t->rank * sizeof(int64_t));
    return true;
}

static bool is_absent(const tni_resolution *r, const tni_result *result, const tni_output *out) {
    if (!result->optional) return false;
    return out->target >= 0 ? !r->v->operands[out->target] : out->meta.rank == TN_ABSENT;
}

static bool output_fill(tni_resolution *r, const tni_result *result, const tn_meta *m,
                        tni_output *out) {
    *out = (tni_output){.meta = *m};
    out->visible = result->kind == TNI_VISIBLE;
    out->target = target_of(r, result);
    out->absent = is_absent(r, result, out);
    if (out->absent) {
        out->meta.rank = 0;
        out->target = -1;
        return true; /* no elements */
    }
    if (!meta_check(r, &out->meta) || (out->target >= 0 && !output_in_place(r, out))) return false;
    out->numel = tni_numel(out->meta.sizes, out->meta.rank, 1);
    out->bytes = (uint64_t)(out->numel * tni_dtype_bytes(out->meta.dtype));
    return true;
}

/* Empty results are the work of nobody; absent ones say nothing of the others. */
static bool nothing_to_do(const tni_signature *s) {
    uint32_t present = 0;
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        if (s->outputs[i].numel > 0) return false;
        present += !s->outputs[i].absent;
    }
    return present > 0 || (s->n_outputs == 0 && s->op->list_at >= 0);
}

static bool outputs_room(tni_resolution *r) {
    const uint64_t n = r->s->n_outputs;
    r->s->outputs = r->few_outputs;
    r->draft.outputs = r->few_seen[1];
    if (n > TNI_DRAFT_ROOM) {
        r->s->outputs = r->many[1] = tni_alloc(n * (sizeof(tni_output) + sizeof(tni_geometry)));
        if (!r->s->outputs) return false;
        r->draft.outputs = (tni_geometry *)(void *)(r->s->outputs + n);
    }
    for (uint64_t i = 0; i < n; i++) r->draft.outputs[i].rank = 0;
    return true;
}

bool tni_results_fill(tni_resolution *r) {
    tni_signature *s = r->s;
    const tni_schema *schema = &s->op->schema;
    s->n_list = r->n_list;
    s->n_outputs = !r->ruled            ? 0
                   : s->op->list_at < 0 ? schema->n_results
                                        : schema->n_results - 1 + s->n_list;
    if (!outputs_room(r)) return tni_resolve_refuse(r, TN_ERR_NOMEM, "no memory for its signature");
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        const uint32_t at = tni_output_result(s, i);
        const tn_meta *m = schema->results[at].list ? &r->list[i - at] : &r->metas[at];
        if (!output_fill(r, &schema->results[at], m, &s->outputs[i])) return false;
    }
    s->nothing_to_do = nothing_to_do(s);
    return true;
}
