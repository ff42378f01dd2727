/* call.c - the life of one call: find its signature, prepare inputs, allocate results, run, record.
 *
 * Invariants: a failed call leaves no result and frees all it took; results of a successful one
 * belong to the current scope; in-place targets count one version per call.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/autograd/tape.h"
#include "core/dispatch/signature.h"
#include "core/dtype.h"
#include "core/generator.h"
#include "core/memory.h"
#include "core/plugin.h"

typedef struct frame { /* one call that is under way */
    tni_invocation v;
    tni_signature *s;
    tni_image image;
    tni_node *node;      /* what is being recorded, or NULL */
    tn_tensor **results; /* one reference each, in the schema's order */
    uint32_t n_results;
    tn_tensor *few[TNI_MAX_RESULTS];
    tn_tensor **temporaries; /* copies of operands, NULL where there is none */
    tn_tensor *few_temporaries[TNI_FLAT_OPERANDS];
    double numbers[TNI_FLAT_OPERANDS]; /* wrapped numbers, cast; 8 bytes hold any dtype */
    void *workspace;
    tn_rng rng;
    bool has_rng;
} frame;

/* ---- Inputs ---------------------------------------------------------------------------------- */

static tn_status run_copy(tn_tensor *dst, tn_tensor *src) {
    static tn_op_ref copy = {"copy_", 0, 0};
    tn_value args[2] = {tn_value_tensor(dst), tn_value_tensor(src)}, out;
    bool grad = tn_set_grad_enabled(false);
    tn_scope scope = tn_scope_push();
    tn_status status = tn_op_call(&copy, args, 2, &out, 1);
    tn_scope_pop(scope);
    tn_set_grad_enabled(grad);
    return status;
}

/* The operand as a contiguous temporary, dims permuted and dtype cast as its signature says. */
static tn_tensor *operand_copy(const tni_operand *o, tn_tensor *t) {
    tn_meta from = {.dtype = t->dtype, .rank = t->rank, .offset = 0};
    for (int32_t d = 0; d < t->rank; d++) {
        from.sizes[d] = t->sizes[o->permutation[d]];
        from.strides[d] = t->strides[o->permutation[d]];
    }
    tn_tensor *view = tni_tensor_view(t, &from);
    tn_tensor *copy =
        view ? tni_tensor_new(o->seen.dtype, from.rank, from.sizes, t->storage->device) : NULL;
    if (copy && run_copy(copy, view) != TN_OK) {
        tni_tensor_release(copy);
        copy = NULL;
    }
    tni_tensor_release(view);
    return copy;
}

/* The number in the dtype the kernel wants, in an 8-byte cell. */
static bool cast_number(const frame *f, double *cell, tn_dtype to, const tn_tensor *t) {
    const void *p = tni_tensor_data(t);
    bool floating = tn_dtype_is(t->dtype, TN_F64);
    tn_value number =
        floating ? tn_float(tni_element_float(p, t->dtype)) : tn_int(tni_element_int(p, t->dtype));
    tn_status status = tni_element_from(number, to, cell);
    if (status == TN_OK) return true;
    tn_raise(status, "%s: the number %g does not fit into %s", f->v.op->schema.name,
             tni_element_float(p, t->dtype), tn_dtype_name(to));
    return false;
}

static bool operands_point(frame *f) {
    const tni_signature *s = f->s;
    for (uint32_t k = 0; k < s->n_operands; k++) {
        tn_tensor *t = f->v.operands[k];
        if (t == NULL) continue;
        tn_view *view = &f->image.views[k];
        switch (s->operands[k].prepare) {
        case TNI_AS_IS:
            view->data = tni_tensor_data(t);
            break;
        case TNI_CAST_NUMBER:
            if (k >= TNI_FLAT_OPERANDS)
                return tn_raise(TN_ERR_INVALID, "%s: a number stands too late in a list",
                                s->op->schema.name),
                       false;
            if (!cast_number(f, &f->numbers[k], s->operands[k].seen.dtype, t)) return false;
            view->data = &f->numbers[k];
            break;
        case TNI_COPY:
            f->temporaries[k] = operand_copy(&s->operands[k], t);
            if (f->temporaries[k] == NULL) return false;
            view->data = tni_tensor_data(f->temporaries[k]);
            break;
        }
    }
    return true;
}

