/* functional.c - vjp, jvp, Jacobian, Hessian, on top of backward and double backward.
 *
 * Invariant: every function here works in a scope of its own and moves only its results out; grad
 * mode is on while f runs and is put back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/functional.h>

#include "modules/math/math_ops.h"

#include <stdlib.h>

#include <tenon/hooks.h>

typedef struct evaluation { /* f at fresh inputs, in a scope of its own */
    const char *name;       /* of the public function, for messages */
    tn_functional_opts opts;
    tn_tensors inputs; /* what f gets */
    tn_tensor **fresh; /* the same */
    tn_tensor **grads; /* as many */
    tn_tensor *y;      /* what it gave */
    tn_scope scope;
    bool grad_mode; /* the caller's */
} evaluation;

/* ---- Evaluating f ---------------------------------------------------------------------------- */

/* A leaf of x's value; with create_graph a view, so that what x depends on is reached too, and two
 * inputs that are one tensor stay apart. */
static tn_tensor *fresh_input(tn_tensor *x, bool create_graph) {
    if (create_graph && tn_requires_grad(x))
        return tn_view_sizes(x, (tn_ints){tn_sizes(x), tn_rank(x)});
    tn_tensor *leaf = tn_detach(x);
    if (leaf) tn_set_requires_grad(leaf, true);
    return leaf;
}

static bool list_fits(const char *name, const char *what, tn_tensors list, int64_t n) {
    if (list.n == n && n >= 1 && n <= INT32_MAX && list.ptr) return true;
    tn_raise(TN_ERR_INVALID, "%s: '%s' must be a list of tensors, one per input", name, what);
    return false;
}

static bool has_room(const char *name, tn_tensor *const *results) {
    if (!results)
        tn_raise(TN_ERR_INVALID, "%s: there is no room for its results: it is NULL", name);
    return results != NULL;
}

/* False with the error pending; finish is due either way. */
static bool evaluate(evaluation *e, const char *name, tn_function f, void *user, tn_tensors inputs,
                     const tn_functional_opts *opts) {
    *e = (evaluation){.name = name, .scope = tn_scope_push(), .grad_mode = tn_grad_enabled()};
    if (opts) e->opts = *opts;
    if (tn_error() || !list_fits(name, "inputs", inputs, inputs.n)) return false;
    e->fresh = calloc(2 * (size_t)inputs.n, sizeof(tn_tensor *));
    if (!e->fresh) return tn_raise(TN_ERR_NOMEM, "%s: no memory for the inputs", name), false;
    e->grads = e->fresh + inputs.n;
    e->inputs = (tn_tensors){e->fresh, inputs.n};
    tn_set_grad_enabled(true);
    for (int64_t i = 0; i < inputs.n; i++)
        e->fresh[i] = fresh_input(inputs.ptr[i], e->opts.create_graph);
    if (tn_error()) return false;
    e->y = tn_call_guarded(f, user, e->inputs);
    if (!e->y && !tn_error()) tn_raise(TN_ERR_INVALID, "%s: the function gave no tensor", name);
    return !tn_error();
}

/* What a caller gets: a value, or with create_graph what can be differentiated. */
static tn_tensor *move_out(const evaluation *e, tn_tensor *t) {
    return e->opts.create_graph ? t : tn_detach(t);
}

/* Frees everything but results[0..n), which then belong to the caller; they may stand in e. */
static tn_status finish(evaluation *e, tn_tensor *const *results, int64_t n) {
    tn_set_grad_enabled(e->grad_mode);
    if (tn_error())
        tn_scope_pop(e->scope);
    else
        tn_scope_pop_with(e->scope, results, n);
    free(e->fresh);
    return tn_error();
}

/* ---- Gradients, zeros where there are none --------------------------------------------------- */

static bool depends(const evaluation *e, const tn_tensor *found, int64_t i) {
    if (found || !e->opts.strict) return true;
    tn_raise(TN_ERR_GRAD, "%s: the function does not depend on input %lld, and strict is set",
             e->name, (long long)i);
    return false;
}

/* e->grads[i] = sum of start[k] d outputs[k] / d inputs[i]; start.n 0: ones. */
static bool gradients(evaluation *e, tn_tensors outputs, tn_tensors start, bool create_graph) {
    const tn_backward_opts opts = {.retain_graph = true, .create_graph = create_graph};
    for (int64_t i = 0; i < e->inputs.n; i++) e->grads[i] = NULL;
    if (outputs.n > 0) tn_backward_wrt(outputs, e->inputs, start, &opts, e->grads);
    for (int64_t i = 0; i < e->inputs.n && !tn_error(); i++) {
        if (!depends(e, e->grads[i], i)) return false;
        if (!e->grads[i]) e->grads[i] = tn_zeros_like(e->fresh[i]);
    }
    return !tn_error();
}

