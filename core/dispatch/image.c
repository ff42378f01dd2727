/* image.c - the call as a kernel sees it: views and values on the caller's stack.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/image.h"

#include <string.h>

#include "core/base/threads.h"
#include "core/memory/buffer.h"

static void image_fail(tn_call *c, tn_status code, const char *text, uint64_t len) {
    tni_image *m = c->host_data;
    int32_t none = TN_OK;
    if (!atomic_compare_exchange_strong(&m->failed, &none, code == TN_OK ? TN_ERR_INTERNAL : code))
        return;
    if (!text) len = 0;
    if (len >= sizeof m->text) len = sizeof m->text - 1;
    if (len > 0) memcpy(m->text, text, len);
    m->text[len] = 0;
}

static bool image_room(tni_image *m, uint64_t n) {
    m->views = m->few;
    m->list = m->few_list;
    m->many_bytes = 0;
    if (n <= sizeof m->few / sizeof m->few[0]) return true;
    m->many_bytes = n * (sizeof(tn_view) + sizeof(tn_view *)); /* n < 2^33: cannot overflow */
    m->views = tni_buffer_alloc(&tni_host, m->many_bytes);
    m->list = (const tn_view **)(void *)(m->views + n);
    if (!m->views)
        tn_raise(TN_ERR_NOMEM, "no memory for a call with %llu tensors", (unsigned long long)n);
    return m->views != NULL;
}

void tni_image_free(tni_image *m) {
    if (m->many_bytes > 0) tni_buffer_free(&tni_host, m->views, m->many_bytes);
}

static void show(tn_view *view, const tni_geometry *g, tn_dtype dtype, tn_device device) {
    view->data = NULL;
    view->device = device;
    view->rank = g->rank;
    view->dtype = dtype;
    view->sizes = g->sizes;
    view->strides = g->strides;
    view->byte_offset = 0;
}

static tn_value value_of_view(const tn_view *view) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_VIEW;
    v.view = view;
    return v;
}

static tn_value value_of_views(const tn_view *const *list, uint32_t n) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_VIEWS;
    v.aux = n;
    v.views = list;
    return v;
}

static void image_outs(tni_image *m, const tni_signature *s) {
    const tn_view *views = m->views + s->n_operands;
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        const uint32_t r = tni_output_result(s, i);
        m->outs[r] = s->outputs[i].absent ? tn_value_none() : value_of_view(&views[i]);
    }
    if (s->op->list_at < 0) return;
    const uint32_t at = (uint32_t)s->op->list_at;
    const tn_view **list = m->list + s->n_operands + at;
    for (uint32_t i = 0; i < s->n_list; i++) list[i] = &views[at + i];
    m->outs[at] = value_of_views(list, s->n_list);
}

/* Arguments lead to the image's own views. */
static void image_args(tni_image *m, const tni_signature *s, const tni_invocation *v) {
    const tni_op *op = s->op;
    uint32_t k = 0;
    for (uint32_t i = 0; i < op->n_args; i++) {
        if (op->types[i] == TNI_TENSOR) {
            m->args[i] = v->operands[k] ? value_of_view(&m->views[k]) : tn_value_none();
            k++;
        } else if (op->types[i] == TNI_TENSORS) {
            const uint32_t n = v->args[i].aux;
            for (uint32_t j = k; j < k + n; j++) m->list[j] = v->operands[j] ? &m->views[j] : NULL;
            m->args[i] = value_of_views(m->list + k, n);
            k += n;
        } else {
            m->args[i] = s->args[i]; /* run-time ones are NONE there */
        }
    }
    image_outs(m, s);
}

/* Field by field: zeroing it first costs more than the call's own work. */
static void image_call(tni_image *m, const tni_signature *s) {
    tn_call *c = &m->call;
    tni_image_forgive(m);
    c->size = sizeof *c;
    c->flags = s->call_flags;
    c->args = m->args;
    c->outs = m->outs;
    c->n_args = s->op->n_args;
    c->n_outs = s->op->list_at < 0 ? s->n_outputs : s->op->schema.n_results;
    c->user = s->provider ? s->provider->row.user : NULL;
    c->workspace = c->reserve = c->stream = NULL;
    c->workspace_bytes = c->reserve_bytes = c->rng_seed = c->rng_offset = 0;
    c->rng_device_offset = NULL;
    c->device_error = NULL;
    c->max_threads = tni_thread_limit();
    c->math = s->math;
    c->fail = image_fail;
    c->host_data = m;
    c->device = tni_host.device;
    c->error_claim = 0;
}

/* A number is on the cpu wherever the call runs, and pointwise kernels read it there. */
static tn_device device_of(const tni_signature *s, const tni_invocation *v, uint32_t k) {
    const bool number = tni_is_number(v->operands[k]) && s->operands[k].prepare != TNI_COPY;
    return number ? tni_host.device : v->place->device;
}

void tni_image_views(tn_view *views, const tni_draft *draft, const tni_invocation *v) {
    const tni_signature *s = &draft->s;
    for (uint32_t k = 0; k < s->n_operands; k++)
        if (v->operands[k])
            show(&views[k], &draft->operands[k], s->operands[k].dtype, device_of(s, v, k));
    for (uint32_t i = 0; i < s->n_outputs; i++)
        show(&views[s->n_operands + i], &draft->outputs[i], s->outputs[i].meta.dtype,
             v->place->device);
}

bool tni_image_make(tni_image *m, const tni_draft *draft, const tni_invocation *v) {
    const tni_signature *s = &draft->s;
    if (!image_room(m, (uint64_t)s->n_operands + s->n_outputs)) return false;
    tni_image_views(m->views, draft, v);
    image_args(m, s, v);
    image_call(m, s);
    return true;
}

bool tni_image_recall(tni_image *m, const tni_signature *s, const tni_invocation *v) {
    const uint32_t n = s->n_operands + s->n_outputs;
    if (!image_room(m, n)) return false;
    for (uint32_t k = 0; k < n; k++) m->views[k] = s->views[k];
    image_args(m, s, v);
    image_call(m, s);
    return true;
}
