/* layers.c - the layers of a thread: who is asked in a call, and who looks on.
 *
 *     layering.all ->  [ innermost ] -> [ ] -> [ outermost ] -> the call itself
 *     layering.next -> the first of them that sees the next call
 *
 * A call enters at `next`. While a layer's turn lasts, `next` is the one below it; once all have
 * passed the call on, `next` is where it entered, for the calls it is made of. Invariant: `next`
 * is in `all`, so nothing recurses through the same layer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/layers.h"

#include <string.h>

#include "core/autograd/visit.h"
#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/dispatch/call.h"
#include "core/dispatch/plugins.h"
#include "core/tensor/watch.h"

typedef struct tni_layer tni_layer;
struct tni_layer {
    tn_layer table; /* a copy, whole */
    const tn_layer *given;
    tni_layer *below;
};

typedef struct tni_turn { /* of a layer, in a call */
    const tni_layer *layer;
    const tni_op *op;
    tni_layer *entry; /* where the call entered */
    uint32_t within;  /* what it is part of: TN_LAYER_* */
} tni_turn;

/* ---- The stack ------------------------------------------------------------------------------- */

static void mark_head(tni_state *st) {
    st->head &= (uint8_t) ~(TNI_HEAD_LAYERS | TNI_HEAD_WATCHED);
    if (st->layering.all) st->head |= TNI_HEAD_LAYERS;
    for (const tni_layer *l = st->layering.all; l; l = l->below)
        if (l->table.run || l->table.ran) st->head |= TNI_HEAD_WATCHED;
}

static void drop_innermost(tni_state *st) {
    tni_layer *l = st->layering.all;
    st->layering.all = st->layering.next = l->below;
    tni_free(l);
    mark_head(st);
}

void tni_layers_unwind(tni_state *st) {
    while (st->layering.all != st->layering.floor) drop_innermost(st);
}

static void thread_ends(tni_state *st) {
    while (st->layering.all) drop_innermost(st);
}

/* While a layer stands in a call, the stack is not to be changed. False + error. */
static bool may_change(const tni_state *st, const char *where) {
    const tni_layering *l = &st->layering;
    if (!l->turn && !l->onlooker && l->next == l->all) return true;
    tn_raise(TN_ERR_INVALID,
             "%s: the layer '%s' stands in a call; change layers before or after it", where,
             l->onlooker ? l->onlooker->table.name
             : l->turn   ? l->turn->layer->table.name
                         : l->all->table.name);
    return false;
}

static bool is_there(const tni_state *st, const tn_layer *table) {
    const tni_layer *l = st->layering.all;
    while (l && l->given != table) l = l->below;
    return l != NULL;
}

static bool well_formed(const tn_layer *table) {
    if (table && table->size >= offsetof(tn_layer, run) && table->name) return true;
    tn_raise(TN_ERR_INVALID, "tn_layer_push: %s",
             !table ? "the layer is NULL"
             : table->size < offsetof(tn_layer, run)
                 ? "size is too small; set it to sizeof(tn_layer)"
                 : "the layer has no name");
    return false;
}

tn_status tn_layer_push(const tn_layer *table) {
    tni_state *st = tni_state_get();
    if (st->error || tni_forked() || !well_formed(table) || !may_change(st, "tn_layer_push"))
        return tn_error();
    if (is_there(st, table))
        return tn_raise(TN_ERR_INVALID, "tn_layer_push: the layer '%s' is there already",
                        table->name);
    tni_layer *l = tni_alloc(sizeof *l);
    if (!l) return tn_raise(TN_ERR_NOMEM, "tn_layer_push: no memory for '%s'", table->name);
    memcpy(&l->table, table, table->size < sizeof *table ? table->size : sizeof *table);
    l->given = table;
    l->below = st->layering.all;
    tni_state_at_end(TNI_END_LAYERS, thread_ends);
    st->layering.all = st->layering.next = l;
    mark_head(st);
    return TN_OK;
}

