/* gradcheck.c - derivatives against central differences, in f64.
 *
 * The function's result is weighted with fixed numbers w, so that one backward pass (start value w)
 * and two forward passes per input element compare all of w^T J. Inputs are copied into fresh
 * leaves: the caller's tensors and their gradients are not touched.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "modules/math/math_ops.h"

enum { WEIGHT_SEED = 1, GRADIENT_SEED = 100 };

/* ---- Weights -------------------------------------------------------------------------------- */

static double weight(uint64_t seed, uint64_t i) { /* splitmix64 */
    uint64_t z = seed * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u + 0x94D049BB133111EBu;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    const double size = 0.25 + (double)(z >> 11) * 0x1p-53;
    return z & 1 ? -size : size;
}

static double *doubles(int64_t n) {
    return tn_scope_alloc((uint64_t)(n > 0 ? n : 1) * sizeof(double));
}

static tn_ints sizes_of(tn_tensor *t) { return (tn_ints){tn_sizes(t), tn_rank(t)}; }

tn_tensor *check_weights(tn_tensor *like, uint64_t seed) {
    double *w = doubles(tn_numel(like));
    if (!w) return NULL;
    for (int64_t i = 0; i < tn_numel(like); i++) w[i] = weight(seed, (uint64_t)i);
    return tn_from(w, sizes_of(like), TN_F64);
}

tn_tensor *check_weighted(tn_tensor *acc, tn_tensor *t, uint64_t seed) {
    tn_tensor *w = check_weights(t, seed);
    tn_tensor *product = w ? tn_mul(t, w) : NULL;
    tn_tensor *sum = product ? tn_sum(product) : NULL;
    return sum && acc ? tn_add(acc, sum) : sum;
}

/* ---- One check ------------------------------------------------------------------------------ */

typedef struct run {
    const check_job *check;
    tn_tensor **leaves; /* fresh copies of what is checked, the caller's tensors otherwise */
    tn_tensor **asked;  /* the leaves that are checked, in order */
    tn_tensor **grads;  /* their gradients */
    int64_t *index;     /* which input asked[k] is */
    int64_t n_asked;
    double *weights;
    int64_t n_weights;
    bool has_history;
} run;

bool check_is_floating(tn_tensor *t) { return tn_dtype_in(tn_dtype_of(t), TN_MASK_FLOAT); }

/* Raises INVALID or STALE of what is no tensor, or not any more. */
static bool is_live(tn_tensor *t, const char *where, const char *what) {
    if (t && tn_rank(t) >= 0) return true;
    tn_clear_error();
    if (!t)
        tn_raise(TN_ERR_INVALID, "%s: %s is NULL; pass a tensor", where, what);
    else
        tn_raise(TN_ERR_STALE,
                 "%s: %s was dropped, or its scope was popped; tn_keep or tn_scope_pop_with make a "
                 "tensor live longer",
                 where, what);
    return false;
}

static void name_input(const check_job *c, int64_t i, char *out, size_t capacity) {
    if (c->names && c->names[i])
        snprintf(out, capacity, "argument '%s'", c->names[i]);
    else
        snprintf(out, capacity, "input %lld", (long long)i);
}

int64_t check_elements(const check_job *c) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->inputs.n; i++) {
        tn_tensor *t = c->inputs.ptr[i];
        if (t && check_is_floating(t) && tn_requires_grad(t)) n += tn_numel(t);
    }
    return n;
}

static bool add_input(run *r, int64_t i) {
    const check_job *c = r->check;
    tn_tensor *t = c->inputs.ptr[i];
    char name[96];
    r->leaves[i] = t;
    if (!t) return true;
    if (!is_live(t, c->what, "an input")) return false;
    if (!check_is_floating(t) || !tn_requires_grad(t)) return true;
    name_input(c, i, name, sizeof name);
    if (!tn_dtype_is(tn_dtype_of(t), TN_F64)) {
        tn_raise(TN_ERR_DTYPE, "%s: %s is %s; central differences need f64", c->what, name,
                 tn_dtype_name(tn_dtype_of(t)));
        return false;
    }
    double *data = doubles(tn_numel(t));
    if (!data || tn_read(t, data, (uint64_t)tn_numel(t) * sizeof *data)) return false;
    tn_tensor *leaf = tn_from(data, sizes_of(t), TN_F64);
    if (!leaf || tn_set_requires_grad(leaf, true)) return false;
    r->leaves[i] = r->asked[r->n_asked] = leaf;
    r->index[r->n_asked++] = i;
    return true;
}