static bool temporaries_room(frame *f) {
    f->temporaries = f->few_temporaries;
    if (!f->s->prepares) return true;
    if (f->s->n_operands > TNI_FLAT_OPERANDS)
        f->temporaries = tni_scope_alloc(f->s->n_operands * sizeof(tn_tensor *));
    if (f->temporaries) memset(f->temporaries, 0, f->s->n_operands * sizeof(tn_tensor *));
    return f->temporaries != NULL;
}

/* ---- Results --------------------------------------------------------------------------------- */

static bool results_room(frame *f, uint32_t n) {
    f->results = n <= TNI_MAX_RESULTS ? f->few : tni_scope_alloc(n * sizeof(tn_tensor *));
    return f->results != NULL;
}

static bool results_allocate(frame *f) {
    const tni_signature *s = f->s;
    if (!results_room(f, s->n_outputs)) return false;
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        const tni_output *out = &s->outputs[i];
        tn_tensor *t;
        if (out->target >= 0) {
            t = f->v.operands[out->target];
            tni_tensor_retain(t);
        } else {
            t = tni_tensor_new(out->meta.dtype, out->meta.rank, out->meta.sizes, f->v.device);
            if (t == NULL) return false;
        }
        f->results[f->n_results++] = t;
        f->image.views[s->n_operands + i].data = tni_tensor_data(t);
    }
    return true;
}

static void results_release(frame *f) {
    for (uint32_t i = 0; i < f->n_results; i++) tni_tensor_release(f->results[i]);
    f->n_results = 0;
}

/* Hands the visible results to the current scope and the caller; the rest is let go (a node may
 * hold it). */
static tn_status results_give(frame *f, tn_value *outs) {
    const tni_schema *schema = &f->v.op->schema;
    bool list = schema->n_results == 1 && schema->results[0].list;
    tn_tensor **items = list ? tni_scope_alloc((f->n_results + 1) * sizeof(tn_tensor *)) : NULL;
    if (list && items == NULL) {
        results_release(f);
        return tn_error();
    }
    uint32_t given = 0;
    tn_status status = TN_OK;
    for (uint32_t i = 0; i < f->n_results; i++) {
        if (!list && schema->results[i].kind != TNI_VISIBLE) {
            tni_tensor_release(f->results[i]);
            continue;
        }
        tn_tensor *t = tni_scope_own(f->results[i]);
        if (t == NULL) status = tn_error();
        if (list)
            items[given++] = t;
        else
            outs[given++] = tn_value_tensor(t);
    }
    if (list) outs[0] = tn_value_tensors((tn_tensors){items, given});
    f->n_results = 0;
    return status;
}

/* ---- Random numbers and recording ------------------------------------------------------------ */

/* Fixes the position this call draws from, and shows it to decompositions and derivatives. */
static void rng_reserve(frame *f) {
    if (!(f->v.op->row.traits & TN_OP_RANDOM)) return;
    for (uint32_t i = 0; i < f->v.op->n_args; i++) {
        tn_value *a = &f->v.args[i];
        if (f->v.op->schema.params[i].type != TNI_GENERATOR) continue;
        f->rng = a->tag == TN_TAG_RNG && a->rng
                     ? *a->rng
                     : tni_generator_reserve(a->tag == TN_TAG_GENERATOR ? a->generator : NULL,
                                             f->s->rng_counters);
        f->has_rng = true;
        *a = tn_value_rng(&f->rng);
        return;
    }
}

static bool writes_history(const frame *f) {
    for (uint32_t i = 0, k = 0; i < f->v.op->n_args; i++) {
        uint32_t n = tni_arg_tensors(f->v.op, f->v.args, i);
        for (uint32_t j = 0; f->v.op->schema.params[i].mutated && j < n; j++)
            if (f->v.operands[k + j] && f->v.operands[k + j]->node) return true;
        k += n;
    }
    return false;
}

