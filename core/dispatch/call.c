/* call.c - the life of one call: find its signature, prepare inputs, allocate results, run, record.
 *
 * Invariants: a failed call leaves no result and frees all it took; results of a successful one
 * belong to the current scope; in-place targets count one version per call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/call.h"

#include <stdio.h>
#include <string.h>

#include "core/autograd/tape.h"
#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/dispatch/ask.h"
#include "core/dispatch/core_ops.h"
#include "core/dispatch/decompose.h"
#include "core/dispatch/held.h"
#include "core/dispatch/layers.h"
#include "core/memory/block.h"
#include "core/memory/buffer.h"
#include "core/memory/event.h"
#include "core/memory/fault.h"
#include "core/tensor/generator.h"
#include "core/tensor/grad.h"
#include "core/tensor/scope.h"

/* ---- Inputs ---------------------------------------------------------------------------------- */

/* The operand as a contiguous temporary, dims permuted and dtype cast as its signature says. */
static tn_tensor *operand_copy(const tni_frame *f, const tni_operand *o, tn_tensor *t) {
    tn_meta from = {.dtype = t->dtype, .rank = t->rank, .offset = 0};
    for (int32_t d = 0; d < t->rank; d++) {
        from.sizes[d] = t->sizes[o->permutation[d]];
        from.strides[d] = t->strides[o->permutation[d]];
    }
    tn_tensor *view = tni_tensor_view(t, &from);
    tn_tensor *copy = view ? tni_tensor_new(o->dtype, from.rank, from.sizes, f->v.place) : NULL;
    if (copy && tni_core_copy_into(copy, view)) {
        tni_tensor_release(copy);
        copy = NULL;
    }
    tni_tensor_release(view);
    tni_state_get()->argument_copies++;
    return copy;
}

bool tni_call_number(const char *op, void *cell, tn_dtype to, const void *p, tn_dtype from) {
    const bool whole = from.code <= 1 || tn_dtype_is(from, TN_BOOL);
    const tn_value number =
        whole ? tn_int(tni_element_int(p, from)) : tn_float(tni_element_float(p, from));
    const tn_status status = tni_element_from(number, to, cell);
    if (status == TN_OK) return true;
    tn_raise(status, "%s: the number %g does not fit into %s", op, tni_element_float(p, from),
             tn_dtype_name(to));
    return false;
}

/* Casts and copies what the signature says. */
static bool operands_prepare(tni_frame *f) {
    const tni_signature *s = f->s;
    for (uint32_t k = 0; s->prepares && k < s->n_operands; k++) {
        tn_tensor *t = f->v.operands[k];
        if (!t) continue;
        tn_view *view = &f->image->views[k];
        switch (s->operands[k].prepare) {
        case TNI_AS_IS:
            break;
        case TNI_CAST_NUMBER:
            if (k >= TNI_FLAT_OPERANDS)
                return tn_raise(TN_ERR_INVALID, "%s: a number stands too late in a list",
                                s->op->schema.name),
                       false;
            if (!tni_call_number(s->op->schema.name, &f->numbers[k], s->operands[k].dtype,
                                 tni_tensor_data(t), t->dtype))
                return false;
            view->data = &f->numbers[k];
            break;
        case TNI_COPY:
            f->temporaries[k] = operand_copy(f, &s->operands[k], t);
            if (!f->temporaries[k]) return false;
            view->data = tni_tensor_data(f->temporaries[k]);
            break;
        }
    }
    return true;
}

static bool temporaries_room(tni_frame *f) {
    f->temporaries = f->few_temporaries;
    if (!f->s->prepares) return true;
    if (f->s->n_operands > TNI_FLAT_OPERANDS)
        f->temporaries = tn_scope_alloc(f->s->n_operands * sizeof(tn_tensor *));
    if (f->temporaries) memset(f->temporaries, 0, f->s->n_operands * sizeof(tn_tensor *));
    return f->temporaries != NULL;
}

/* ---- Results --------------------------------------------------------------------------------- */

bool tni_call_room(tni_frame *f, uint32_t n) {
    f->results = n <= TNI_MAX_RESULTS ? f->few : tn_scope_alloc(n * sizeof(tn_tensor *));
    return f->results != NULL;
}