bool tni_layers_drop(const tn_layer *table, const char *where) {
    tni_state *st = tni_state_get();
    const tni_layering *l = &st->layering;
    if (!is_there(st, table)) return true;
    if (!may_change(st, where)) return false;
    if (l->all->given == table && l->all != l->floor) return drop_innermost(st), true;
    if (l->all->given != table)
        tn_raise(TN_ERR_INVALID, "%s: '%s' is not the innermost layer, '%s' is", where, table->name,
                 l->all->table.name);
    else
        tn_raise(TN_ERR_INVALID,
                 "%s: the layer '%s' was pushed outside of the function that the library runs; pop "
                 "it there",
                 where, table->name);
    return false;
}

tn_status tn_layer_pop(const tn_layer *table) {
    if (!table || !is_there(tni_state_get(), table))
        return tn_raise(TN_ERR_INVALID, "tn_layer_pop: this thread has no such layer");
    tni_layers_drop(table, "tn_layer_pop");
    return tn_error();
}

/* ---- Calls ----------------------------------------------------------------------------------- */

/* The op of a call with room for its results; else NULL. */
static const tni_op *find(tn_op_ref *ref, const tn_value *outs, uint32_t n_outs) {
    const int32_t id = ref ? __atomic_load_n(&ref->id, __ATOMIC_RELAXED) : 0;
    const tni_op *op = id                 ? tni_registry_op(id)
                       : ref && ref->name ? tni_registry_find(ref->name)
                                          : NULL;
    return op && op->schema.n_visible == n_outs && (outs || n_outs == 0) ? op : NULL;
}

/* What the schema says of a call's i-th result, those not shown left out. */
static const tni_result *visible_result(const tni_op *op, uint32_t i) {
    const tni_result *r = op->schema.results;
    while (r->kind != TNI_VISIBLE || i-- > 0) r++;
    return r;
}

/* A result that is no live tensor: is it a list, or one that may be absent? Raises what is wrong. */
__attribute__((noinline, cold)) static tn_status other_answer(const tni_turn *turn,
                                                              const tn_value *v, uint32_t i) {
    const tni_result *r = visible_result(turn->op, i);
    const bool list = r->list && v->tag == TN_TAG_TENSORS && (v->tensors || v->aux == 0);
    const bool tensor = !r->list && v->tag == TN_TAG_TENSOR;
    if (list || (tensor && !v->tensor && r->optional)) return TN_OK;
    if (tensor && v->tensor) /* dropped meanwhile */
        return tni_tensor_check(v->tensor, turn->op->schema.name, "a result from a layer")
                   ? TN_OK
                   : tni_pending();
    return tn_raise(TN_ERR_INVALID,
                    "%s: the layer '%s' returned without an answer; fill all results, or pass the "
                    "call on",
                    turn->op->schema.name, turn->layer->table.name);
}

/* A layer that says it is done has filled all results. */
static tn_status settle(const tni_turn *turn, const tn_value *outs, uint32_t n_outs,
                        tn_status status) {
    if (tni_tls.error) return tni_tls.error;
    if (status != TN_OK)
        return tn_raise(status, "%s: the layer '%s' failed and gave no reason",
                        turn->op->schema.name, turn->layer->table.name);
    for (uint32_t i = 0; i < n_outs; i++) {
        const bool tensor = outs[i].tag == TN_TAG_TENSOR && outs[i].tensor &&
                            outs[i].tensor->state == TNI_TENSOR_LIVE;
        if (!tensor && other_answer(turn, &outs[i], i)) return tni_pending();
    }
    return TN_OK;
}

static tni_layer *wanting(tni_layer *l, uint32_t within) {
    while (l && (!l->table.call || within & ~l->table.flags)) l = l->below;
    return l;
}

