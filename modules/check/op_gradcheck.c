/* op_gradcheck.c - the derivative checks for one op on one sample of its row.
 *
 * Every visible f64 result enters one weighted sum; results of narrower dtypes say nothing about
 * derivatives and are left out. Random ops run at a fixed position, so they are functions here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/check/check.h"

#include <stdio.h>
#include <string.h>

#include "modules/math/math_ops.h"

enum { SAMPLE_SEED = 7, RESULT_SEED = 200, NAME_BYTES = 64 };

typedef struct op_call { /* an op and a sample; tensors are replaced by those given */
    const tni_schema *schema;
    tn_op_ref ref;
    tn_value values[TN_SAMPLE_ARGS];
    uint32_t n_values;
    tn_rng rng;
    tn_tensor **tensors; /* of the sample, flattened */
    const char **names;
    int64_t n_tensors;
} op_call;

static tn_tensor *argument(const op_call *o, uint32_t param, tn_tensor *t) {
    return t && o->schema->params[param].mutated ? tn_clone(t) : t; /* leaves are not written */
}

static bool put_tensors(const op_call *o, uint32_t param, tn_value *v, tn_tensor *const **next) {
    if (v->tag == TN_TAG_TENSOR) {
        v->tensor = argument(o, param, *(*next)++);
        return !tn_error();
    }
    tn_tensor **list = tn_scope_alloc(((uint64_t)v->aux + 1) * sizeof *list);
    if (!list) return false;
    for (uint32_t i = 0; i < v->aux; i++) list[i] = argument(o, param, *(*next)++);
    v->tensors = list;
    return !tn_error();
}

static tn_tensor *add_result(tn_tensor *sum, tn_tensor *t, uint64_t seed) {
    if (!t || !tn_dtype_is(tn_dtype_of(t), TN_F64)) return sum;
    return check_weighted(sum, t, seed);
}

static tn_tensor *weigh(const tn_value *outs, int64_t n) {
    tn_tensor *sum = NULL;
    uint64_t seed = RESULT_SEED;
    for (int64_t i = 0; i < n && !tn_error(); i++) {
        if (outs[i].tag == TN_TAG_TENSOR) sum = add_result(sum, outs[i].tensor, seed++);
        for (uint32_t k = 0; outs[i].tag == TN_TAG_TENSORS && k < outs[i].aux && !tn_error(); k++)
            sum = add_result(sum, outs[i].tensors[k], seed++);
    }
    if (tn_error()) return NULL;
    return sum ? sum : tn_zeros((tn_ints){NULL, 0}, TN_F64);
}

static tn_tensor *op_fn(void *user, tn_tensor *const *in, int64_t n) {
    op_call *o = user;
    tn_value values[TN_SAMPLE_ARGS], outs[TNI_MAX_RESULTS];
    (void)n;
    memcpy(values, o->values, sizeof values);
    for (uint32_t i = 0; i < o->n_values; i++) {
        if (values[i].tag != TN_TAG_TENSOR && values[i].tag != TN_TAG_TENSORS) continue;
        if (!put_tensors(o, i, &values[i], &in)) return NULL;
    }
    for (uint32_t i = 0; i < TNI_MAX_RESULTS; i++) outs[i] = tn_value_none();
    const uint32_t n_outs = o->schema->n_visible;
    return tn_op_call(&o->ref, values, o->n_values, outs, n_outs) ? NULL : weigh(outs, n_outs);
}

/* ---- From a sample -------------------------------------------------------------------------- */

static bool take(op_call *o, tn_tensor *t, uint32_t param, int64_t in_list) {
    char *name = tn_scope_alloc(NAME_BYTES + 24);
    if (!name) return false;
    const char *plain = o->schema->params[param].name;
    if (in_list < 0)
        snprintf(name, NAME_BYTES + 24, "%s", plain);
    else
        snprintf(name, NAME_BYTES + 24, "%s[%lld]", plain, (long long)in_list);
    o->names[o->n_tensors] = name;
    o->tensors[o->n_tensors++] = t;
    if (!t) return true;
    return !check_is_floating(t) || tn_set_requires_grad(t, true) == TN_OK;
}

static bool take_value(op_call *o, uint32_t param) {
    tn_value *v = &o->values[param];
    if (v->tag == TN_TAG_TENSOR) return take(o, v->tensor, param, -1);
    for (uint32_t k = 0; v->tag == TN_TAG_TENSORS && k < v->aux; k++)
        if (!take(o, v->tensors[k], param, k)) return false;
    if (o->schema->params[param].type == TNI_GENERATOR) *v = tn_value_rng(&o->rng);
    return true;
}

/* An absent trailing generator would draw a new position at every call. */
static void fix_generator(op_call *o) {
    const tni_schema *s = o->schema;
    while (o->n_values < s->n_params && o->n_values < TN_SAMPLE_ARGS &&
           s->params[o->n_values].type == TNI_GENERATOR)
        o->values[o->n_values++] = tn_value_rng(&o->rng);
}