static bool results_allocate(tni_frame *f) {
    const tni_signature *s = f->s;
    if (!tni_call_room(f, s->n_outputs)) return false;
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        const tni_output *out = &s->outputs[i];
        tn_tensor *t;
        if (out->absent) {
            f->results[f->n_results++] = NULL;
            continue;
        }
        if (out->target >= 0) {
            t = f->v.operands[out->target];
            tni_tensor_retain(t);
        } else {
            t = tni_tensor_like(&out->meta, out->numel, out->bytes, f->v.place);
            if (!t) return false;
            if (out->ordered) t->flags &= ~(uint32_t)TNI_CONTIGUOUS;
        }
        f->results[f->n_results++] = t;
        f->image->views[s->n_operands + i].data = tni_tensor_data(t);
    }
    return true;
}

/* On a device: what lies on another stream's place must outlast this call there, and what goes wrong
 * comes out later. */
__attribute__((noinline)) static void queue_begin(const tni_frame *f) {
    tn_call *c = &f->image->call;
    tni_place *p = f->v.place;
    c->device = p->device;
    c->device_error = &p->word;
    c->error_claim = tni_fault_claim(p, f->v.op->schema.name);
    for (uint32_t k = 0; k < f->v.n_operands; k++) {
        const tn_tensor *t = f->v.operands[k];
        if (!t || tni_is_number(t) || t->storage->place == p) continue;
        if (tni_tls.orders) tni_place_order(p, t->storage->place);
        tni_block_used(t->storage->place, t->storage->data, p);
    }
}

static void results_release(tni_frame *f) {
    for (uint32_t i = 0; i < f->n_results; i++) tni_tensor_release(f->results[i]);
    f->n_results = 0;
}

static tn_value give_one(tn_tensor *t) { return tn_value_tensor(t ? tni_scope_own(t) : NULL); }

static tn_value give_list(tn_tensor *const *results, uint32_t n) {
    tn_tensor **items = tn_scope_alloc((n + 1) * sizeof(tn_tensor *));
    for (uint32_t i = 0; i < n; i++) {
        if (items)
            items[i] = tni_scope_own(results[i]);
        else
            tni_tensor_release(results[i]);
    }
    return tn_value_tensors((tn_tensors){items, items ? n : 0});
}

/* Hands the visible results to the current scope and the caller; the rest is let go (a node may
 * hold it). */
static tn_status results_give(tni_frame *f, tn_value *outs) {
    const tni_schema *schema = &f->v.op->schema;
    tn_tensor *const *results = f->results;
    for (uint32_t r = 0; r < schema->n_results; r++) {
        const bool list = (int32_t)r == f->v.op->list_at;
        const uint32_t n = list ? f->n_results + 1 - schema->n_results : 1;
        if (schema->results[r].kind != TNI_VISIBLE)
            for (uint32_t i = 0; i < n; i++) tni_tensor_release(results[i]);
        else
            *outs++ = list ? give_list(results, n) : give_one(results[0]);
        results += n;
    }
    f->n_results = 0;
    return tn_error();
}

/* ---- Random numbers and recording ------------------------------------------------------------ */

/* Fixes the position this call draws from, and shows it to decompositions and derivatives. False +
 * error if its generator was freed. */
static bool rng_reserve(tni_frame *f) {
    if (!(f->v.op->row.traits & TN_OP_RANDOM)) return true;
    for (uint32_t i = 0; i < f->v.op->n_args; i++) {
        tn_value *a = &f->v.args[i];
        if (f->v.op->schema.params[i].type != TNI_GENERATOR) continue;
        f->rng = a->tag == TN_TAG_RNG && a->rng
                     ? *a->rng
                     : tni_generator_reserve(a->tag == TN_TAG_GENERATOR ? a->generator : NULL,
                                             f->s->rng_counters);
        if (a->tag != TN_TAG_RNG && tni_tls.head & TNI_HEAD_LAYERS)
            tni_layers_drew(a->tag == TN_TAG_GENERATOR ? a->generator : NULL, f->rng,
                            f->s->rng_counters);
        f->has_rng = true;
        *a = tn_value_rng(&f->rng);
        break;
    }
    if (tni_pending()) tni_error_within(f->v.op->schema.name);
    return !tni_pending();
}

