/* ctx.c - see ctx.h. Kept values are handed out as fresh headers over their storage, after their
 * version was compared; when the backward is itself recorded they get their history back.
 *
 * Invariant: a header made here never lives in a node, so kept results make no cycle.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/ctx.h"

#include <stdio.h>
#include <string.h>

#include "core/autograd/engine.h"
#include "core/autograd/history.h"
#include "core/autograd/node.h"
#include "core/autograd/saved.h"
#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/dispatch/core_ops.h"
#include "core/dispatch/registry.h"
#include "core/schema/schema.h"
#include "core/tensor/format.h"
#include "core/tensor/scope.h"
#include "core/tensor/tensor.h"

static const char *op_name(const tn_grad_ctx *ctx) { return ctx->node->op->schema.name; }

static tn_status unknown(const tn_grad_ctx *ctx, const char *name, const char *wanted) {
    return tn_raise(TN_ERR_INVALID, "row '%s' has no %s named '%s'; its schema is %s", op_name(ctx),
                    wanted, name ? name : "(null)", tni_node_base(ctx->node)->row.schema);
}

/* ---- Finding slots by name ------------------------------------------------------------------ */

typedef struct named { /* the slots of one argument or result */
    tni_slot *slots;
    uint32_t n;
    bool list;
    bool result;
    bool kept;
} named;

static uint32_t result_slot(const tni_node *n, uint32_t index) {
    uint32_t slot = 0;
    if (n->n_results == n->op->schema.n_results) return index;
    while (slot < n->n_results && tni_node_result_index(n, slot) < index) slot++;
    return slot;
}

static inline bool find_argument(const tni_node *n, const tni_op *base, uint32_t arg, named *out) {
    const tni_type type = base->schema.params[arg].type;
    const tn_value *v = &n->values[arg];
    const bool absent = v->tag != TN_TAG_TENSOR && v->tag != TN_TAG_TENSORS;
    out->slots = n->slots + (absent ? 0 : v->i);
    out->n = absent ? 0 : v->aux;
    out->list = type == TNI_TENSORS;
    out->result = false;
    out->kept = base->keep_args >> arg & 1;
    return type == TNI_TENSOR || type == TNI_TENSORS;
}

static bool find_result(const tn_grad_ctx *ctx, const char *name, named *out) {
    const tni_node *n = ctx->node;
    const tni_op *base = tni_node_base(n);
    const int result = name ? tni_schema_result(&base->schema, name) : -1;
    if (result < 0) return !unknown(ctx, name, "tensor");
    const uint32_t first = result_slot(n, (uint32_t)result);
    out->slots = n->results + first;
    out->n = result_slot(n, (uint32_t)result + 1) - first;
    out->list = base->schema.results[result].list;
    out->result = true;
    out->kept = base->keep_results >> result & 1;
    return true;
}

/* False + error if there is no tensor of that name. */
static inline bool find(const tn_grad_ctx *ctx, const char *name, named *out) {
    const tni_node *n = ctx->node;
    const tni_op *base = tni_node_base(n);
    if (tni_pending()) return false;
    const int arg = name ? tni_schema_param(&base->schema, name) : -1;
    if (arg < 0 || (uint32_t)arg >= n->n_values) return find_result(ctx, name, out);
    return find_argument(n, base, (uint32_t)arg, out) || !unknown(ctx, name, "tensor");
}

/* ---- Gradients coming in -------------------------------------------------------------------- */

static bool has_result(const tn_grad_ctx *ctx, uint32_t i) {
    if (i < ctx->node->n_results) return true;
    tn_raise(TN_ERR_INVALID,
             "derivative of '%s' asks for the gradient of result %u, but there are %u",
             op_name(ctx), i, ctx->node->n_results);
    return false;
}

bool tni_ctx_grad_out_defined(tn_grad_ctx *ctx, uint32_t i) {
    return !tni_pending() && has_result(ctx, i) && ctx->node->results[i].grad;
}

tn_tensor *tni_ctx_grad_out(tn_grad_ctx *ctx, uint32_t i) {
    if (tni_pending() || !has_result(ctx, i)) return NULL;
    const tni_slot *s = &ctx->node->results[i];
    if (s->grad || s->flags & TNI_SLOT_ABSENT) return s->grad;
    tn_meta m;
    tni_slot_meta(s, &m);
    tn_tensor *zeros = tni_core_filled(&m, s->place, 0);
    return zeros ? tni_scope_own(zeros) : NULL;
}

