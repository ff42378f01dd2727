/* step.c - see step.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/step.h"

#include <string.h>

#include "core/base/error.h"
#include "core/base/heap.h"

typedef struct number { /* a wrapped number, cast for the call */
    uint64_t cell;
    const void *from;
    tn_dtype dtype, to;
} number;

struct tni_step { /* the arrays follow in the same block */
    tn_call call;
    tni_signature *signature;
    tn_value *args, *outs;
    tn_view *views;
    const tn_view **list;
    number *numbers;
    uint32_t n_numbers;
    tn_rng rng; /* where it draws from */
};

/* ---- Making one ---------------------------------------------------------------------------- */

/* Bytes that a run-time argument leads to: they are the caller's. */
static uint64_t argument_bytes(const tn_value *v) {
    switch (v->tag) {
    case TN_TAG_INTS:
    case TN_TAG_FLOATS:
        return (uint64_t)v->aux * 8;
    case TN_TAG_STR:
        return ((uint64_t)v->aux + 8) / 8 * 8;
    default:
        return 0;
    }
}

static uint64_t arguments_bytes(const tni_frame *f) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < f->s->op->n_args; i++)
        if (f->s->op->runtime_args >> i & 1) bytes += argument_bytes(&f->image->args[i]);
    return bytes;
}

static uint32_t count_numbers(const tni_frame *f) {
    uint32_t n = 0;
    for (uint32_t k = 0; f->s->prepares && k < f->s->n_operands; k++)
        n += f->v.operands[k] && f->s->operands[k].prepare == TNI_CAST_NUMBER;
    return n;
}

/* The block of a step, with its arrays in place; NULL without memory. */
static tni_step *block_new(const tni_frame *f, char **rest) {
    const uint64_t n_views = (uint64_t)f->s->n_operands + f->s->n_outputs;
    const uint64_t n_args = f->s->op->n_args, n_outs = f->image->call.n_outs;
    const uint32_t n_numbers = count_numbers(f);
    tni_step *s = tni_alloc(sizeof *s + (n_args + n_outs) * sizeof(tn_value) +
                            n_views * (sizeof(tn_view) + sizeof(tn_view *)) +
                            n_numbers * sizeof(number) + arguments_bytes(f));
    if (!s) return NULL;
    s->args = (tn_value *)(s + 1);
    s->outs = s->args + n_args;
    s->views = (tn_view *)(s->outs + n_outs);
    s->list = (const tn_view **)(s->views + n_views);
    s->numbers = (number *)(s->list + n_views);
    s->n_numbers = n_numbers;
    *rest = (char *)(s->numbers + n_numbers);
    return s;
}

/* The views of a list, absent ones too, in the step's own list. */
static const tn_view **own_list(const tni_image *m, tni_step *s, const tn_value *v) {
    const tn_view **own = s->list + (v->views - m->list);
    for (uint32_t j = 0; j < v->aux; j++)
        own[j] = v->views[j] ? s->views + (v->views[j] - m->views) : NULL;
    return own;
}

/* A value of the image as one of the step: it leads to the step's own views and bytes. */
static tn_value own_value(const tni_image *m, tni_step *s, tn_value v, bool caller, char **rest) {
    const uint64_t bytes = caller ? argument_bytes(&v) : 0;
    if (v.tag == TN_TAG_VIEW) v.view = s->views + (v.view - m->views);
    if (v.tag == TN_TAG_VIEWS) v.views = own_list(m, s, &v);
    if (v.tag == TN_TAG_RNG) v.rng = &s->rng;
    if (bytes == 0) return v;
    memcpy(*rest, v.str, v.tag == TN_TAG_STR ? v.aux : bytes);
    v.str = *rest;
    *rest += bytes;
    return v;
}

static void copy_values(const tni_frame *f, tni_step *s, char *rest) {
    const tni_image *m = f->image;
    const uint64_t n_views = (uint64_t)f->s->n_operands + f->s->n_outputs;
    memcpy(s->views, m->views, n_views * sizeof *s->views);
    for (uint32_t i = 0; i < f->s->op->n_args; i++)
        s->args[i] = own_value(m, s, m->args[i], f->s->op->runtime_args >> i & 1, &rest);
    for (uint32_t i = 0; i < f->image->call.n_outs; i++)
        s->outs[i] = own_value(m, s, m->outs[i], false, &rest);
}

static void copy_numbers(const tni_frame *f, tni_step *s) {
    number *n = s->numbers;
    for (uint32_t k = 0; s->n_numbers && k < f->s->n_operands; k++) {
        const tn_tensor *t = f->v.operands[k];
        if (!t || f->s->operands[k].prepare != TNI_CAST_NUMBER) continue;
        *n = (number){0, tni_tensor_data(t), t->dtype, f->s->operands[k].dtype};
        memcpy(&n->cell, &f->numbers[k], sizeof n->cell);
        s->views[k].data = &n++->cell;
    }
}

static void step_fail(tn_call *call, tn_status code, const char *text, uint64_t len) {
    tni_outcome *o = call->host_data;
    int32_t none = TN_OK;
    if (!atomic_compare_exchange_strong(&o->failed, &none, code == TN_OK ? TN_ERR_INTERNAL : code))
        return;
    if (len >= sizeof o->text) len = sizeof o->text - 1;
    if (text) memcpy(o->text, text, len);
    o->text[text ? len : 0] = 0;
}

tni_step *tni_step_new(const tni_frame *f, tni_outcome *outcome) {
    char *rest;
    tni_step *s = block_new(f, &rest);
    if (!s) return NULL;
    s->call = f->image->call;
    s->call.args = s->args;
    s->call.outs = s->outs;
    s->call.fail = step_fail;
    s->call.host_data = outcome;
    s->signature = f->s;
    tni_signature_retain(f->s);
    copy_values(f, s, rest);
    copy_numbers(f, s);
    if (f->has_rng) s->rng = f->rng;
    return s;
}

void tni_step_free(tni_step *s) {
    tni_signature_release(s->signature);
    tni_free(s);
}

/* ---- Running it ------------------------------------------------------------------------------ */

const char *tni_step_op(const tni_step *s) { return s->signature->op->schema.name; }

uint64_t tni_step_workspace(const tni_step *s) { return s->call.workspace_bytes; }

void tni_step_set_workspace(tni_step *s, void *at) {
    s->call.workspace = s->call.workspace_bytes ? at : NULL;
}

void tni_step_draw(tni_step *s, tn_rng at) {
    s->rng = at;
    s->call.rng_seed = at.seed;
    s->call.rng_offset = at.offset;
}

tn_status tni_step_run(tni_step *s, tni_state *st) {
    const tni_provider *p = s->signature->provider;
    const tni_outcome *o = s->call.host_data;
    for (uint32_t i = 0; i < s->n_numbers; i++) {
        number *n = &s->numbers[i];
        if (!tni_call_number(tni_step_op(s), &n->cell, n->to, n->from, n->dtype))
            return tni_pending();
    }
    st->last_kernel = p;
    if (st->kernel_runs) st->kernel_runs[p->plugin_index]++;
    const tn_status status = p->row.run(s->signature->plan.data, &s->call);
    if (status != TN_OK || st->error) return status ? status : st->error;
    return atomic_load_explicit(&o->failed, memory_order_relaxed);
}