/* The call itself, whose parts enter where it did. */
static tn_status into_core(const tni_turn *call, tn_op_ref *ref, const tn_value *args,
                           uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tni_layering *l = &tni_state_get()->layering;
    const tni_turn *const turn = l->turn;
    tni_layer *const next = l->next;
    const uint32_t within = l->within;
    l->turn = NULL;
    l->next = call->entry;
    l->within = call->within | TN_LAYER_PARTS;
    l->passed_all = true;
    const tn_status status = tn_op_call(ref, args, n_args, outs, n_outs);
    l->passed_all = false; /* it may have failed on the way */
    l->turn = turn;
    l->next = next;
    l->within = within;
    return status;
}

/* It is l's turn. What the layer changes of the thread ends with it. */
static tn_status ask(tni_layer *l, tni_turn turn, tn_op_ref *ref, const tn_value *args,
                     uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    tni_state *st = tni_state_get();
    const tni_turn *const outer = st->layering.turn;
    tni_layer *const next = st->layering.next;
    turn.layer = l;
    turn.op = find(ref, outs, n_outs);
    if (!turn.op) return into_core(&turn, ref, args, n_args, outs, n_outs); /* it says why */
    const tni_visit visit = tni_visit_begin();
    st->layering.turn = &turn;
    st->layering.next = l->below;
    const tn_status status = l->table.call(l->table.user, ref, args, n_args, outs, n_outs);
    st->layering.turn = outer;
    st->layering.next = next;
    tni_visit_end(&visit);
    return settle(&turn, outs, n_outs, status);
}

/* An op that a kernel, or a layer that looks on, has called. */
static void refuse(const tn_op_ref *ref) {
    const tni_state *st = tni_state_get();
    const char *op = ref && ref->name ? ref->name : "?";
    const tni_layer *l = st->layering.onlooker;
    if (l)
        tn_raise(TN_ERR_INVALID,
                 "%s: called by the layer '%s' while it looks on; only its `call` "
                 "may call ops",
                 op, l->table.name);
    else
        tn_raise(TN_ERR_INVALID,
                 "%s: called by the kernel of '%s' of plugin '%s'; kernels call no ops, "
                 "decompositions do",
                 op, st->last_kernel->op, st->last_kernel->plugin);
}

/* May this thread call ops? Once it may, only layers are left in its head. */
static bool may_call(tni_state *st, const tn_op_ref *ref) {
    if (st->head & TNI_HEAD_WORKER) {
        tn_raise(TN_ERR_INVALID, "an op was called from inside a parallel loop; call it from the "
                                 "thread that started the loop");
        return false;
    }
    if (st->head & TNI_HEAD_KERNEL) return refuse(ref), false;
    if (st->head & TNI_HEAD_CLOSED) {
        if (tni_forked() || !tni_plugins_ready()) return false;
        st->head &= (uint8_t)~TNI_HEAD_CLOSED;
    }
    return true;
}

tn_status tni_layers_call(tn_op_ref *ref, const tn_value *args, uint32_t n_args, tn_value *outs,
                          uint32_t n_outs) {
    tni_state *st = tni_state_get();
    if (!may_call(st, ref)) return tn_error();
    if (st->head == 0) return tn_op_call(ref, args, n_args, outs, n_outs);
    const tni_turn call = {.entry = st->layering.next, .within = st->layering.within};
    tni_layer *l = wanting(call.entry, call.within);
    return l ? ask(l, call, ref, args, n_args, outs, n_outs)
             : into_core(&call, ref, args, n_args, outs, n_outs);
}

tn_status tn_layer_pass(tn_op_ref *ref, const tn_value *args, uint32_t n_args, tn_value *outs,
                        uint32_t n_outs) {
    tni_state *st = tni_state_get();
    const tni_turn *turn = st->layering.turn;
    if (!turn) return tn_raise(TN_ERR_INVALID, "tn_layer_pass: no layer stands in a call here");
    if (st->head & TNI_HEAD_KERNEL) return refuse(ref), tn_error();
    tni_layer *l = st->error ? NULL : wanting(turn->layer->below, turn->within);
    return l ? ask(l, *turn, ref, args, n_args, outs, n_outs)
             : into_core(turn, ref, args, n_args, outs, n_outs);
}