static bool prepare(run *r) {
    const uint64_t n = (uint64_t)r->check->inputs.n + 1;
    r->leaves = tn_scope_alloc(n * sizeof(tn_tensor *));
    r->asked = tn_scope_alloc(n * sizeof(tn_tensor *));
    r->grads = tn_scope_alloc(n * sizeof(tn_tensor *));
    r->index = tn_scope_alloc(n * sizeof(int64_t));
    if (!r->leaves || !r->asked || !r->grads || !r->index) return false;
    for (int64_t i = 0; i < r->check->inputs.n; i++)
        if (!add_input(r, i)) return false;
    if (r->n_asked > 0) return true;
    tn_raise(TN_ERR_GRAD, "%s: no input requires grad, so there is nothing to check",
             r->check->what);
    return false;
}

/* NULL + error. */
static tn_tensor *result_of(const check_job *c, tn_tensor *const *inputs) {
    tn_tensor *y = tn_call_guarded(c->fn, c->user, (tn_tensors){inputs, c->inputs.n});
    if (!y) tn_raise(TN_ERR_INVALID, "%s: the function returned NULL without an error", c->what);
    return y;
}

static tn_tensor *call(const run *r) {
    const check_job *c = r->check;
    tn_tensor *y = result_of(c, r->leaves);
    if (!y) return NULL;
    if (!is_live(y, c->what, "the function's result")) return NULL;
    if (tn_dtype_is(tn_dtype_of(y), TN_F64)) return y;
    tn_raise(TN_ERR_DTYPE, "%s: the function's result is %s; central differences need f64", c->what,
             tn_dtype_name(tn_dtype_of(y)));
    return NULL;
}

/* Forward and backward once; gradients that were not reached stay NULL, which means zero. */
static bool analytic(run *r) {
    const bool recording = tn_set_grad_enabled(true);
    tn_tensor *y = call(r);
    tn_tensor *w = y ? check_weights(y, WEIGHT_SEED) : NULL;
    r->has_history = w && tn_requires_grad(y);
    if (r->has_history)
        tn_backward_wrt((tn_tensors){&y, 1}, (tn_tensors){r->asked, r->n_asked},
                        (tn_tensors){&w, 1}, NULL, r->grads);
    tn_set_grad_enabled(recording);
    if (!w || tn_error()) return false;
    r->n_weights = tn_numel(w);
    r->weights = doubles(r->n_weights);
    return r->weights &&
           tn_read(w, r->weights, (uint64_t)r->n_weights * sizeof *r->weights) == TN_OK;
}

/* w . f(x) */
static bool value(const run *r, double *out) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *y = call(r);
    double *data = y ? doubles(tn_numel(y)) : NULL;
    *out = 0;
    if (y && tn_numel(y) != r->n_weights)
        tn_raise(TN_ERR_SHAPE,
                 "%s: the function's result has %lld elements now and had %lld before",
                 r->check->what, (long long)tn_numel(y), (long long)r->n_weights);
    else if (data && tn_read(y, data, (uint64_t)tn_numel(y) * sizeof *data) == TN_OK)
        for (int64_t i = 0; i < r->n_weights; i++) *out += r->weights[i] * data[i];
    tn_scope_pop(scope);
    return tn_error() == TN_OK;
}

/* The weighted result with data as leaf number `index`. */
static bool value_at(run *r, int64_t index, const double *data, double *out) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *leaf = r->leaves[index], *moved = tn_from(data, sizes_of(leaf), TN_F64);
    r->leaves[index] = moved;
    const bool ok = moved && value(r, out);
    r->leaves[index] = leaf;
    tn_scope_pop(scope);
    return ok;
}