/* ---- Kept values ---------------------------------------------------------------------------- */

/* A new header over the kept storage; refs 1. */
static tn_tensor *header(const tni_slot *s) {
    tn_tensor *t = tni_tensor_over(s->kept->storage);
    if (!t) return NULL;
    t->dtype = s->dtype;
    t->offset = s->kept->offset;
    t->rank = s->rank;
    t->numel = 1;
    if (s->flags & TNI_SLOT_CONTIGUOUS) t->flags |= TNI_CONTIGUOUS;
    if (s->flags & TNI_SLOT_WRAPPED) t->flags |= TNI_WRAPPED;
    for (int32_t i = 0; i < s->rank; i++) {
        t->sizes[i] = s->dims[i];
        t->strides[i] = s->dims[s->rank + i];
        t->numel *= s->dims[i]; /* cannot overflow: the tensor existed */
    }
    return t;
}

/* part belongs to result `out` of `node` by way of the view that was written in place. */
static bool attach_part(const tni_slices *slices, tn_tensor *part, tni_node *node, uint32_t out) {
    const tn_meta *m = &slices->region.whole;
    tn_tensor *whole = tni_tensor_new(part->dtype, 1, (const int64_t[]){0}, part->storage->place);
    if (!whole) return false;
    whole->rank = m->rank; /* only its geometry is asked for */
    for (int32_t i = 0; i < m->rank; i++) {
        whole->sizes[i] = m->sizes[i];
        whole->strides[i] = m->strides[i];
    }
    whole->offset = part->offset - slices->region.part.offset;
    tni_node_retain(node);
    tni_history_attach(whole, node, out);
    const bool ok = tni_history_attach_view(whole, part);
    tni_tensor_release(whole);
    return ok;
}

static bool attach_history(tni_node *n, const tni_slot *s, tn_tensor *t) {
    if (!tn_dtype_in(s->dtype, TN_MASK_FLOAT)) return true;
    const bool is_result = s >= n->results && s < n->results + n->n_results;
    const uint32_t at = (uint32_t)(s - (is_result ? n->results : n->slots));
    tni_node *node = is_result ? n : s->edge.kind == TNI_EDGE_NODE ? s->edge.node : NULL;
    const uint32_t out = is_result ? at : s->edge.out;
    if (!node) return true;
    if (n->slices && at == (is_result ? n->slices->result : n->slices->target))
        return attach_part(n->slices, t, node, out);
    tni_node_retain(node);
    tni_history_attach(t, node, out);
    return true;
}

/* Does the kept value still have the bytes it had? A recorded backward hands out a leaf itself, so
 * that one must be what was kept, and not be overwritten since by way of other memory's name. */
static bool is_intact(const tn_grad_ctx *ctx, const char *name, const tni_slot *s) {
    const tni_kept *k = s->kept;
    if (!k) {
        tn_raise(TN_ERR_INVALID,
                 "derivative of '%s' reads '%s' for a gradient that its row's keep does not name",
                 op_name(ctx), name);
        return false;
    }
    const bool leaf = ctx->task->create && s->edge.kind == TNI_EDGE_LEAF;
    const bool packed = s->flags & TNI_SLOT_PACKED;
    if (packed && !leaf) return true;
    tni_storage *storage = packed ? s->edge.leaf->storage : k->storage;
    if (!storage) {
        tn_raise(TN_ERR_INTERNAL, "'%s' was kept for backward, but is gone", name);
        return false;
    }
    const uint32_t now = atomic_load_explicit(&storage->version, memory_order_acquire);
    if (now == k->version && !(leaf && s->edge.leaf->storage != storage)) return true;
    tn_raise(TN_ERR_MODIFIED,
             "'%s' was kept for backward and then changed in place (it is at version %u, expected "
             "%u); change a clone of it instead, or use the op without underscore",
             name, now, k->version);
    return false;
}