/* Starts recording if a gradient may be wanted. False + error if the call must not happen. */
static bool record_begin(frame *f) {
    const tni_op *op = f->v.op;
    if (!f->v.recording) return true;
    if (op->row.derivative) {
        f->node = tni_tape_begin(op, f->v.args, op->schema.n_params, f->has_rng ? &f->rng : NULL);
        return f->node != NULL;
    }
    if (!op->schema.mutates || !writes_history(f)) return true;
    tn_raise(TN_ERR_GRAD,
             "%s: has no derivative (%s) and would change a tensor that has a history; detach or "
             "clone it first",
             op->schema.name, op->row.no_grad ? op->row.no_grad : "none given");
    return false;
}

static tn_status record_finish(frame *f) {
    if (f->node == NULL) return TN_OK;
    tni_node *node = f->node;
    f->node = NULL;
    return tni_tape_finish(node, f->results, f->n_results);
}

static void count_versions(frame *f) {
    for (uint32_t i = 0, k = 0; i < f->v.op->n_args; i++) {
        uint32_t n = tni_arg_tensors(f->v.op, f->v.args, i);
        for (uint32_t j = 0; f->v.op->schema.params[i].mutated && j < n; j++) {
            if (f->v.operands[k + j]) tni_tape_mutated(f->v.operands[k + j]);
        }
        k += n;
    }
}

/* ---- The three kinds ------------------------------------------------------------------------- */

static tn_status kernel_failed(frame *f, tn_status code) {
    int32_t given = atomic_load(&f->image.failed);
    const char *op = f->v.op->schema.name, *text = f->image.text;
    size_t n = strlen(op);
    if (strncmp(text, op, n) == 0 && strncmp(text + n, ": ", 2) == 0)
        text += n + 2; /* said once is enough */
    char shapes[600];
    tni_invocation_text(&f->v, shapes, sizeof(shapes));
    return tn_raise(given != TN_OK ? given : code, "%s: %s\n  called with %s on %s", op,
                    text[0] ? text : "the kernel failed and gave no reason", shapes,
                    f->s->provider->plugin);
}

static bool workspace_get(frame *f) {
    uint64_t bytes = f->s->plan.workspace_bytes;
    if (bytes == 0) return true;
    f->workspace = tni_buffer_alloc(f->v.device, bytes);
    if (f->workspace == NULL)
        tn_raise(TN_ERR_NOMEM, "%s: no memory for %llu bytes of workspace", f->v.op->schema.name,
                 (unsigned long long)bytes);
    f->image.call.workspace = f->workspace;
    f->image.call.workspace_bytes = bytes;
    return f->workspace != NULL;
}

static tn_status kernel_run(frame *f) {
    const tni_signature *s = f->s;
    tn_call *c = &f->image.call;
    for (uint32_t i = 0; s->op->runtime_args >> i; i++)
        if (s->op->runtime_args >> i & 1) f->image.args[i] = f->v.args[i];
    if (f->has_rng) {
        c->rng_seed = f->rng.seed;
        c->rng_offset = f->rng.offset;
    }
    if (s->nothing_to_do) return TN_OK;
    tn_status status = s->provider->row.run(s->plan.data, c);
    tni_state_get()->last_provider = s->provider->plugin;
    return status == TN_OK && atomic_load_explicit(&f->image.failed, memory_order_relaxed) == TN_OK
               ? TN_OK
               : kernel_failed(f, status);
}

static void kernel_clean(frame *f) {
    if (f->workspace) tni_buffer_free(f->v.device, f->workspace, f->s->plan.workspace_bytes);
    for (uint32_t k = 0; f->s->prepares && f->temporaries && k < f->s->n_operands; k++)
        tni_tensor_release(f->temporaries[k]);
    tni_image_free(&f->image);
}

static tn_status call_kernel(frame *f) {
    if (!tni_image_make(&f->image, f->s, &f->v)) return tn_error();
    bool ready =
        temporaries_room(f) && operands_point(f) && results_allocate(f) && workspace_get(f);
    tn_status status = ready ? kernel_run(f) : tn_error();
    kernel_clean(f);
    if (status == TN_OK && f->v.op->schema.mutates) count_versions(f);
    return status;
}