static bool writes_history(const tni_frame *f) {
    for (uint32_t i = 0, k = 0; i < f->v.op->n_args; i++) {
        uint32_t n = tni_arg_tensors(f->v.op, f->v.args, i);
        for (uint32_t j = 0; f->v.op->schema.params[i].mutated && j < n; j++)
            if (f->v.operands[k + j] && f->v.operands[k + j]->node) return true;
        k += n;
    }
    return false;
}

/* Starts recording if a gradient may be wanted. False + error if the call must not happen. */
static bool record_begin(tni_frame *f) {
    const tni_op *op = f->v.op;
    if (f->v.recording && op->row.derivative) {
        f->node = tni_tape_begin(op, f->v.args, op->schema.n_params, f->has_rng ? &f->rng : NULL);
        return f->node != NULL;
    }
    if (op->schema.mutates && !tni_tape_may_write(op, f->v.args, op->schema.n_params)) return false;
    if (!f->v.recording) return true;
    const bool inner =
        f->s->kind == TNI_SIG_DECOMPOSE && !op->row.no_grad; /* they record or refuse */
    if (!op->schema.mutates || inner || !writes_history(f)) return true;
    tn_raise(TN_ERR_GRAD,
             "%s: has no derivative (%s) and would change a tensor that has a history; detach or "
             "clone it first",
             op->schema.name, op->row.no_grad ? op->row.no_grad : "none given");
    return false;
}

static tn_status record_finish(tni_frame *f) {
    if (!f->node) return TN_OK;
    tni_node *node = f->node;
    f->node = NULL;
    return tni_tape_finish(node, f->results, f->n_results);
}

static void count_versions(tni_frame *f) {
    for (uint32_t i = 0, k = 0; i < f->v.op->n_args; i++) {
        uint32_t n = tni_arg_tensors(f->v.op, f->v.args, i);
        for (uint32_t j = 0; f->v.op->schema.params[i].mutated && j < n; j++) {
            if (f->v.operands[k + j]) tni_tape_mutated(f->v.operands[k + j]);
        }
        k += n;
    }
}

/* ---- The three kinds ------------------------------------------------------------------------- */

__attribute__((noinline, cold)) static tn_status kernel_failed(tni_frame *f, tn_status code) {
    int32_t given = atomic_load(&f->image->failed);
    const char *op = f->v.op->schema.name, *text = f->image->text;
    size_t n = strlen(op);
    if (strncmp(text, op, n) == 0 && strncmp(text + n, ": ", 2) == 0)
        text += n + 2; /* said once is enough */
    char shapes[600];
    tni_invocation_text(&f->v, shapes, sizeof shapes);
    tn_raise(given != TN_OK ? given : code, "%s: %s\n  called with %s on %s", op,
             text[0] ? text : "the kernel failed and gave no reason", shapes,
             f->s->provider->label);
    tni_image_forgive(f->image);
    return tn_error();
}

static bool workspace_get(tni_frame *f) {
    uint64_t bytes = f->s->plan.workspace_bytes;
    if (bytes == 0) return true;
    f->workspace = tni_buffer_alloc(f->v.place, bytes);
    if (!f->workspace)
        tn_raise(TN_ERR_NOMEM, "%s: no memory for %llu bytes of workspace", f->v.op->schema.name,
                 (unsigned long long)bytes);
    f->image->call.workspace = f->workspace;
    f->image->call.workspace_bytes = bytes;
    return f->workspace != NULL;
}

/* Meanwhile the thread's head says so: a kernel that calls an op finds an error pending. */
static tn_status kernel_start(tni_frame *f) {
    tni_state *st = tni_state_get();
    const uint8_t head = st->head;
    st->last_kernel = f->s->provider;
    st->head = head | TNI_HEAD_KERNEL;
    const tn_status status = __builtin_expect(head & TNI_HEAD_WATCHED, 0)
                                 ? tni_layers_run(f)
                                 : f->s->provider->row.run(f->s->plan.data, &f->image->call);
    st->head = head;
    if (st->kernel_runs) st->kernel_runs[f->s->provider->plugin_index]++;
    return status == TN_OK ? st->error : status;
}

