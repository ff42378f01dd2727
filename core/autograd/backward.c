/* backward.c - the public ways to start a backward pass, and what they refuse.
 *
 * Invariant: nothing runs before all outputs, start values and inputs were checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/autograd/flow.h"
#include "core/autograd/history.h"
#include "core/autograd/node.h"
#include "core/base/state.h"
#include "core/dispatch/core_ops.h"
#include "core/dispatch/layers.h"
#include "core/tensor/format.h"
#include "core/tensor/scope.h"
#include "core/tensor/tensor.h"

static bool output_edge(const char *where, tn_tensor *output, tni_edge *out) {
    if (!tni_tensor_check(output, where, "output") || !tni_history_edge(output, out)) return false;
    if (out->kind != TNI_EDGE_NONE) return true;
    tn_raise(TN_ERR_GRAD,
             "%s: the output has no history: nothing it was made from requires grad, or grad mode "
             "was off; call "
             "tn_set_requires_grad on the leaves before the forward pass",
             where);
    return false;
}

/* The gradient to begin with, refs 1 more; NULL + error. */
static tn_tensor *start_of(const char *where, tn_tensor *output, tn_tensor *grad) {
    if (grad) {
        if (!tni_tensor_check(grad, where, "grad") ||
            !tni_flow_fits(where, "the start gradient", grad, "the output", output))
            return NULL;
        tni_tensor_retain(grad);
        return grad;
    }
    tn_meta m;
    tni_tensor_meta(output, &m);
    if (output->numel == 1) return tni_core_filled(&m, output->storage->place, 1);
    char text[256];
    tni_tensor_text(output, text, sizeof text);
    tn_raise(TN_ERR_GRAD,
             "%s: the output is %s, and only one number has an obvious start gradient; reduce it "
             "first (tn_sum, tn_mean) "
             "or pass the gradient of each element",
             where, text);
    return NULL;
}

/* Layers say whether they want calls from here on. Returns what calls were part of before. */
static uint32_t calls_begin(void) {
    const uint32_t within = tni_state_get()->layering.within;
    tni_tls.layering.within |= TN_LAYER_BACKWARD;
    return within;
}

static void calls_end(uint32_t within) { tni_tls.layering.within = within; }

static bool may_start(void) { return tn_error() == TN_OK && !tni_forked(); }

static tn_status run(tni_task *task, const tn_backward_opts *opts, const tni_edge *roots,
                     tn_tensor *const *starts, int64_t n) {
    task->create = opts && opts->create_graph;
    task->retain = opts && (opts->retain_graph || opts->create_graph);
    const bool recording = tn_set_grad_enabled(task->create);
    const tn_status status = tni_task_run(task, roots, starts, n);
    tn_set_grad_enabled(recording);
    return status;
}

tn_status tn_backward_with(tn_tensor *output, const tn_backward_opts *opts) {
    tni_edge root;
    if (!may_start() || !output_edge("tn_backward", output, &root)) return tn_error();
    const uint32_t within = calls_begin();
    tn_tensor *start = start_of("tn_backward", output, opts ? opts->grad : NULL);
    tni_task task = {0};
    if (start) run(&task, opts, &root, &start, 1);
    calls_end(within);
    tni_tensor_release(start);
    tni_edge_release(&root);
    return tn_error();
}

tn_status tn_backward(tn_tensor *loss) { return tn_backward_with(loss, NULL); }

/* ---- With respect to given inputs ----------------------------------------------------------- */

typedef struct request { /* everything tn_backward_wrt works on, in one block */
    tni_edge *roots;
    tni_edge *inputs;
    tn_tensor **starts;
    int64_t n_roots, n_inputs;
    uint64_t bytes;
} request;