static bool compare(const run *r, int64_t index, int64_t element, double numeric, double exact) {
    const tn_gradcheck_opts *o = &r->check->opts;
    char name[96];
    if (fabs(numeric - exact) <= o->atol + o->rtol * fabs(numeric)) return true; /* NaN: false */
    name_input(r->check, index, name, sizeof name);
    tn_raise(TN_ERR_GRAD, "%s: %s, element %lld: numeric %.9g, analytic %.9g%s", r->check->what,
             name, (long long)element, numeric, exact,
             r->has_history ? "" : " (the result has no history: nothing was recorded)");
    return false;
}

static bool check_leaf(run *r, int64_t k) {
    tn_tensor *leaf = r->asked[k], *grad = r->grads[k];
    const double eps = r->check->opts.eps;
    double *x = doubles(tn_numel(leaf)), *g = doubles(tn_numel(leaf));
    if (!x || !g || tn_read(leaf, x, (uint64_t)tn_numel(leaf) * sizeof *x)) return false;
    if (grad && tn_read(grad, g, (uint64_t)tn_numel(leaf) * sizeof *g)) return false;
    for (int64_t i = 0; i < tn_numel(leaf); i++) {
        double above, below;
        const double at = x[i];
        x[i] = at + eps;
        if (!value_at(r, r->index[k], x, &above)) return false;
        x[i] = at - eps;
        if (!value_at(r, r->index[k], x, &below)) return false;
        x[i] = at;
        if (!compare(r, r->index[k], i, (above - below) / (2 * eps), grad ? g[i] : 0)) return false;
    }
    return true;
}

static void fill_defaults(tn_gradcheck_opts *o) {
    if (!(o->eps > 0)) o->eps = 1e-6;
    if (!(o->atol > 0)) o->atol = 1e-5;
    if (!(o->rtol > 0)) o->rtol = 1e-3;
}

tn_status check_run(const check_job *check) {
    check_job c = *check;
    run r = {.check = &c};
    fill_defaults(&c.opts);
    if (tn_error()) return tn_error();
    if (!c.fn || c.inputs.n < 0 || (c.inputs.n && !c.inputs.ptr))
        return tn_raise(TN_ERR_INVALID, "%s: a function and its inputs are needed", c.what);
    const tn_scope scope = tn_scope_push();
    if (!tn_error() && prepare(&r) && analytic(&r)) {
        const bool recording = tn_set_grad_enabled(false);
        for (int64_t k = 0; k < r.n_asked; k++)
            if (!check_leaf(&r, k)) break;
        tn_set_grad_enabled(recording);
    }
    tn_scope_pop(scope);
    return tn_error();
}

/* ---- Second derivative: the check of (inputs, v) -> v^T J ----------------------------------- */

typedef struct vjp {
    const check_job *check;
    const bool *asked; /* which inputs v^T J is taken for */
} vjp;

/* Leaves of the inner derivative: the outer check's own while it records, else fresh ones. */
static int64_t inner_leaves(const vjp *u, tn_tensor *const *in, int64_t n, tn_tensor **all,
                            tn_tensor **asked) {
    int64_t n_asked = 0;
    for (int64_t i = 0; i < n; i++) {
        all[i] = in[i];
        if (!u->asked[i]) continue;
        if (!tn_requires_grad(in[i])) {
            all[i] = tn_detach(in[i]);
            if (!all[i] || tn_set_requires_grad(all[i], true)) return -1;
        }
        asked[n_asked++] = all[i];
    }
    return n_asked;
}