static tn_tensor *unpack(tn_grad_ctx *ctx, const char *name, const tni_slot *s) {
    if (s->flags & TNI_SLOT_ABSENT || !is_intact(ctx, name, s)) return NULL;
    if (ctx->task->create && s->edge.kind == TNI_EDGE_LEAF) {
        tni_tensor_retain(s->edge.leaf);
        return tni_scope_own(s->edge.leaf);
    }
    if (s->flags & TNI_SLOT_PACKED) {
        tn_tensor *t = tni_saved_unpack(ctx->node, s, name);
        const bool history = t && ctx->task->create;
        return !history || attach_history(ctx->node, s, t) ? t : NULL;
    }
    tn_tensor *t = header(s);
    if (!t) return NULL;
    if (!ctx->task->create || attach_history(ctx->node, s, t)) return tni_scope_own(t);
    tni_tensor_release(t);
    return NULL;
}

static bool find_kept(tn_grad_ctx *ctx, const char *name, bool list, named *out) {
    if (!find(ctx, name, out)) return false;
    if (!out->kept) {
        tn_raise(TN_ERR_INVALID, "row '%s' does not keep '%s': add it to keep(...)", op_name(ctx),
                 name);
        return false;
    }
    if (out->list == list) return true;
    tn_raise(TN_ERR_INVALID, "row '%s': '%s' is %s; ask with grad_saved%s", op_name(ctx), name,
             list ? "one tensor" : "a list", list ? "" : "_list");
    return false;
}

tn_tensor *tni_ctx_grad_saved(tn_grad_ctx *ctx, const char *name) {
    named f;
    return find_kept(ctx, name, false, &f) && f.n ? unpack(ctx, name, f.slots) : NULL;
}

tn_tensors tni_ctx_grad_saved_list(tn_grad_ctx *ctx, const char *name) {
    static const tn_tensors none = {NULL, 0};
    named f;
    if (!find_kept(ctx, name, true, &f) || !f.n) return none;
    tn_tensor **list = tn_scope_alloc(f.n * sizeof *list);
    if (!list) return none;
    for (uint32_t i = 0; i < f.n; i++) {
        list[i] = unpack(ctx, name, &f.slots[i]);
        if (tni_pending()) return none;
    }
    return (tn_tensors){list, f.n};
}

/* ---- Everything else ------------------------------------------------------------------------ */

tn_status tni_ctx_grad_meta(tn_grad_ctx *ctx, const char *name, tn_meta *out) {
    return tni_ctx_grad_meta_at(ctx, name, 0, out);
}

uint32_t tni_ctx_grad_count(tn_grad_ctx *ctx, const char *name) {
    named f;
    if (!find(ctx, name, &f)) return 0;
    return f.n == 1 && !f.list && f.slots->flags & TNI_SLOT_ABSENT ? 0 : f.n;
}

/* Tensor i of an argument or result; NULL + error if there is none. */
static const tni_slot *slot_at(tn_grad_ctx *ctx, const char *name, uint32_t i) {
    named f;
    if (!find(ctx, name, &f)) return NULL;
    if (i < f.n && !(f.slots[i].flags & TNI_SLOT_ABSENT)) return &f.slots[i];
    if (f.list && f.n && i >= f.n)
        tn_raise(TN_ERR_INVALID, "row '%s': '%s' has %u tensors in this call, not %u", op_name(ctx),
                 name, f.n, i + 1);
    else
        tn_raise(TN_ERR_INVALID, "row '%s': '%s' is absent in this call", op_name(ctx), name);
    return NULL;
}

tn_status tni_ctx_grad_meta_at(tn_grad_ctx *ctx, const char *name, uint32_t i, tn_meta *out) {
    const tni_slot *s = slot_at(ctx, name, i);
    memset(out, 0, sizeof *out);
    if (s) tni_slot_meta(s, out);
    return s ? TN_OK : tni_pending();
}

tn_status tni_ctx_grad_device(tn_grad_ctx *ctx, const char *name, tn_device *out) {
    const tni_slot *s = slot_at(ctx, name, 0);
    *out = s ? s->place->device : (tn_device){0, 0};
    return s ? TN_OK : tni_pending();
}

