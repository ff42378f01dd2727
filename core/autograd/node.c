/* node.c - making, filling and destroying tape nodes.
 *
 * Invariants: recording does no heap call once the slabs are warm; destruction never recurses,
 * however deep the graph.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/node.h"

#include <string.h>

#include "core/autograd/extra.h"
#include "core/autograd/history.h"
#include "core/autograd/saved.h"
#include "core/base/geometry.h"
#include "core/base/heap.h"
#include "core/dispatch/core_ops.h"
#include "core/memory/memory_cache.h"
#include "core/memory/slab.h"

/* ---- Blocks --------------------------------------------------------------------------------- */

#define SLAB(bytes)                                                                                \
    { bytes, "autograd " #bytes, NULL }
static tni_slab slabs[] = {SLAB(256), SLAB(384),  SLAB(512),  SLAB(640),
                           SLAB(768), SLAB(1024), SLAB(2048), SLAB(4096)};

static tni_slab *slab_for(uint64_t bytes) {
    for (uint32_t i = 0; i < sizeof slabs / sizeof *slabs; i++)
        if (bytes <= slabs[i].object_bytes) return &slabs[i];
    return NULL;
}

void *tni_block_get(uint64_t bytes) {
    tni_slab *slab = slab_for(bytes);
    return slab ? tni_slab_get(slab) : tni_alloc(bytes);
}

void tni_block_put(void *block, uint64_t bytes) {
    if (!block) return;
    tni_slab *slab = slab_for(bytes);
    if (slab)
        tni_slab_put(slab, block);
    else
        tni_free(block);
}

/* ---- Measuring ------------------------------------------------------------------------------ */

typedef struct layout {
    uint64_t n_slots;
    uint64_t n_kept;
    uint64_t n_dims;   /* sizes and strides of arguments */
    uint64_t n_copied; /* 8-byte words of lists and strings */
    uint64_t rank;     /* greatest */
} layout;

static void measure_tensor(layout *l, const tn_tensor *t, bool kept) {
    l->n_slots++;
    if (!t) return;
    const uint64_t rank = (uint64_t)t->rank;
    l->n_kept += kept;
    l->n_dims += kept ? 2 * rank : rank;
    if (rank > l->rank) l->rank = rank;
}

static void measure(layout *l, const tn_value *v, bool kept) {
    switch (v->tag) {
    case TN_TAG_TENSOR:
        measure_tensor(l, v->tensor, kept);
        break;
    case TN_TAG_TENSORS:
        for (uint32_t i = 0; i < v->aux; i++) measure_tensor(l, v->tensors[i], kept);
        break;
    case TN_TAG_INTS:
    case TN_TAG_FLOATS:
        l->n_copied += v->aux;
        break;
    case TN_TAG_STR:
    case TN_TAG_BOOLS:
        l->n_copied += (uint64_t)v->aux / 8 + 1;
        break;
    default:
        break;
    }
}

/* One block for all of it; only the head is filled. Results are guessed to be as many as the schema
 * says, and of no greater rank than the arguments. */
static tni_node *node_block(const tni_op *op, uint32_t n_args, const layout *l) {
    const uint32_t keep = (op->base ? op->base : op)->keep_results;
    const uint64_t n_results = op->schema.n_results;
    const uint64_t n_kept = l->n_kept + (keep ? n_results : 0);
    const uint64_t n_dims = l->n_dims + n_results * l->rank * (keep ? 2 : 1);
    const uint64_t bytes = sizeof(tni_node) + (l->n_slots + n_results) * sizeof(tni_slot) +
                           n_kept * sizeof(tni_kept) + n_args * sizeof(tn_value) +
                           (l->n_copied + n_dims) * 8;
    if (l->n_slots > UINT32_MAX || bytes > UINT32_MAX) return NULL;
    tni_node *n = tni_block_get(bytes);
    if (!n) return NULL;
    atomic_store_explicit(&n->refs, 1, memory_order_relaxed);
    n->bytes = (uint32_t)bytes;
    n->op = op;
    n->extra = NULL;
    n->slots = (tni_slot *)(n + 1);
    n->results = n->slots + l->n_slots;
    n->room_results = (uint32_t)n_results;
    n->kept = (tni_kept *)(n->results + n_results);
    n->room_kept = (uint32_t)n_kept;
    n->values = (tn_value *)(n->kept + n_kept);
    n->dims = (int64_t *)(n->values + n_args) + l->n_copied;
    n->room_dims = (uint32_t)n_dims;
    n->seq = ++tni_tls.node_seq;
    tni_count_change(TNI_COUNT_NODES, 1);
    return n;
}

/* ---- Filling -------------------------------------------------------------------------------- */

static inline const int64_t *take_dims(tni_node *n, const tn_tensor *t, bool kept) {
    int64_t *dims = n->dims;
    for (int32_t i = 0; i < t->rank; i++) dims[i] = t->sizes[i];
    for (int32_t i = 0; kept && i < t->rank; i++) dims[t->rank + i] = t->strides[i];
    const uint32_t used = (uint32_t)t->rank * (kept ? 2 : 1);
    n->dims += used;
    n->room_dims -= used;
    return dims;
}

/* False + error only if a saved-tensor hook failed. */
static inline bool keep_value(tni_node *n, tni_slot *s, tn_tensor *t) {
    tni_kept *k = s->kept = n->kept++;
    n->room_kept--;
    n->flags |= TNI_NODE_KEEPS;
    k->storage = NULL;
    k->version = atomic_load_explicit(&t->storage->version, memory_order_acquire);
    if (tni_tls.saved && !(t->flags & TNI_WRAPPED)) return tni_saved_pack(n, s, t);
    tni_storage_retain(t->storage);
    k->storage = t->storage;
    k->offset = t->offset;
    return true;
}

/* The edge, if there is one, comes later. False + error as above. */
static inline bool slot_fill(tni_node *n, tni_slot *s, tn_tensor *t, bool kept) {
    s->edge.kind = TNI_EDGE_NONE;
    s->grad = NULL;
    s->kept = NULL;
    s->flags = TNI_SLOT_ABSENT;
    if (!t) return true;
    s->flags = (uint16_t)((t->flags & TNI_WRAPPED ? TNI_SLOT_WRAPPED : 0u) |
                          (t->flags & TNI_CONTIGUOUS ? TNI_SLOT_CONTIGUOUS : 0u));
    s->place = t->storage->place;
    s->dtype = t->dtype;
    s->rank = (int16_t)t->rank;
    s->dims = take_dims(n, t, kept);
    return !kept || keep_value(n, s, t);
}

static bool shares_storage(const tn_value *v, const tni_storage *s) {
    if (v->tag == TN_TAG_TENSOR) return v->tensor && v->tensor->storage == s;
    if (v->tag != TN_TAG_TENSORS) return false;
    for (uint32_t i = 0; i < v->aux; i++)
        if (v->tensors[i] && v->tensors[i]->storage == s) return true;
    return false;
}

/* Will this call overwrite t? Then what is kept of it must be a copy. */
static bool will_change(const tni_op *op, const tn_value *args, uint32_t n_args,
                        const tn_tensor *t) {
    for (uint32_t i = 0; op->schema.mutates && i < n_args; i++)
        if (op->schema.params[i].mutated && shares_storage(&args[i], t->storage)) return true;
    return false;
}

typedef struct filler {
    tni_node *node;
    const tn_value *args;
    uint32_t n_args;
    uint32_t keep;   /* bit i: argument i is kept */
    int64_t *copied; /* next free word for lists */
} filler;

/* What is kept of t: a copy if this call will overwrite it. NULL + error. */
static tn_tensor *to_keep(const filler *f, tn_tensor *t) {
    if (!will_change(f->node->op, f->args, f->n_args, t)) {
        tni_tensor_retain(t);
        return t;
    }
    tn_tensor *copy = tni_core_copy(t);
    if (copy && t->flags & TNI_WRAPPED) copy->flags |= TNI_WRAPPED;
    return copy;
}

static bool add_slot(filler *f, tn_tensor *t, uint32_t param) {
    tni_node *n = f->node;
    const bool kept = f->keep >> param & 1;
    const bool mutates = n->op->schema.mutates;
    tn_tensor *source = t && kept && mutates ? to_keep(f, t) : t;
    if (t && !source) return false;
    tni_slot *s = &n->slots[n->n_slots++];
    const bool filled = slot_fill(n, s, source, kept);
    if (source && kept && mutates) tni_tensor_release(source);
    if (!t || !filled) return filled;
    if (mutates && n->op->returned_args >> param & 1) s->target = t;
    if (!tni_history_edge(t, &s->edge)) return false;
    tni_node_follow(n, &s->edge);
    return true;
}

static void copy_words(filler *f, tn_value *out, const void *from, uint64_t bytes, uint64_t words) {
    if (bytes) memcpy(f->copied, from, bytes);
    if (out->tag == TN_TAG_STR) ((char *)f->copied)[bytes] = 0;
    out->ints = f->copied; /* the union's pointers are one address */
    f->copied += words;
}

static bool add_value(filler *f, uint32_t param) {
    tni_node *n = f->node;
    const tn_value *v = &f->args[param];
    tn_value *out = &n->values[param];
    *out = *v;
    n->n_values++;
    if (v->tag == TN_TAG_TENSOR || v->tag == TN_TAG_TENSORS) {
        if (v->tag == TN_TAG_TENSOR) out->aux = 1;
        out->i = n->n_slots;
        if (v->tag == TN_TAG_TENSOR) return add_slot(f, v->tensor, param);
        for (uint32_t i = 0; i < v->aux; i++)
            if (!add_slot(f, v->tensors[i], param)) return false;
    } else if (v->tag == TN_TAG_INTS || v->tag == TN_TAG_FLOATS) {
        copy_words(f, out, v->ints, (uint64_t)v->aux * 8, v->aux);
    } else if (v->tag == TN_TAG_STR || v->tag == TN_TAG_BOOLS) {
        copy_words(f, out, v->str, v->aux, (uint64_t)v->aux / 8 + 1);
    } else if (v->tag == TN_TAG_RNG && v->rng) {
        n->rng = *v->rng;
        n->flags |= TNI_NODE_RNG;
    }
    return true;
}

/* Bit i: argument i is read for a gradient that is wanted. */
static uint32_t kept_args(const tni_op *op, const tn_value *args, uint32_t n_args) {
    uint32_t keep = op->keep_args, gradients = 0;
    if (!op->keep_some) return keep;
    for (uint32_t i = 0; i < n_args; i++)
        gradients |= (uint32_t)tni_history_wanted_of(&args[i]) << i;
    for (uint32_t i = 0; i < n_args; i++)
        if (!(op->readers[i] & gradients)) keep &= ~(1u << i);
    return keep;
}

tni_node *tni_node_new(const tni_op *op, const tn_value *args, uint32_t n_args, const tn_rng *rng) {
    layout l = {0};
    if (n_args > op->schema.n_params) n_args = op->schema.n_params;
    const uint32_t keep = kept_args(op->base ? op->base : op, args, n_args);
    for (uint32_t i = 0; i < n_args; i++) measure(&l, &args[i], keep >> i & 1);
    tni_node *n = node_block(op, n_args, &l);
    if (!n) {
        tn_raise(TN_ERR_NOMEM, "no memory to record '%s' for backward", op->schema.name);
        return NULL;
    }
    filler f = {n, args, n_args, keep, n->dims - l.n_copied};
    for (uint32_t i = 0; i < n_args; i++) {
        if (add_value(&f, i)) continue;
        tni_node_release(n);
        return NULL;
    }
    if (rng) {
        n->rng = *rng;
        n->flags |= TNI_NODE_RNG;
    }
    return n;
}

/* ---- Results -------------------------------------------------------------------------------- */

uint32_t tni_node_result_index(const tni_node *n, uint32_t slot) {
    const uint32_t in_schema = n->op->schema.n_results;
    if (n->n_results == in_schema) return slot;
    for (uint32_t i = 0; i < in_schema; i++) {
        const uint32_t count = n->op->schema.results[i].list ? n->n_results + 1 - in_schema : 1;
        if (slot < count) return i;
        slot -= count;
    }
    return in_schema ? in_schema - 1 : 0;
}

static bool results_room(tni_node *n, tn_tensor *const *results, uint32_t n_results, bool keep) {
    uint64_t n_dims = 0;
    for (uint32_t i = 0; i < n_results; i++)
        if (results[i]) n_dims += (keep ? 2 : 1) * (uint64_t)results[i]->rank;
    const uint32_t n_kept = keep ? n_results : 0;
    if (n_results <= n->room_results && n_dims <= n->room_dims && n_kept <= n->room_kept)
        return true;
    const uint64_t bytes = n_results * sizeof(tni_slot) + n_kept * sizeof(tni_kept) + n_dims * 8;
    if (n_dims > UINT32_MAX) return false;
    n->more = tni_block_get(bytes);
    if (!n->more) return false;
    n->more_bytes = bytes;
    n->results = n->more;
    n->kept = (tni_kept *)(n->results + n_results);
    n->dims = (int64_t *)(n->kept + n_kept);
    n->room_kept = n_kept;
    n->room_dims = (uint32_t)n_dims;
    return true;
}

bool tni_node_results(tni_node *n, tn_tensor *const *results, uint32_t n_results) {
    const uint32_t keep = tni_node_base(n)->keep_results;
    if (!results_room(n, results, n_results, keep != 0)) {
        tn_raise(TN_ERR_NOMEM, "no memory to record '%s' for backward", n->op->schema.name);
        return false;
    }
    for (uint32_t i = 0; i < n_results; i++) {
        n->n_results = i + 1;
        const bool kept = keep && keep >> tni_node_result_index(n, i) & 1;
        if (!slot_fill(n, &n->results[i], results[i], kept)) return false;
    }
    n->n_results = n_results;
    return true;
}

void tni_slot_meta(const tni_slot *s, tn_meta *out) {
    memset(out, 0, sizeof *out);
    out->dtype = s->dtype;
    out->rank = s->rank;
    const size_t bytes = (size_t)s->rank * sizeof *s->dims;
    if (bytes) memcpy(out->sizes, s->dims, bytes);
    if (!s->kept)
        tni_row_major(s->dims, s->rank, out->strides);
    else if (bytes)
        memcpy(out->strides, s->dims + s->rank, bytes);
}

/* ---- The end -------------------------------------------------------------------------------- */

static void forget(tni_node *node, tni_slot *slots, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        tni_kept *k = slots[i].kept;
        if (slots[i].flags & TNI_SLOT_PACKED) {
            tni_saved_drop(node, &slots[i]);
        } else if (k && k->storage) {
            tni_storage *s = k->storage;
            k->storage = NULL;
            tni_storage_release(s);
        }
    }
}