/* NOTFOUND past the last sample, without an error raised. */
static tn_status sample(op_call *o, int64_t i) {
    const tn_status status =
        tn_op_sample(o->ref.name, i, TN_F64, SAMPLE_SEED, o->values, &o->n_values);
    if (status) return status;
    uint64_t n = 1;
    for (uint32_t k = 0; k < o->n_values; k++)
        n += o->values[k].tag == TN_TAG_TENSORS ? o->values[k].aux : 1;
    o->tensors = tn_scope_alloc(n * sizeof *o->tensors);
    o->names = tn_scope_alloc(n * sizeof *o->names);
    if (!o->tensors || !o->names) return tn_error();
    for (uint32_t k = 0; k < o->n_values; k++)
        if (!take_value(o, k)) return tn_error();
    fix_generator(o);
    return TN_OK;
}

typedef struct request { /* which checks are asked for */
    int32_t order;
    const tn_gradcheck_opts *opts;
} request;

/* *elements: how many were compared. NOTFOUND as in sample. */
static tn_status check_sample(op_call o, int64_t i, const request *r, int64_t *elements) {
    char what[NAME_BYTES + 64];
    const tn_status status = sample(&o, i);
    if (status) return status;
    snprintf(what, sizeof what, "%s of op '%s', sample %lld",
             r->order == 1 ? "gradcheck" : "gradgradcheck", o.schema->name, (long long)i);
    check_job c = {.fn = op_fn,
                   .user = &o,
                   .inputs = {o.tensors, o.n_tensors},
                   .what = what,
                   .names = o.names};
    if (r->opts) c.opts = *r->opts;
    *elements = check_elements(&c);
    return r->order == 1 ? check_run(&c) : check_run_twice(&c);
}

static tn_status in_scope(const op_call *o, int64_t i, const request *r, int64_t *elements) {
    const tn_scope scope = tn_scope_push();
    const tn_status status = check_sample(*o, i, r, elements);
    tn_scope_pop(scope);
    return status;
}

/* Samples without an element are fine beside others, and show nothing alone. */
static tn_status nothing_compared(const op_call *o) {
    return tn_raise(TN_ERR_GRAD,
                    "gradcheck: no sample of op '%s' has an element, so nothing was compared; give "
                    "its row one that has",
                    o->ref.name);
}

static tn_status check_all(const op_call *o, const request *r) {
    int64_t n = 0, compared = 0, elements = 0;
    for (tn_status status; (status = in_scope(o, n, r, &elements)) != TN_ERR_NOTFOUND; n++) {
        if (status) return status;
        compared += elements;
    }
    if (tn_error()) return tn_error();
    if (n == 0)
        return tn_raise(TN_ERR_NOTFOUND,
                        "gradcheck: op '%s' has no samples, so there is nothing to check; give its "
                        "row some",
                        o->ref.name);
    return compared ? TN_OK : nothing_compared(o);
}

/* Has any sample of the row an element to compare? */
static bool row_compares(const op_call *o) {
    for (int64_t i = 0;; i++) {
        op_call one = *o;
        const tn_scope scope = tn_scope_push();
        const tn_status status = sample(&one, i);
        const check_job c = {.inputs = {one.tensors, one.n_tensors}};
        const bool some = !status && check_elements(&c) > 0;
        tn_scope_pop(scope);
        if (status || some) return some;
    }
}

static tn_status check_one(const op_call *o, int64_t i, const request *r) {
    int64_t elements = 0;
    const tn_status status = in_scope(o, i, r, &elements);
    if (status == TN_ERR_NOTFOUND && !tn_error())
        return tn_raise(status, "gradcheck: op '%s' has no sample %lld", o->ref.name, (long long)i);
    if (status || elements || row_compares(o)) return status;
    return tn_error() ? tn_error() : nothing_compared(o);
}

static bool find(op_call *o, const char *name) {
    tn_op_info info;
    o->schema = check_schema(name, &info);
    if (!o->schema) return false;
    o->ref.name = info.name;
    if (info.base && tn_op_find(info.base, &info)) return false;
    if (info.has_derivative || (info.has_decomposition && !info.no_grad)) return true;
    tn_raise(TN_ERR_GRAD, "gradcheck: '%s' has no derivative (%s)", name,
             info.no_grad ? info.no_grad : "its row gives none");
    return false;
}

tn_status tn_op_gradcheck(const char *name, int64_t i, int32_t order,
                          const tn_gradcheck_opts *opts) {
    op_call o = {.rng = {.seed = SAMPLE_SEED, .offset = 0}};
    if (tn_error()) return tn_error();
    if (!name || (order != 1 && order != 2))
        return tn_raise(TN_ERR_INVALID,
                        "tn_op_gradcheck: an op's name and order 1 or 2 are needed");
    const request r = {order, opts};
    const tn_scope scope = tn_scope_push();
    tn_status status = find(&o, name) ? TN_OK : tn_error();
    if (status == TN_OK) status = i < 0 ? check_all(&o, &r) : check_one(&o, i, &r);
    tn_scope_pop(scope);
    return status;
}
