/* decompose.c - a call that no kernel takes, or none may: the op in terms of others.
 *
 * Invariant: a decomposition sees what a kernel would see: tensors and numbers in the dtype the
 * call computes in, arguments as the contract normalised them. 16-bit floats of pointwise and of
 * wide rows come as f32, and results are rounded once. An in-place twin is written when all else
 * is done.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/decompose.h"

#include <stdio.h>
#include <string.h>

#include "core/autograd/visit.h"
#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/dispatch/core_ops.h"
#include "core/tensor/format.h"
#include "core/tensor/scope.h"

static bool same_shape(const tn_tensor *t, const tn_meta *m) {
    bool same = t->rank == m->rank && tn_dtype_is(t->dtype, m->dtype);
    for (int32_t d = 0; same && d < t->rank; d++) same = t->sizes[d] == m->sizes[d];
    return same;
}

__attribute__((noinline, cold)) static tn_status wrong_shape(const tni_frame *f, uint32_t i) {
    char given[160], wanted[160];
    tn_meta m;
    tni_tensor_meta(f->results[i], &m);
    tni_shape_text(&m, given, sizeof given);
    tni_shape_text(&f->s->outputs[i].meta, wanted, sizeof wanted);
    return tn_raise(TN_ERR_INTERNAL,
                    "%s: its decomposition gave %s for result %u, but its shape rule says %s; one "
                    "of the two is wrong",
                    f->v.op->schema.name, given, i, wanted);
}

/* A decomposition gives what the shape rule says a kernel would give. */
static tn_status decomposed_check(const tni_frame *f, uint32_t i) {
    const bool fits = i >= f->s->n_outputs || same_shape(f->results[i], &f->s->outputs[i].meta);
    return fits ? TN_OK : wrong_shape(f, i);
}

static bool gave_no_list(const tn_value *out) {
    return out->tag != TN_TAG_TENSORS || (out->aux > 0 && !out->tensors);
}

/* Takes a reference on one of the results. */
static tn_status decomposed_take_one(tni_frame *f, tn_tensor *t, bool optional) {
    const uint32_t i = f->n_results;
    const bool absent = i < f->s->n_outputs ? f->s->outputs[i].absent : !t && optional;
    if (absent && !t) {
        f->results[f->n_results++] = NULL;
        return TN_OK;
    }
    if (!tni_tensor_check(t, f->v.op->schema.name, "a result of its decomposition"))
        return tn_error();
    tni_tensor_retain(t);
    f->results[f->n_results++] = t;
    return absent ? wrong_shape(f, i) : decomposed_check(f, i);
}

/* Takes references on what a decomposition returned, while its scope still holds it. */
static tn_status decomposed_take(tni_frame *f, const tn_value *outs, uint32_t n) {
    const tni_op *op = f->v.op;
    const tn_value *list = op->list_at < 0 ? NULL : &outs[op->list_at];
    if (list && gave_no_list(list))
        return tn_raise(TN_ERR_INTERNAL, "%s: its decomposition gave no list", op->schema.name);
    const uint32_t count = list ? n - 1 + list->aux : n;
    if (count > TNI_MAX_RESULTS) f->results = tni_alloc(count * sizeof(tn_tensor *));
    if (!f->results) return tn_raise(TN_ERR_NOMEM, "no memory for a list of %u tensors", count);
    if (f->s->n_outputs && f->s->n_outputs != count)
        return tn_raise(TN_ERR_INTERNAL,
                        "%s: its decomposition gave %u tensors, but its shape rule says %u",
                        op->schema.name, count, f->s->n_outputs);
    tn_status status = TN_OK;
    for (uint32_t r = 0; r < n && status == TN_OK; r++) {
        const bool is_list = list == &outs[r];
        tn_tensor *t = outs[r].tag == TN_TAG_TENSOR ? outs[r].tensor : NULL;
        if (!is_list) status = decomposed_take_one(f, t, op->schema.results[r].optional);
        for (uint32_t i = 0; is_list && i < list->aux && status == TN_OK; i++)
            status = decomposed_take_one(f, list->tensors[i], false);
    }
    return status;
}