static tn_status call_view(frame *f) {
    tn_tensor *base = f->v.operands[f->s->viewed];
    if (!results_room(f, f->s->n_outputs)) return tn_error();
    for (uint32_t i = 0; i < f->s->n_outputs; i++) {
        tn_tensor *t = tni_tensor_view(base, &f->s->outputs[i].meta);
        if (t == NULL) return tn_error();
        if (f->s->list_result) t->flags |= TNI_MULTI_VIEW;
        f->results[f->n_results++] = t;
    }
    tni_tape_viewed(base, f->results, f->n_results);
    return TN_OK;
}

/* Takes references on what a decomposition returned, while its scope still holds it. */
static tn_status decomposed_take(frame *f, const tn_value *outs, uint32_t n) {
    const tni_op *op = f->v.op;
    bool list = op->schema.n_results == 1 && op->schema.results[0].list;
    if (list && (outs[0].tag != TN_TAG_TENSORS || (outs[0].aux > 0 && outs[0].tensors == NULL)))
        return tn_raise(TN_ERR_INTERNAL, "%s: its decomposition gave no list", op->schema.name);
    uint32_t count = list ? outs[0].aux : n;
    if (!results_room(f, count)) return tn_error();
    for (uint32_t i = 0; i < count; i++) {
        tn_tensor *t = list                           ? outs[0].tensors[i]
                       : outs[i].tag == TN_TAG_TENSOR ? outs[i].tensor
                                                      : NULL;
        if (!tni_tensor_check(t, op->schema.name, "a result of its decomposition"))
            return tn_error();
        tni_tensor_retain(t);
        f->results[f->n_results++] = t;
    }
    return TN_OK;
}

/* Numbers stay numbers: the inner ops promote them again. */
static tn_tensor *decomposed_cast(const frame *f, uint32_t k, tn_tensor *t) {
    static tn_op_ref to = {"to", 0, 0};
    if (t == NULL || t->flags & TNI_WRAPPED) return t;
    const tn_dtype dtype = f->s->operands[k].seen.dtype;
    if (tn_dtype_is(dtype, t->dtype)) return t;
    const tn_value args[2] = {tn_value_tensor(t), tn_value_dtype(dtype)};
    tn_value out;
    return tn_op_call(&to, args, 2, &out, 1) == TN_OK ? out.tensor : NULL;
}

/* Decompositions see what kernels see: tensors in the dtype the call computes in. */
static bool decomposed_args(const frame *f, tn_value *args) {
    const tni_op *op = f->v.op;
    memcpy(args, f->v.args, op->n_args * sizeof(*args));
    for (uint32_t i = 0, k = 0, n; f->s->prepares && i < op->n_args; i++, k += n) {
        n = tni_arg_tensors(op, args, i);
        if (op->types[i] == TNI_TENSOR && args[i].tag == TN_TAG_TENSOR)
            args[i].tensor = decomposed_cast(f, k, args[i].tensor);
        if (op->types[i] != TNI_TENSORS || n == 0) continue;
        tn_tensor **list = tni_scope_alloc(n * sizeof(*list));
        if (list == NULL) return false;
        for (uint32_t j = 0; j < n; j++) list[j] = decomposed_cast(f, k + j, args[i].tensors[j]);
        args[i].tensors = list;
    }
    return tn_error() == TN_OK;
}

/* Puts the op that was called before an inner op's message. */
static tn_status decomposed_failed(const frame *f) {
    const char *op = f->v.op->schema.name, *cause = tn_error_message();
    const tn_status code = tn_error();
    char text[1400];
    if (strncmp(cause, op, strlen(op)) == 0) return code;
    snprintf(text, sizeof(text), "%s: %s", op, cause);
    tn_clear_error();
    return tn_raise(code, "%s", text);
}

/* Below an op with a derivative nothing is recorded; without one, the inner ops are. */
static tn_status call_decomposed(frame *f) {
    const tni_op *op = f->v.op;
    tn_value args[TNI_MAX_ARGS], outs[TNI_MAX_RESULTS] = {{0, 0, {0}}};
    tn_scope scope = tn_scope_push();
    bool grad = op->row.derivative ? tn_set_grad_enabled(false) : tn_grad_enabled();
    tn_status status = decomposed_args(f, args) ? TN_OK : tn_error();
    if (status == TN_OK)
        status = op->row.decompose(args, op->schema.n_params, outs, op->schema.n_results);
    if (status == TN_OK) status = tn_error();
    if (status != TN_OK && tn_error() == TN_OK)
        tn_raise(status, "%s: its decomposition failed and gave no reason", op->schema.name);
    tn_set_grad_enabled(grad);
    if (status == TN_OK) status = decomposed_take(f, outs, op->schema.n_results);
    tn_scope_pop(scope);
    return status == TN_OK ? status : decomposed_failed(f);
}