static bool request_new(request *r, int64_t n_roots, int64_t n_inputs) {
    const uint64_t bytes =
        (uint64_t)(n_roots + n_inputs) * sizeof(tni_edge) + (uint64_t)n_roots * sizeof(tn_tensor *);
    void *block = tni_block_get(bytes);
    if (!block) {
        tn_raise(TN_ERR_NOMEM, "tn_backward_wrt: no memory for %lld outputs and %lld inputs",
                 (long long)n_roots, (long long)n_inputs);
        return false;
    }
    memset(block, 0, bytes);
    r->roots = block;
    r->inputs = r->roots + n_roots;
    r->starts = (tn_tensor **)(r->inputs + n_inputs);
    r->n_roots = n_roots;
    r->n_inputs = n_inputs;
    r->bytes = bytes;
    return true;
}

static void request_free(request *r) {
    for (int64_t i = 0; i < r->n_roots + r->n_inputs; i++) tni_edge_release(&r->roots[i]);
    for (int64_t i = 0; i < r->n_roots; i++) tni_tensor_release(r->starts[i]);
    tni_block_put(r->roots, r->bytes);
}

static bool fill_roots(request *r, tn_tensors outputs, tn_tensors start) {
    for (int64_t i = 0; i < outputs.n; i++) {
        if (!output_edge("tn_backward_wrt", outputs.ptr[i], &r->roots[i])) return false;
        r->starts[i] = start_of("tn_backward_wrt", outputs.ptr[i], start.n ? start.ptr[i] : NULL);
        if (!r->starts[i]) return false;
    }
    return true;
}

static bool fill_inputs(request *r, tn_tensors inputs) {
    for (int64_t i = 0; i < inputs.n; i++) {
        if (!tni_tensor_check(inputs.ptr[i], "tn_backward_wrt", "inputs")) return false;
        if (!tni_history_edge(inputs.ptr[i], &r->inputs[i])) return false;
        if (r->inputs[i].kind != TNI_EDGE_NONE) continue;
        tn_raise(TN_ERR_GRAD, "tn_backward_wrt: input %lld does not require grad", (long long)i);
        return false;
    }
    return true;
}

static bool lists_fit(tn_tensors outputs, tn_tensors inputs, tn_tensors start,
                      const tn_backward_opts *opts, tn_tensor *const *grads) {
    const char *why = NULL;
    const int64_t most = INT32_MAX;
    if (outputs.n < 1 || outputs.n > most || !outputs.ptr)
        why = "there must be an output";
    else if (inputs.n < 0 || inputs.n > most || (inputs.n && (!inputs.ptr || !grads)))
        why = "inputs and grads must be lists of equal length";
    else if (start.n != 0 && (start.n != outputs.n || !start.ptr))
        why = "start must have one tensor per output, or none at all";
    else if (opts && opts->grad)
        why = "opts->grad must be NULL; start values are in start";
    if (why) tn_raise(TN_ERR_INVALID, "tn_backward_wrt: %s", why);
    return !why;
}

static tn_status own_all(tn_tensor **grads, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!grads[i]) continue;
        if (tn_error()) {
            tni_tensor_release(grads[i]);
            grads[i] = NULL;
        } else {
            grads[i] = tni_scope_own(grads[i]);
        }
    }
    return tn_error();
}

tn_status tn_backward_wrt(tn_tensors outputs, tn_tensors inputs, tn_tensors start,
                          const tn_backward_opts *opts, tn_tensor **grads) {
    request r;
    for (int64_t i = 0; grads && i < inputs.n; i++) grads[i] = NULL;
    if (!may_start() || !lists_fit(outputs, inputs, start, opts, grads) || inputs.n == 0)
        return tn_error();
    if (!request_new(&r, outputs.n, inputs.n)) return tn_error();
    const uint32_t within = calls_begin();
    if (fill_roots(&r, outputs, start) && fill_inputs(&r, inputs)) {
        tni_task task = {.inputs = r.inputs, .input_grads = grads, .n_inputs = inputs.n};
        run(&task, opts, r.roots, r.starts, outputs.n);
    }
    calls_end(within);
    request_free(&r);
    return own_all(grads, inputs.n);
}