/* A long list was made outside all scopes: the inner one ends before the call does. */
static void decomposed_list(tni_frame *f) {
    tn_tensor **list = f->results;
    if (!list || list == f->few) return;
    f->results = tn_scope_alloc(f->n_results * sizeof(tn_tensor *));
    if (f->results) memcpy(f->results, list, f->n_results * sizeof(tn_tensor *));
    for (uint32_t i = 0; !f->results && i < f->n_results; i++) tni_tensor_release(list[i]);
    if (!f->results) f->n_results = 0;
    tni_free(list);
}

/* The 16-bit dtype of a call that is computed as f32 and rounded once, or one without lanes. */
static tn_dtype narrow_dtype(const tni_frame *f) {
    const tni_op *op = f->v.op;
    const bool wide = op->form == TNI_POINTWISE || op->row.traits & TN_OP_WIDE;
    for (uint32_t k = 0; wide && k < f->s->n_operands; k++)
        if (f->v.operands[k] && tni_dtype_is_half(f->s->operands[k].dtype))
            return f->s->operands[k].dtype;
    return (tn_dtype){0, 0, 0};
}

static tn_tensor *to_dtype(tn_tensor *t, tn_dtype dtype) {
    static tn_op_ref to = {"to", 0, 0};
    if (!t || tn_dtype_is(dtype, t->dtype)) return t;
    const tn_value args[2] = {tn_value_tensor(t), tn_value_dtype(dtype)};
    tn_value out;
    return tn_op_call(&to, args, 2, &out, 1) == TN_OK ? out.tensor : NULL;
}

/* A number stays one, but in the dtype the call computes in: views and lists made of it are
 * tensors, which no longer give way. */
static tn_tensor *number_as(const tni_frame *f, tn_tensor *t, tn_dtype dtype) {
    if (tn_dtype_is(t->dtype, dtype)) return t;
    if (t->flags & TNI_REQUIRES_GRAD) return to_dtype(t, dtype);
    tn_tensor *number = tni_tensor_new(dtype, 0, NULL, t->storage->place);
    if (!number) return NULL;
    if (tni_call_number(f->v.op->schema.name, tni_tensor_data(number), dtype, tni_tensor_data(t),
                        t->dtype)) {
        number->flags |= TNI_WRAPPED;
        return tni_scope_own(number);
    }
    tni_tensor_release(number);
    return NULL;
}

/* What a decomposition itself writes stays what it is. */
static tn_tensor *decomposed_cast(const tni_frame *f, const tni_param *p, uint32_t k, bool wide) {
    tn_tensor *t = f->v.operands[k];
    if (!t || (p->mutated && !tni_op_runs_base(f->v.op))) return t;
    const tn_dtype seen = f->s->operands[k].dtype;
    const tn_dtype dtype = wide && tni_dtype_is_half(seen) ? TN_F32 : seen;
    return t->flags & TNI_WRAPPED ? number_as(f, t, dtype) : to_dtype(t, dtype);
}

/* Decompositions see what kernels see: tensors in the dtype the call computes in. */
static bool decomposed_args(const tni_frame *f, bool wide, tn_value *args) {
    const tni_op *op = f->v.op;
    memcpy(args, f->v.args, op->n_args * sizeof *args);
    const bool casts = f->s->prepares || wide;
    for (uint32_t i = 0, k = 0, n; casts && i < op->n_args; i++, k += n) {
        const tni_param *p = &op->schema.params[i];
        n = tni_arg_tensors(op, args, i);
        if (op->types[i] == TNI_TENSOR && args[i].tag == TN_TAG_TENSOR)
            args[i].tensor = decomposed_cast(f, p, k, wide);
        if (op->types[i] != TNI_TENSORS || n == 0) continue;
        tn_tensor **list = tn_scope_alloc(n * sizeof *list);
        if (!list) return false;
        for (uint32_t j = 0; j < n; j++) list[j] = decomposed_cast(f, p, k + j, wide);
        args[i].tensors = list;
    }
    return tn_error() == TN_OK;
}

/* Does the op return its first argument, which it writes? */
static bool returns_target(const tni_schema *s) {
    return s->mutates && s->n_results == 1 && s->params[0].type == TNI_TENSOR &&
           s->params[0].mutated && s->params[0].alias == s->results[0].alias;
}

