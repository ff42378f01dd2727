/* image.c - the call as a kernel sees it: views and values on the caller's stack.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/dispatch/signature.h"
#include "core/memory.h"
#include "core/threads.h"

static void image_fail(tn_call *c, tn_status code, const char *text, uint64_t len) {
    tni_image *m = c->host_data;
    int32_t none = TN_OK;
    if (!atomic_compare_exchange_strong(&m->failed, &none, code == TN_OK ? TN_ERR_INTERNAL : code))
        return;
    if (text == NULL) len = 0;
    if (len >= sizeof(m->text)) len = sizeof(m->text) - 1;
    if (len > 0) memcpy(m->text, text, len);
    m->text[len] = 0;
}

static bool image_room(tni_image *m, uint64_t n) {
    m->views = m->few;
    m->list = m->few_list;
    m->many_bytes = 0;
    if (n <= sizeof(m->few) / sizeof(m->few[0])) return true;
    m->many_bytes = n * (sizeof(tn_view) + sizeof(tn_view *)); /* n < 2^33: cannot overflow */
    m->views = tni_buffer_alloc((tn_device){TN_CPU, 0}, m->many_bytes);
    m->list = (const tn_view **)(void *)(m->views + n);
    if (m->views == NULL)
        tn_raise(TN_ERR_NOMEM, "no memory for a call with %llu tensors", (unsigned long long)n);
    return m->views != NULL;
}

void tni_image_free(tni_image *m) {
    if (m->many_bytes > 0) tni_buffer_free((tn_device){TN_CPU, 0}, m->views, m->many_bytes);
}

static void show(tn_view *view, const tni_geometry *g, tn_device device) {
    view->data = NULL;
    view->device = device;
    view->rank = g->rank;
    view->dtype = g->dtype;
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

static void image_args(tni_image *m, const tni_signature *s, const tni_invocation *v) {
    uint32_t k = 0;
    const tni_op *op = s->op;
    for (uint32_t i = 0; i < op->n_args; i++) {
        uint32_t n = tni_arg_tensors(s->op, v->args, i);
        for (uint32_t j = 0; j < n; j++) {
            m->list[k + j] = v->operands[k + j] ? &m->views[k + j] : NULL;
            if (v->operands[k + j]) show(&m->views[k + j], &s->operands[k + j].seen, v->device);
        }
        if (op->types[i] == TNI_TENSORS)
            m->args[i] = value_of_views(m->list + k, n);
        else if (op->types[i] == TNI_TENSOR)
            m->args[i] = v->operands[k] ? value_of_view(&m->views[k]) : tn_value_none();
        else
            m->args[i] = s->args[i]; /* run-time ones are NONE there */
        k += n;
    }
}

bool tni_image_make(tni_image *m, const tni_signature *s, const tni_invocation *v) {
    if (!image_room(m, (uint64_t)s->n_operands + s->n_outputs)) return false;
    image_args(m, s, v);
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        tn_view *view = &m->views[s->n_operands + i];
        show(view, &s->outputs[i].seen, v->device);
        if (i < TNI_MAX_RESULTS) m->outs[i] = value_of_view(view);
    }
    atomic_init(&m->failed, TN_OK);
    m->text[0] = 0;
    int32_t limit = tni_state_get()->max_threads;
    tn_call *c =
        &m->call; /* field by field: zeroing it first costs more than the call's own work */
    c->size = sizeof(*c);
    c->flags = s->call_flags;
    c->args = m->args;
    c->outs = m->outs;
    c->n_args = s->op->n_args;
    c->n_outs = s->n_outputs;
    c->user = s->provider ? s->provider->row.user : NULL;
    c->workspace = c->reserve = c->stream = NULL;
    c->workspace_bytes = c->reserve_bytes = c->rng_seed = c->rng_offset = 0;
    c->rng_device_offset = NULL;
    c->device_error = NULL;
    c->max_threads = limit > 0 ? limit : tni_thread_limit();
    c->reserved = 0;
    c->fail = image_fail;
    c->host_data = m;
    return true;
}
