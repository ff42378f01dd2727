/* activation_checkpoint.c - see activation_checkpoint.h.
 *
 * Saved-tensor hooks give every value that would be kept a number, and forget it. When one is asked
 * for, f runs again under hooks that collect the values in the same order.
 *
 *   forward    pack: value -> number        (refs: one per number that is out)
 *   backward   unpack: number -> values[number], after recompute() has filled values
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/activation_checkpoint.h>

#include <stdatomic.h>
#include <stdlib.h>

#include <tenon/hooks.h>

typedef struct frame {
    _Atomic int64_t refs; /* the forward call, and every number that is out */
    tn_tensors_fn f;
    void *user;
    tn_rng position; /* of the thread's generator before f ran */
    int64_t n_values;
    int64_t n_found;    /* by recompute */
    tn_tensor **values; /* NULL until they are asked for; kept, each until it is dropped */
    int64_t n_inputs;
    tn_tensor *inputs[]; /* values without histories, kept; a leaf itself would hold its gradient,
                            whose graph may hold this */
} frame;

static void forget_values(frame *c) {
    for (int64_t i = 0; c->values && i < c->n_values; i++) tn_drop(c->values[i]);
    free(c->values);
    c->values = NULL;
}

static void release(frame *c) {
    if (atomic_fetch_sub(&c->refs, 1) != 1) return;
    for (int64_t i = 0; i < c->n_inputs; i++) tn_drop(c->inputs[i]);
    forget_values(c);
    free(c);
}

/* ---- Forward: numbers for values ------------------------------------------------------------- */

static void *pack(void *user, tn_tensor *t) {
    frame *c = user;
    (void)t;
    atomic_fetch_add(&c->refs, 1);
    return (void *)(uintptr_t)++c->n_values; /* from 1: never NULL */
}

static void drop(void *user, void *packed) {
    frame *c = user;
    const uintptr_t i = (uintptr_t)packed - 1;
    if (c->values) {
        tn_drop(c->values[i]);
        c->values[i] = NULL;
    }
    release(c);
}

/* ---- Backward: values again ------------------------------------------------------------------ */

static void *collect(void *user, tn_tensor *t) {
    frame *c = user;
    if (c->n_found < c->n_values) c->values[c->n_found] = tn_keep(t);
    c->n_found++;
    return c;
}

static tn_tensor *refuse(void *user, void *packed) {
    (void)user, (void)packed;
    tn_raise(TN_ERR_GRAD, "tn_activation_checkpoint: the function ran a backward pass through its "
                          "own inner values; leave that to the caller");
    return NULL;
}

/* x's value, asking for a gradient if x does. */
static tn_tensor *value_of(tn_tensor *x) {
    tn_tensor *value = tn_detach(x);
    if (value && tn_requires_grad(x)) tn_set_requires_grad(value, true);
    return value;
}

/* f at inputs that stand for the first ones, in a scope the caller frees. */
static void run_again(frame *c) {
    const tn_saved_hooks hooks = {collect, refuse, NULL, c};
    tn_tensor **again = malloc((size_t)(c->n_inputs + 1) * sizeof *again);
    if (!again) {
        tn_raise(TN_ERR_NOMEM, "tn_activation_checkpoint: no memory for the inputs");
        return;
    }
    for (int64_t i = 0; i < c->n_inputs; i++) again[i] = value_of(c->inputs[i]);
    if (tn_saved_hooks_push(&hooks) == TN_OK) {
        tn_call_guarded(c->f, c->user, (tn_tensors){again, c->n_inputs});
        tn_saved_hooks_pop();
    }
    free(again);
}

/* With the random numbers of the first run, and grad mode on. */
static void recompute(frame *c) {
    const tn_scope scope = tn_scope_push();
    tn_generator *again = tn_generator_new(c->position.seed);
    c->n_found = 0;
    c->values = calloc((size_t)c->n_values, sizeof(tn_tensor *));
    if (!c->values) tn_raise(TN_ERR_NOMEM, "tn_activation_checkpoint: no memory for the values");
    if (!tn_error() && tn_generator_set_position(again, c->position) == TN_OK) {
        tn_generator *was = tn_use_generator(again);
        const bool grad = tn_set_grad_enabled(true);
        run_again(c);
        tn_set_grad_enabled(grad);
        tn_use_generator(was);
    }
    tn_generator_free(again);
    tn_scope_pop(scope);
    if (!tn_error() && c->n_found != c->n_values)
        tn_raise(TN_ERR_GRAD,
                 "tn_activation_checkpoint: the function kept %lld values for backward, and %lld "
                 "when it ran again; it must do the same each time",
                 (long long)c->n_values, (long long)c->n_found);
    if (tn_error()) forget_values(c);
}

static tn_tensor *unpack(void *user, void *packed) {
    frame *c = user;
    if (!c->values) recompute(c);
    if (tn_error()) return NULL;
    tn_tensor *value = c->values[(uintptr_t)packed - 1];
    return value;
}

/* ---- The call -------------------------------------------------------------------------------- */

static frame *frame_new(tn_tensors_fn f, void *user, tn_tensors inputs) {
    const bool fits = inputs.n >= 0 && inputs.n <= INT32_MAX && (inputs.n == 0 || inputs.ptr);
    if (!f || !fits) {
        tn_raise(TN_ERR_INVALID, "tn_activation_checkpoint: %s",
                 f ? "inputs must be a list of tensors" : "the function is NULL");
        return NULL;
    }
    frame *c = calloc(1, sizeof *c + (size_t)inputs.n * sizeof(tn_tensor *));
    if (!c) {
        tn_raise(TN_ERR_NOMEM, "tn_activation_checkpoint: no memory for %lld inputs",
                 (long long)inputs.n);
        return NULL;
    }
    atomic_init(&c->refs, 1);
    c->f = f, c->user = user, c->n_inputs = inputs.n;
    c->position = tn_generator_position(NULL);
    for (int64_t i = 0; i < inputs.n && !tn_error(); i++)
        c->inputs[i] = tn_keep(value_of(inputs.ptr[i]));
    return c;
}

tn_tensor *tn_activation_checkpoint(tn_tensors_fn f, void *user, tn_tensors inputs) {
    if (tn_error()) return NULL;
    if (f && !tn_grad_enabled()) return tn_call_guarded(f, user, inputs);
    frame *c = frame_new(f, user, inputs);
    if (!c) return NULL;
    const tn_saved_hooks hooks = {pack, unpack, drop, c};
    tn_tensor *y = NULL;
    if (!tn_error() && tn_saved_hooks_push(&hooks) == TN_OK) {
        y = tn_call_guarded(f, user, inputs);
        if (!y) tn_raise(TN_ERR_INVALID, "tn_activation_checkpoint: the function gave no tensor");
        tn_saved_hooks_pop();
    }
    release(c);
    return tn_error() ? NULL : y;
}