static tn_status kernel_run(tni_frame *f) {
    tn_call *c = &f->image->call;
    if (f->s->nothing_to_do) return TN_OK;
    c->stream = f->v.place->stream;
    if (__builtin_expect(f->v.place != &tni_host, 0)) queue_begin(f);
    const tn_status status = kernel_start(f);
    return status == TN_OK && atomic_load_explicit(&f->image->failed, memory_order_relaxed) == TN_OK
               ? TN_OK
               : kernel_failed(f, status);
}

/* What a signature leaves open. */
static void kernel_run_time(tni_frame *f) {
    const uint32_t open = f->s->op->runtime_args;
    for (uint32_t i = 0; open >> i; i++)
        if (open >> i & 1) f->image->args[i] = f->v.args[i];
    if (!f->has_rng) return;
    f->image->call.rng_seed = f->rng.seed;
    f->image->call.rng_offset = f->rng.offset;
}

static void kernel_clean(tni_frame *f) {
    if (f->workspace) tni_buffer_free(f->v.place, f->workspace, f->s->plan.workspace_bytes);
    for (uint32_t k = 0; f->s->prepares && f->temporaries && k < f->s->n_operands; k++)
        tni_tensor_release(f->temporaries[k]);
    tni_image_free(f->image);
}

/* Says which op asked for what there is no memory for. */
static tn_status not_ready(const tni_frame *f) {
    tni_error_within(f->v.op->schema.name);
    return tn_error();
}

static tn_status call_kernel(tni_frame *f) {
    f->image = &f->own;
    if (!tni_image_recall(f->image, f->s, &f->v)) return tn_error();
    tni_image_point(f->image, &f->v);
    bool ready =
        temporaries_room(f) && operands_prepare(f) && results_allocate(f) && workspace_get(f);
    if (ready) kernel_run_time(f);
    tn_status status = ready ? kernel_run(f) : not_ready(f);
    kernel_clean(f);
    if (status == TN_OK && f->v.op->schema.mutates) count_versions(f);
    return status;
}

/* The image this thread has ready for calls like this one, or a new one. */
static bool plain_image(tni_frame *f) {
    const bool ready = f->seen && f->seen->image && !f->seen->busy;
    f->image = ready ? f->seen->image : &f->own;
    if (ready) return f->seen->busy = true;
    f->seen = NULL;
    return tni_image_recall(f->image, f->s, &f->v);
}

static void plain_done(tni_frame *f) {
    if (f->seen)
        f->seen->busy = false;
    else
        tni_image_free(f->image);
}

/* The common call: one new result, and nothing to prepare, to reserve or to count. */
static tn_status call_plain(tni_frame *f) {
    const tni_output *out = f->s->outputs;
    tn_tensor *t = tni_tensor_like(&out->meta, out->numel, out->bytes, f->v.place);
    f->results = f->few;
    if (!t) return not_ready(f);
    f->few[0] = t;
    f->n_results = 1;
    if (!plain_image(f)) return tn_error();
    tni_image_point(f->image, &f->v);
    f->image->views[f->s->n_operands].data = tni_tensor_data(t);
    const tn_status status = kernel_run(f);
    plain_done(f);
    return status;
}

static tn_status call_view(tni_frame *f) {
    tn_tensor *base = f->v.operands[f->s->viewed];
    if (!tni_call_room(f, f->s->n_outputs)) return tn_error();
    for (uint32_t i = 0; i < f->s->n_outputs; i++) {
        tn_tensor *t = tni_tensor_view(base, &f->s->outputs[i].meta);
        if (!t) return tni_error_within(f->v.op->schema.name), tn_error();
        if (f->v.op->list_at >= 0) t->flags |= TNI_MULTI_VIEW;
        f->results[f->n_results++] = t;
    }
    tni_tape_viewed(base, f->results, f->n_results);
    return TN_OK;
}

static tn_status call_kind(tni_frame *f) {
    switch (f->s->kind) {
    case TNI_SIG_KERNEL:
        return call_kernel(f);
    case TNI_SIG_VIEW:
        return call_view(f);
    case TNI_SIG_DECOMPOSE:
        break;
    }
    return tni_decompose(f);
}