void tni_node_forget(tni_node *n) {
    if (!(n->flags & TNI_NODE_KEEPS)) return;
    forget(n, n->slots, n->n_slots);
    forget(n, n->results, n->n_results);
    n->flags |= TNI_NODE_CONSUMED;
}

static void destroy(tni_node *n) {
    if (!(n->flags & TNI_NODE_CONSUMED)) tni_node_forget(n);
    if (n->extra) tni_extra_free(n->extra);
    for (uint32_t i = 0; i < n->n_slots; i++) tni_edge_release(&n->slots[i].edge);
    if (n->slices) tni_block_put(n->slices, sizeof *n->slices);
    if (n->more) tni_block_put(n->more, n->more_bytes);
    tni_block_put(n, n->bytes);
    tni_count_change(TNI_COUNT_NODES, -1);
}

void tni_node_retain(tni_node *n) { atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed); }

/* Destroying a node drops edges, which may drop nodes, also by way of a leaf and its gradient: all
 * of them queue up for the outermost call on this thread. */
void tni_node_release(tni_node *n) {
    if (!n || !tni_ref_drop(&n->refs)) return;
    tni_state *st = tni_state_get(); /* now: a thread's first use clears all of it */
    n->next_dying = st->dying;
    st->dying = n;
    if (st->destroying) return;
    st->destroying = true;
    while ((n = st->dying)) {
        st->dying = n->next_dying;
        destroy(n);
    }
    st->destroying = false;
}