/* Rounds what was widened: to the dtype that the shape rule says, or, without one, to `narrow`. */
static void decomposed_round(const tni_frame *f, tn_dtype narrow, tn_value *outs) {
    for (uint32_t i = 0; narrow.lanes && i < f->v.op->schema.n_results; i++) {
        if (outs[i].tag != TN_TAG_TENSOR || !outs[i].tensor) continue;
        const tn_dtype want = i < f->s->n_outputs ? f->s->outputs[i].meta.dtype : narrow;
        if (tni_dtype_is_half(want) && tn_dtype_is(outs[i].tensor->dtype, TN_F32))
            outs[i].tensor = to_dtype(outs[i].tensor, want);
    }
}

/* A target gets the value that a decomposition gave in its place. */
static tn_status decomposed_settle(const tni_frame *f, tn_dtype narrow, tn_value *outs) {
    decomposed_round(f, narrow, outs);
    if (tn_error() || !returns_target(&f->v.op->schema)) return tn_error();
    tn_tensor *given = outs[0].tag == TN_TAG_TENSOR ? outs[0].tensor : NULL;
    if (given == f->v.operands[0]) return TN_OK;
    outs[0] = tn_value_tensor(tni_core_assign(f->v.operands[0], given));
    return tn_error();
}

/* A twin that no kernel may write is computed by its base. */
static tn_status decompose(const tni_op *op, const tn_value *args, tn_value *outs) {
    if (!tni_op_runs_base(op)) {
        const tni_visit visit = tni_visit_begin(); /* it may be the program's own */
        const tn_status status =
            op->row.decompose(args, op->schema.n_params, outs, op->schema.n_results);
        tni_visit_end(&visit);
        return status;
    }
    tn_op_ref base = {op->base->schema.name, op->base->id, 0};
    return tn_op_call(&base, args, op->schema.n_params, outs, op->schema.n_visible);
}

/* Is the pending error that of another op, which speaks of arguments this op's caller never
 * gave? */
static bool is_of_a_part(const tni_op *op) {
    char name[TNI_NAME_BYTES];
    const char *text = tn_error_message();
    const char *end = strstr(text, ": "); /* a name may have "::" in it */
    const size_t n = end ? (size_t)(end - text) : 0;
    if (n == 0 || n >= sizeof name) return false;
    memcpy(name, text, n);
    name[n] = 0;
    return strcmp(name, op->schema.name) != 0 && tni_registry_find(name) != NULL;
}

/* "index_select: its part gather: ...", and what the caller did give. Not inlined: calls nest, and
 * its texts would lie on the stack once for each. */
__attribute__((noinline, cold)) static void name_caller(const tni_frame *f) {
    const char *op = f->v.op->schema.name;
    char before[TNI_NAME_BYTES + 16], after[TNI_NAME_BYTES + 640], shapes[600];
    if (!is_of_a_part(f->v.op)) {
        tni_error_within(op);
        return;
    }
    tni_invocation_text(&f->v, shapes, sizeof shapes);
    snprintf(before, sizeof before, "%s: its part ", op);
    snprintf(after, sizeof after, "\n  %s was called with %s", op, shapes);
    tni_error_wrap(before, after);
}

/* Below an op with a derivative, or with the reason why it has none, nothing is recorded; below
 * others the inner ops are. */
tn_status tni_decompose(tni_frame *f) {
    const tni_op *op = f->v.op;
    tn_value args[TNI_MAX_ARGS], outs[TNI_MAX_RESULTS] = {{0, 0, {0}}};
    tn_scope scope = tn_scope_push();
    f->results = f->few;
    const bool silent = op->row.derivative || op->row.no_grad;
    const bool grad = silent ? tn_set_grad_enabled(false) : tn_grad_enabled();
    const tn_dtype narrow = narrow_dtype(f);
    tn_status status = decomposed_args(f, narrow.lanes != 0, args) ? TN_OK : tn_error();
    if (status == TN_OK) status = decompose(op, args, outs);
    if (status == TN_OK) status = tn_error();
    if (status != TN_OK && tn_error() == TN_OK)
        tn_raise(status, "%s: its decomposition failed and gave no reason", op->schema.name);
    if (status == TN_OK) status = decomposed_settle(f, narrow, outs);
    tn_set_grad_enabled(grad);
    if (status == TN_OK) status = decomposed_take(f, outs, op->schema.n_results);
    tn_scope_pop(scope);
    decomposed_list(f);
    if (status == TN_OK) status = tn_error();
    if (status != TN_OK) name_caller(f);
    return status == TN_OK ? TN_OK : tn_error();
}