/* Of y alone. */
static bool gradients_of(evaluation *e, tn_tensor *const *y, tn_tensor *const *start,
                         bool create_graph) {
    const int64_t n = tn_requires_grad(*y) ? 1 : 0; /* it may depend on nothing */
    return gradients(e, (tn_tensors){y, n}, (tn_tensors){start, *start ? n : 0}, create_graph);
}

/* y and the gradients leave: the end of tn_vjp and tn_hvp. */
static tn_tensor *finish_with_gradients(evaluation *e, tn_tensor **out) {
    tn_tensor **all = e->fresh; /* the inputs are done with; the gradients follow them */
    const int64_t n = e->inputs.n;
    tn_tensor *y = tn_error() ? NULL : move_out(e, e->y);
    for (int64_t i = 0; i < n; i++) out[i] = tn_error() ? NULL : e->grads[i];
    if (all) all[n - 1] = y;
    return finish(e, all ? all + n - 1 : NULL, all ? n + 1 : 0) ? NULL : y;
}

tn_tensor *tn_vjp(tn_function f, void *user, tn_tensors inputs, tn_tensor *v,
                  const tn_functional_opts *opts, tn_tensor **grads) {
    if (!has_room("tn_vjp", grads)) return NULL;
    evaluation e;
    if (evaluate(&e, "tn_vjp", f, user, inputs, opts))
        gradients_of(&e, &e.y, &v, e.opts.create_graph);
    return finish_with_gradients(&e, grads);
}

tn_tensor *tn_hvp(tn_function f, void *user, tn_tensors inputs, tn_tensors v,
                  const tn_functional_opts *opts, tn_tensor **products) {
    if (!has_room("tn_hvp", products)) return NULL;
    evaluation e;
    tn_tensor *ones = NULL, **first = NULL;
    if (evaluate(&e, "tn_hvp", f, user, inputs, opts) && list_fits(e.name, "v", v, inputs.n) &&
        gradients_of(&e, &e.y, &ones, true)) {
        first = malloc(2 * (size_t)inputs.n * sizeof *first);
        if (!first) tn_raise(TN_ERR_NOMEM, "tn_hvp: no memory for the gradients");
    }
    int64_t n = 0; /* gradients that depend on the inputs: others have a derivative of zero */
    for (int64_t i = 0; first && i < inputs.n; i++)
        if (tn_requires_grad(e.grads[i])) first[n] = e.grads[i], first[inputs.n + n++] = v.ptr[i];
    if (first)
        gradients(&e, (tn_tensors){first, n}, (tn_tensors){first + inputs.n, n},
                  e.opts.create_graph);
    free(first);
    return finish_with_gradients(&e, products);
}

/* ---- The other side: v J is linear in v, and its derivative times t is J t ------------------- */

static tn_tensor *forward_product(evaluation *e, tn_tensors tangents) {
    tn_tensor *v = tn_zeros_like(e->y), *product = NULL;
    tn_set_requires_grad(v, true);
    if (!v || !gradients_of(e, &e->y, &v, true)) return NULL;
    const tn_backward_opts again = {.retain_graph = true, .create_graph = e->opts.create_graph};
    for (int64_t i = 0; i < tangents.n; i++) { /* gradients of linear functions are not all of v */
        tn_tensor *part = NULL, *const t = tangents.ptr[i];
        if (!tn_requires_grad(e->grads[i])) continue;
        tn_backward_wrt((tn_tensors){&e->grads[i], 1}, (tn_tensors){&v, 1}, (tn_tensors){&t, 1},
                        &again, &part);
        if (part) product = product ? tn_add(product, part) : part;
    }
    return product ? product : tn_zeros_like(e->y);
}

tn_tensor *tn_jvp(tn_function f, void *user, tn_tensors inputs, tn_tensors tangents,
                  const tn_functional_opts *opts, tn_tensor **product) {
    if (!has_room("tn_jvp", product)) return NULL;
    evaluation e;
    tn_tensor *results[2] = {NULL, NULL};
    if (evaluate(&e, "tn_jvp", f, user, inputs, opts) &&
        list_fits(e.name, "tangents", tangents, inputs.n)) {
        results[1] = forward_product(&e, tangents);
        results[0] = tn_error() ? NULL : move_out(&e, e.y);
    }
    const bool failed = finish(&e, results, 2) != TN_OK;
    *product = failed ? NULL : results[1];
    return failed ? NULL : results[0];
}