static tn_tensor *weighted_vjp(const vjp *u, tn_tensor *const *in, int64_t n) {
    tn_tensor **room = tn_scope_alloc((uint64_t)(3 * n + 1) * sizeof *room);
    if (!room) return NULL;
    tn_tensor **asked = room + n, **grads = asked + n, *sum = NULL;
    const int64_t n_asked = inner_leaves(u, in, n, room, asked);
    if (n_asked < 0) return NULL;
    tn_tensor *y = result_of(u->check, room);
    if (!y) return NULL;
    tn_tensor *v = in[n];
    if (tn_requires_grad(y)) {
        const tn_backward_opts opts = {.create_graph = true};
        if (tn_backward_wrt((tn_tensors){&y, 1}, (tn_tensors){asked, n_asked}, (tn_tensors){&v, 1},
                            &opts, grads))
            return NULL;
        for (int64_t i = 0; i < n_asked; i++) {
            if (!grads[i]) continue;
            sum = check_weighted(sum, grads[i], GRADIENT_SEED + (uint64_t)i);
            if (!sum) return NULL;
        }
    }
    return sum ? sum : tn_zeros((tn_ints){NULL, 0}, TN_F64);
}

static tn_tensor *vjp_fn(void *user, tn_tensor *const *in, int64_t n) {
    const bool recording = tn_set_grad_enabled(true);
    tn_tensor *t = weighted_vjp(user, in, n - 1);
    tn_set_grad_enabled(recording);
    return t;
}

/* v: as large as the result, any values. */
static tn_tensor *make_v(const check_job *c) {
    const bool recording = tn_set_grad_enabled(false);
    tn_tensor *y = result_of(c, c->inputs.ptr);
    tn_tensor *v = y ? check_weights(y, WEIGHT_SEED + 1) : NULL;
    tn_set_grad_enabled(recording);
    return v && tn_set_requires_grad(v, true) == TN_OK ? v : NULL;
}

static tn_status check_twice(const check_job *c) {
    const int64_t n = c->inputs.n;
    bool *asked = tn_scope_alloc((uint64_t)n + 1);
    tn_tensor **inputs = tn_scope_alloc((uint64_t)(n + 1) * sizeof *inputs);
    const char **names = tn_scope_alloc((uint64_t)(n + 1) * sizeof *names);
    if (!asked || !inputs || !names) return tn_error();
    for (int64_t i = 0; i < n; i++) {
        inputs[i] = c->inputs.ptr[i];
        names[i] = c->names ? c->names[i] : NULL;
        asked[i] = inputs[i] && check_is_floating(inputs[i]) && tn_requires_grad(inputs[i]);
    }
    inputs[n] = make_v(c);
    names[n] = "v (the gradient that came in)";
    if (!inputs[n]) return tn_error();
    vjp u = {c, asked};
    const check_job outer = {vjp_fn, &u, {inputs, n + 1}, c->what, names, c->opts};
    return check_run(&outer);
}

tn_status check_run_twice(const check_job *c) {
    if (tn_error()) return tn_error();
    if (!c->fn || c->inputs.n < 0 || c->inputs.n > INT32_MAX || (c->inputs.n && !c->inputs.ptr))
        return tn_raise(TN_ERR_INVALID, "%s: a function and its inputs are needed", c->what);
    for (int64_t i = 0; i < c->inputs.n; i++)
        if (c->inputs.ptr[i] && !is_live(c->inputs.ptr[i], c->what, "an input")) return tn_error();
    const tn_scope scope = tn_scope_push();
    if (!tn_error()) check_twice(c);
    tn_scope_pop(scope);
    return tn_error();
}

/* ---- Public --------------------------------------------------------------------------------- */

static tn_status compared(const check_job *c, tn_status status) {
    if (status || check_elements(c)) return status;
    return tn_raise(TN_ERR_GRAD,
                    "%s: no input that requires grad has an element, so nothing was "
                    "compared",
                    c->what);
}

tn_status tn_gradcheck(tn_tensors_fn fn, void *user, tn_tensors inputs,
                       const tn_gradcheck_opts *opts) {
    check_job c = {.fn = fn, .user = user, .inputs = inputs, .what = "gradcheck"};
    if (opts) c.opts = *opts;
    return compared(&c, check_run(&c));
}

tn_status tn_gradgradcheck(tn_tensors_fn fn, void *user, tn_tensors inputs,
                           const tn_gradcheck_opts *opts) {
    check_job c = {.fn = fn, .user = user, .inputs = inputs, .what = "gradgradcheck"};
    if (opts) c.opts = *opts;
    return compared(&c, check_run_twice(&c));
}