/* ---- The call -------------------------------------------------------------------------------- */

static const tni_op *find_op(tn_op_ref *ref, uint32_t n_outs) {
    if (!ref || !ref->name) {
        tn_raise(TN_ERR_INVALID, "an op was called without a name");
        return NULL;
    }
    const int32_t id = __atomic_load_n(&ref->id, __ATOMIC_RELAXED);
    const tni_op *op = id ? tni_registry_op(id) : tni_registry_find(ref->name);
    if (!op) {
        tni_ask_not_found(ref->name);
        return NULL;
    }
    if (id == 0) __atomic_store_n(&ref->id, op->id, __ATOMIC_RELAXED);
    if (n_outs == op->schema.n_visible) return op;
    tn_raise(TN_ERR_INVALID, "%s: has %u results, room was given for %u", op->schema.name,
             op->schema.n_visible, n_outs);
    return NULL;
}

/* Arguments as the contract normalised them, for decompositions and the tape. */
static void args_normalise(tni_frame *f) {
    for (uint32_t i = 0; i < f->v.op->n_args; i++) {
        if (f->v.op->types[i] > TNI_TENSORS && !(f->v.op->runtime_args >> i & 1))
            f->v.args[i] = f->s->args[i];
    }
}

/* What comes before and after a call of any kind. */
static tn_status call_found(tni_frame *f, tn_value *outs) {
    if (f->v.recording || f->s->kind != TNI_SIG_KERNEL) args_normalise(f);
    const uint32_t open = f->v.op->held_args & f->v.op->runtime_args;
    if (open && !tni_held_check(f->s, &f->v, open)) return tn_error();
    if (!rng_reserve(f) || !record_begin(f)) return tn_error();
    tn_status status = call_kind(f);
    if (status == TN_OK) status = record_finish(f);
    if (status == TN_OK) return results_give(f, outs);
    tni_tape_abandon(f->node);
    results_release(f);
    return status;
}

/* The same for a plain call. */
static tn_status call_found_plain(tni_frame *f, tn_value *outs) {
    if (f->v.recording) {
        args_normalise(f);
        if (!record_begin(f)) return tn_error();
    }
    tn_status status = call_plain(f);
    if (status == TN_OK) status = record_finish(f);
    if (status == TN_OK) {
        outs[0].tensor = tni_scope_own(f->few[0]);
        return outs[0].tensor ? TN_OK : tn_error();
    }
    tni_tape_abandon(f->node);
    results_release(f);
    return status;
}

/* Only a kernel alone can be sure that no other call takes its place in the cache meanwhile. */
static bool may_nest(const tni_frame *f) {
    return f->s->kind != TNI_SIG_KERNEL || f->s->prepares || f->v.op->schema.mutates ||
           (f->v.recording && tni_tls.saved);
}

tn_status tn_op_call(tn_op_ref *ref, const tn_value *args, uint32_t n_args, tn_value *outs,
                     uint32_t n_outs) {
    for (uint32_t i = 0; outs && i < n_outs && i < TNI_MAX_RESULTS; i++)
        outs[i] = tn_value_tensor(NULL);
    tni_state *st = tni_state_get();
    if (st->error != TN_OK) return st->error;
    if (__builtin_expect(st->head != 0, 0) && !tni_layers_passed(st))
        return tni_layers_call(ref, args, n_args, outs, n_outs);
    const tni_op *op = find_op(ref, n_outs);
    if (!op) return tn_error();
    if (!outs && n_outs > 0)
        return tn_raise(TN_ERR_INVALID, "%s: no room for its results", op->schema.name);
    tni_frame f;
    f.node = NULL;
    f.n_results = 0;
    f.workspace = NULL;
    f.has_rng = false;
    if (!tni_invocation_fill(&f.v, op, args, n_args)) return tn_error();
    f.s = tni_cache_find(&f.v, &f.seen);
    if (!f.s) return tn_error();
    const bool nest = may_nest(&f);
    if (nest) {
        tni_signature_retain(f.s);
        f.seen = NULL;
    }
    const tn_status status = f.s->plain ? call_found_plain(&f, outs) : call_found(&f, outs);
    if (nest) tni_signature_release(f.s);
    return status;
}