static tn_status call_kind(frame *f) {
    switch (f->s->kind) {
    case TNI_SIG_KERNEL:
        return call_kernel(f);
    case TNI_SIG_VIEW:
        return call_view(f);
    case TNI_SIG_DECOMPOSE:
        break;
    }
    return call_decomposed(f);
}

/* ---- The call -------------------------------------------------------------------------------- */

static const tni_op *find_op(tn_op_ref *ref, uint32_t n_outs) {
    if (ref == NULL || ref->name == NULL) {
        tn_raise(TN_ERR_INVALID, "an op was called without a name");
        return NULL;
    }
    int32_t id = __atomic_load_n(&ref->id, __ATOMIC_RELAXED);
    if (id == 0) {
        id = tni_registry_intern(ref->name);
        if (id == 0) return NULL;
        __atomic_store_n(&ref->id, id, __ATOMIC_RELAXED);
    }
    const tni_op *op = tni_registry_op(id);
    if (op == NULL) {
        tni_op_not_found(ref->name);
        return NULL;
    }
    if (n_outs == op->schema.n_visible) return op;
    tn_raise(TN_ERR_INVALID, "%s: has %u results, room was given for %u", op->schema.name,
             op->schema.n_visible, n_outs);
    return NULL;
}

static bool may_call(void) {
    if (tni_state_get()->in_worker) {
        tn_raise(TN_ERR_INVALID, "an op was called from inside a parallel loop; call it from the "
                                 "thread that started the loop");
        return false;
    }
    return !tni_forked() && tni_plugins_ready();
}

/* Arguments as the contract normalised them, for decompositions and the tape. */
static void args_normalise(frame *f) {
    for (uint32_t i = 0; i < f->v.op->n_args; i++) {
        if (f->v.op->types[i] > TNI_TENSORS && !(f->v.op->runtime_args >> i & 1))
            f->v.args[i] = f->s->args[i];
    }
}

static tn_status call_found(frame *f, tn_value *outs) {
    args_normalise(f);
    rng_reserve(f);
    if (!record_begin(f)) return tn_error();
    tn_status status = call_kind(f);
    if (status == TN_OK) status = record_finish(f);
    if (status == TN_OK) return results_give(f, outs);
    tni_tape_abandon(f->node);
    results_release(f);
    return status;
}

/* Only a plain kernel call can be sure that no other call takes its cache slot meanwhile. */
static bool may_nest(const frame *f) {
    return f->s->kind != TNI_SIG_KERNEL || f->s->prepares || f->v.op->schema.mutates;
}

tn_status tn_op_call(tn_op_ref *ref, const tn_value *args, uint32_t n_args, tn_value *outs,
                     uint32_t n_outs) {
    for (uint32_t i = 0; outs && i < n_outs && i < TNI_MAX_RESULTS; i++)
        outs[i] = tn_value_tensor(NULL);
    if (tni_state_get()->error != TN_OK) return tni_state_get()->error;
    if (!may_call()) return tn_error();
    const tni_op *op = find_op(ref, n_outs);
    if (op == NULL) return tn_error();
    if (outs == NULL && n_outs > 0)
        return tn_raise(TN_ERR_INVALID, "%s: no room for its results", op->schema.name);
    frame f;
    f.node = NULL;
    f.n_results = 0;
    f.workspace = NULL;
    f.has_rng = false;
    if (!tni_invocation_fill(&f.v, op, args, n_args)) return tn_error();
    f.s = tni_signature_find(&f.v);
    if (f.s == NULL) return tn_error();
    bool nest = may_nest(&f);
    if (nest) tni_signature_retain(f.s);
    tn_status status = call_found(&f, outs);
    if (nest) tni_signature_release(f.s);
    return status;
}