const tn_layers *tni_layers_table(void) {
    static const tn_layers table = {.size = sizeof(tn_layers),
                                    .push = tn_layer_push,
                                    .pop = tn_layer_pop,
                                    .pass = tn_layer_pass};
    return &table;
}

/* ---- Looking on ------------------------------------------------------------------------------ */

/* Ops are refused while a layer looks on. Returns the head as it was. */
static uint8_t look_begin(tni_state *st, const tni_layer *l) {
    const uint8_t head = st->head;
    st->layering.onlooker = l;
    st->head = head | TNI_HEAD_KERNEL;
    return head;
}

static void look_end(tni_state *st, uint8_t head) {
    st->layering.onlooker = NULL;
    st->head = head;
}

static tn_status run_begins(tni_state *st, const tni_layer *l, const tn_run *run) {
    if (!l->table.run) return TN_OK;
    const uint8_t head = look_begin(st, l);
    const tn_status status = l->table.run(l->table.user, run);
    look_end(st, head);
    if (status != TN_OK)
        tn_raise(status, "%s: the layer '%s' refused the kernel and gave no reason", run->op,
                 l->table.name);
    return tni_pending();
}

static void run_ended(tni_state *st, const tni_layer *l, const tn_run *run) {
    if (!l->table.ran) return;
    const uint8_t head = look_begin(st, l);
    l->table.ran(l->table.user, run);
    look_end(st, head);
}

static tn_status run_kernel(tni_frame *f) {
    const tn_status status = f->s->provider->row.run(f->s->plan.data, &f->image->call);
    return status == TN_OK ? atomic_load(&f->image->failed) : status;
}

/* From the innermost on: who began is told of the end. */
static tn_status run_through(tni_state *st, const tni_layer *l, tni_frame *f, tn_run *run) {
    if (!l) return run_kernel(f);
    run->status = run_begins(st, l, run);
    if (run->status != TN_OK) return run->status;
    run->status = run_through(st, l->below, f, run);
    run_ended(st, l, run);
    return run->status;
}

tn_status tni_layers_run(tni_frame *f) {
    tni_state *st = tni_state_get();
    tn_run run = {.size = sizeof run,
                  .op = f->v.op->schema.name,
                  .provider = f->s->provider->label,
                  .call = &f->image->call,
                  .host_data = f};
    return run_through(st, st->layering.all, f, &run);
}

void tni_layers_drew(tn_generator *g, tn_rng at, uint64_t counters) {
    tni_state *st = tni_state_get();
    for (const tni_layer *l = st->layering.all; l; l = l->below) {
        if (!l->table.drew) continue;
        const uint8_t head = look_begin(st, l);
        l->table.drew(l->table.user, g, at, counters);
        look_end(st, head);
    }
}

void tni_layers_derivative(const char *op, bool begins) {
    tni_state *st = tni_state_get();
    for (const tni_layer *l = st->layering.all; l; l = l->below) {
        if (!l->table.derivative) continue;
        const uint8_t head = look_begin(st, l);
        l->table.derivative(l->table.user, op, begins);
        look_end(st, head);
    }
}

void tni_layers_made(tn_tensor *t, const char *how) {
    tni_state *st = tni_state_get();
    if (st->layering.onlooker) return;
    for (const tni_layer *l = st->layering.all; l; l = l->below) {
        if (!l->table.made) continue;
        const uint8_t head = look_begin(st, l);
        l->table.made(l->table.user, t, how);
        look_end(st, head);
    }
}

bool tni_layers_touched(tn_tensor *t, const char *how) {
    tni_state *st = tni_state_get();
    const tn_status before = st->error;
    if (st->layering.onlooker) return true;
    for (const tni_layer *l = st->layering.all; l; l = l->below) {
        if (!l->table.touched) continue;
        const uint8_t head = look_begin(st, l);
        l->table.touched(l->table.user, t, how);
        look_end(st, head);
    }
    return st->error == before;
}