tn_value tni_ctx_grad_arg(tn_grad_ctx *ctx, const char *name) {
    const tni_node *n = ctx->node;
    const tni_schema *schema = &tni_node_base(n)->schema;
    if (tni_pending()) return tn_value_none();
    const int i = name ? tni_schema_param(schema, name) : -1;
    const tni_type type = i < 0 ? TNI_TENSOR : schema->params[i].type;
    if (i < 0 || (uint32_t)i >= n->n_values || type == TNI_TENSOR || type == TNI_TENSORS) {
        unknown(ctx, name, "argument that is no tensor");
        return tn_value_none();
    }
    if (type == TNI_GENERATOR)
        return n->flags & TNI_NODE_RNG ? tn_value_rng(&n->rng) : tn_value_none();
    return n->values[i];
}

bool tni_ctx_grad_needs(tn_grad_ctx *ctx, const char *name) {
    named f;
    if (!find(ctx, name, &f) || f.result) return false;
    for (uint32_t i = 0; i < f.n; i++)
        if (tni_task_needs(ctx->task, &f.slots[i].edge)) return true;
    return false;
}

/* ---- Gradients going out -------------------------------------------------------------------- */

/* A number stands for itself everywhere. */
static bool is_number(const tn_tensor *g) {
    return (g->flags & TNI_WRAPPED) && !(g->flags & TNI_REQUIRES_GRAD) && g->rank == 0;
}

/* Summing g over the dims that were broadcast gives the argument's shape. */
static bool sums_to(const tn_tensor *g, const tni_slot *s) {
    if (g->rank < s->rank) return false;
    for (int32_t i = 0; i < s->rank; i++) {
        const int64_t have = g->sizes[g->rank - s->rank + i];
        if (have != s->dims[i] && s->dims[i] != 1) return false;
    }
    return true;
}

static bool fits(const tn_grad_ctx *ctx, const char *name, const tn_tensor *g, const tni_slot *s) {
    tn_meta want, have;
    char want_text[256], have_text[256];
    const bool floating = tn_dtype_in(g->dtype, TN_MASK_FLOAT);
    const bool here = tni_same_device(g->storage->place, s->place);
    if (is_number(g) || (floating && here && sums_to(g, s))) return true;
    tni_slot_meta(s, &want);
    tni_tensor_meta(g, &have);
    tni_shape_text(&want, want_text, sizeof want_text);
    tni_shape_text(&have, have_text, sizeof have_text);
    if (!floating || !here)
        tn_raise(floating ? TN_ERR_DEVICE : TN_ERR_DTYPE,
                 "derivative of '%s': the gradient %s for argument '%s' %s is %s", op_name(ctx),
                 have_text, name, want_text,
                 floating ? "on another device" : "not of a floating dtype");
    else
        tn_raise(TN_ERR_SHAPE,
                 "derivative of '%s': the gradient %s for argument '%s' cannot be summed to %s; "
                 "give the shape of the "
                 "argument, or of the result it was broadcast to",
                 op_name(ctx), have_text, name, want_text);
    return false;
}

static void set(tn_grad_ctx *ctx, const char *name, tni_slot *s, tn_tensor *g) {
    if (!g || s->flags & TNI_SLOT_ABSENT || !tni_task_needs(ctx->task, &s->edge)) return;
    if (!tni_tensor_check(g, op_name(ctx), name) || !fits(ctx, name, g, s)) return;
    if (s->grad) {
        tn_raise(TN_ERR_INVALID, "derivative of '%s' sets the gradient of '%s' twice", op_name(ctx),
                 name);
        return;
    }
    tni_tensor_retain(g);
    s->grad = g;
}

void tni_ctx_grad_set(tn_grad_ctx *ctx, const char *name, tn_tensor *grad) {
    tni_ctx_grad_set_list(ctx, name, (tn_tensors){&grad, 1});
}

void tni_ctx_grad_set_list(tn_grad_ctx *ctx, const char *name, tn_tensors grads) {
    named f;
    if (!find(ctx, name, &f)) return;
    if (f.result) {
        unknown(ctx, name, "argument");
        return;
    }
    if (f.n == 0 && !f.list) return; /* absent */
    if (grads.n != f.n || (grads.n && !grads.ptr)) {
        tn_raise(TN_ERR_INVALID,
                 "derivative of '%s' sets %lld gradients for '%s', which has %u tensors",
                 op_name(ctx), (long long)grads.n, name, f.n);
        return;
    }
    for (uint32_t i = 0; i < f.n && !tni_pending(); i++) set(ctx, name, &f.slots[i], grads.ptr[i]);
}