/* ---- Jacobian: row by row -------------------------------------------------------------------- */

/* Zeros in y's shape, with 1 at element k. */
static tn_tensor *unit(tn_tensor *y, int64_t k) {
    tn_tensor *flat = tn_zeros((tn_ints){(const int64_t[]){tn_numel(y)}, 1}, tn_dtype_of(y));
    tn_fill_(tn_select(flat, 0, k), tn_float(1));
    return tn_reshape(flat, (tn_ints){tn_sizes(y), tn_rank(y)});
}

/* [m] rows in x's shape, as one tensor in y's shape followed by x's. */
static tn_tensor *joined(tn_tensor *const *rows, int64_t m, tn_tensor *y, tn_tensor *x) {
    int64_t sizes[2 * TN_MAX_RANK];
    const int64_t rank = tn_rank(y) + tn_rank(x);
    for (int64_t d = 0; d < rank; d++)
        sizes[d] = d < tn_rank(y) ? tn_size(y, d) : tn_size(x, d - tn_rank(y));
    const tn_ints shape = {sizes, rank};
    return m ? tn_reshape(tn_stack((tn_tensors){rows, m}, NULL), shape)
             : tn_zeros(shape, tn_dtype_of(x));
}

static bool jacobian_rows(evaluation *e, tn_tensor **rows, int64_t m) {
    const bool grad = tn_set_grad_enabled(false);
    for (int64_t k = 0; k < m && !tn_error(); k++) {
        tn_tensor *start = unit(e->y, k);
        if (!gradients_of(e, &e->y, &start, e->opts.create_graph)) break;
        for (int64_t i = 0; i < e->inputs.n; i++) rows[i * m + k] = e->grads[i];
    }
    tn_set_grad_enabled(grad);
    return !tn_error();
}

tn_status tn_jacobian(tn_function f, void *user, tn_tensors inputs, const tn_functional_opts *opts,
                      tn_tensor **jacobians) {
    if (!has_room("tn_jacobian", jacobians)) return tn_error();
    evaluation e;
    tn_tensor **rows = NULL;
    for (int64_t i = 0; i < inputs.n; i++) jacobians[i] = NULL;
    const bool ready = evaluate(&e, "tn_jacobian", f, user, inputs, opts);
    const int64_t n = e.inputs.n, m = ready ? tn_numel(e.y) : 0;
    if (ready) rows = calloc((size_t)(n * m) + 1, sizeof *rows);
    if (ready && !rows)
        tn_raise(TN_ERR_NOMEM, "tn_jacobian: no memory for %lld rows", (long long)m);
    if (rows && jacobian_rows(&e, rows, m))
        for (int64_t i = 0; i < n; i++) jacobians[i] = joined(rows + i * m, m, e.y, e.fresh[i]);
    free(rows);
    const tn_status status = finish(&e, jacobians, ready ? n : 0);
    for (int64_t i = 0; status && i < inputs.n; i++) jacobians[i] = NULL;
    return status;
}

/* ---- Hessian: Jacobians of the gradient ------------------------------------------------------ */

typedef struct partial { /* the gradient of f in input `index`, as a function */
    tn_function f;
    void *user;
    int64_t index;
} partial;

static tn_tensor *partial_call(void *user, tn_tensor *const *inputs, int64_t n) {
    const partial *p = user;
    const tn_backward_opts opts = {.create_graph = true};
    tn_tensor *y = tn_call_guarded(p->f, p->user, (tn_tensors){inputs, n}), *grad = NULL;
    if (y && tn_requires_grad(y))
        tn_backward_wrt((tn_tensors){&y, 1}, (tn_tensors){&inputs[p->index], 1},
                        (tn_tensors){NULL, 0}, &opts, &grad);
    return grad || !y ? grad : tn_zeros_like(inputs[p->index]);
}

tn_status tn_hessian(tn_function f, void *user, tn_tensors inputs, const tn_functional_opts *opts,
                     tn_tensor **hessians) {
    if (!has_room("tn_hessian", hessians)) return tn_error();
    const tn_scope scope = tn_scope_push();
    for (int64_t i = 0; i < inputs.n; i++) {
        partial p = {f, user, i};
        tn_jacobian(partial_call, &p, inputs, opts, hessians + i * inputs.n);
    }
    if (inputs.n < 1) list_fits("tn_hessian", "inputs", inputs, 1);
    if (!tn_error()) return tn_scope_pop_with(scope, hessians, inputs.n * inputs.n);
    tn_scope_pop(scope);
    return tn_error();
}
