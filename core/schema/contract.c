/* contract.c - what must hold before a shape rule runs.
 *
 * Invariants: a check allocates nothing, reads metadata only, and writes nothing but normalised
 * dims. Beyond what schema.h says: a dim named like an int argument must equal that argument;
 * dim(x+1) admits one position past the end (unsqueeze, stack); on a list a shape or rank holds for
 * every tensor, and dim(list) speaks of the first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/schema/contract.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>

typedef struct where { /* an argument, or one entry of a list argument */
    uint32_t param;
    int64_t entry; /* -1: not a list */
} where;

typedef struct bound { /* what a dim name stands for, once a tensor gave it */
    bool set;
    int64_t size;
    where from;
    int32_t dim;
} bound;

typedef struct check {
    const tni_contract *contract;
    const tni_schema *schema;
    tn_value *args;
    uint32_t n_args;
    int64_t *ints; /* next free of ints_out */
    char *why;
    uint64_t capacity;
    bound bounds[TNI_CONTRACT_NAMES];
} check;

/* Starts why with "x[2]: " and the message; returns code. */
__attribute__((format(printf, 4, 5))) static tn_status refuse(check *c, tn_status code, where w,
                                                              const char *format, ...) {
    if (!c->why || c->capacity == 0) return code;
    const char *name = c->schema->params[w.param].name;
    const int n = w.entry < 0
                      ? snprintf(c->why, c->capacity, "%s: ", name)
                      : snprintf(c->why, c->capacity, "%s[%lld]: ", name, (long long)w.entry);
    if (n < 0 || (uint64_t)n >= c->capacity) return code;
    va_list list;
    va_start(list, format);
    tn_vtext(c->why + n, c->capacity - (uint64_t)n, format, list);
    va_end(list);
    return code;
}

static const tn_value *argument(const check *c, uint32_t param) {
    static const tn_value none = {.tag = TN_TAG_NONE};
    return param < c->n_args ? &c->args[param] : &none;
}

/* Tensors of an argument: 0 when absent. */
static uint32_t count_views(const check *c, uint32_t param) {
    const tn_value *v = argument(c, param);
    if (v->tag == TN_TAG_VIEWS) return v->aux;
    return v->tag == TN_TAG_VIEW && v->view ? 1 : 0;
}

static const tn_view *view_at(const check *c, uint32_t param, uint32_t i, where *w) {
    const tn_value *v = argument(c, param);
    *w = (where){param, v->tag == TN_TAG_VIEWS ? (int64_t)i : -1};
    return v->tag == TN_TAG_VIEWS ? v->views[i] : v->view;
}

/* "[2,3,4]"; cut when out is full. */
static const char *shape_text(const tn_view *v, char *out, size_t capacity) {
    size_t n = (size_t)snprintf(out, capacity, "[");
    for (int32_t i = 0; i < v->rank && n < capacity; i++)
        n += (size_t)snprintf(out + n, capacity - n, i ? ",%lld" : "%lld", (long long)v->sizes[i]);
    if (n < capacity) snprintf(out + n, capacity - n, "]");
    return out;
}

static void bound_text(const check *c, const bound *b, char *out, size_t capacity) {
    const char *name = c->schema->params[b->from.param].name;
    if (b->from.entry < 0)
        snprintf(out, capacity, "%s dim %d", name, (int)b->dim);
    else
        snprintf(out, capacity, "%s[%lld] dim %d", name, (long long)b->from.entry, (int)b->dim);
}

/* NAME/factor or NAME*factor: what the size must be. */
static tn_status apply_factor(check *c, const tni_dim_spec *d, where w, int32_t dim,
                              int64_t *size) {
    const char *name = c->contract->names[d->name];
    const char *factor_name = d->param < 0 ? "the factor" : c->schema->params[d->param].name;
    int64_t factor = d->number;
    if (d->param >= 0) {
        const tn_value *v = argument(c, (uint32_t)d->param);
        if (v->tag != TN_TAG_INT) return TN_OK;
        factor = v->i;
    }
    if (factor < 1)
        return refuse(c, TN_ERR_INVALID, w,
                      "dim %d must be %s%c%s, but %s is %lld; it must be at least 1", (int)dim,
                      name, d->op, factor_name, factor_name, (long long)factor);
    if (d->op == '/' && *size % factor != 0)
        return refuse(c, TN_ERR_SHAPE, w,
                      "dim %d must be %s/%s, but %s is %lld, which %s = %lld does not divide",
                      (int)dim, name, factor_name, name, (long long)*size, factor_name,
                      (long long)factor);
    if (d->op == '/')
        *size /= factor;
    else if (__builtin_mul_overflow(*size, factor, size))
        return refuse(c, TN_ERR_OVERFLOW, w, "dim %d must be %s*%s, which overflows", (int)dim,
                      name, factor_name);
    return TN_OK;
}

static tn_status check_named(check *c, const tni_dim_spec *d, where w, int32_t dim, int64_t size) {
    bound *b = &c->bounds[d->name];
    if (!b->set) { /* with op: what it is relative to was absent, so there is nothing to compare */
        if (d->op == 0) *b = (bound){true, size, w, dim};
        return TN_OK;
    }
    int64_t wanted = b->size;
    const tn_status status = d->op ? apply_factor(c, d, w, dim, &wanted) : TN_OK;
    if (status || size == wanted) return status;
    const char *name = c->contract->names[d->name];
    char from[2 * TNI_NAME_BYTES];
    bound_text(c, b, from, sizeof from);
    if (d->op == 0)
        return refuse(c, TN_ERR_SHAPE, w, "dim %d is %lld, but %s is %lld (from %s)", (int)dim,
                      (long long)size, name, (long long)wanted, from);
    char factor[TNI_NAME_BYTES];
    if (d->param < 0)
        snprintf(factor, sizeof factor, "%lld", (long long)d->number);
    else
        memcpy(factor, c->schema->params[d->param].name, sizeof factor);
    return refuse(c, TN_ERR_SHAPE, w, "dim %d is %lld, but %s%c%s is %lld (%s is %lld from %s)",
                  (int)dim, (long long)size, name, d->op, factor, (long long)wanted, name,
                  (long long)b->size, from);
}

static tn_status check_dim_size(check *c, const tni_dim_spec *d, where w, int32_t dim,
                                int64_t size) {
    if (d->kind == TNI_DIM_NAME) return check_named(c, d, w, dim, size);
    if (d->kind == TNI_DIM_NUMBER && size != d->number)
        return refuse(c, TN_ERR_SHAPE, w, "dim %d is %lld, but must be %lld", (int)dim,
                      (long long)size, (long long)d->number);
    if (d->kind != TNI_DIM_ARGUMENT) return TN_OK;
    const tn_value *v = argument(c, (uint32_t)d->param);
    if (v->tag != TN_TAG_INT || v->i == size) return TN_OK;
    return refuse(c, TN_ERR_SHAPE, w, "dim %d is %lld, but argument %s is %lld", (int)dim,
                  (long long)size, c->schema->params[d->param].name, (long long)v->i);
}

static tn_status check_shape(check *c, const tni_contract_item *it) {
    const int32_t n = (int32_t)it->n_dims, least = it->rest < 0 ? n : n - 1;
    for (uint32_t k = 0; k < count_views(c, it->param); k++) {
        where w;
        char shape[128];
        const tn_view *v = view_at(c, it->param, k, &w);
        if (!v) continue;
        if (v->rank < least || (it->rest < 0 && v->rank != n))
            return refuse(c, TN_ERR_SHAPE, w, "rank is %d (shape %s), but must be %s%d",
                          (int)v->rank, shape_text(v, shape, sizeof shape),
                          it->rest < 0 ? "" : "at least ", (int)least);
        for (int32_t i = 0; i < n; i++) {
            if (i == it->rest) continue;
            const int32_t dim = it->rest >= 0 && i > it->rest ? i + v->rank - n : i;
            const tn_status status = check_dim_size(c, &it->dims[i], w, dim, v->sizes[dim]);
            if (status) return status;
        }
    }
    return TN_OK;
}

static tn_status check_rank(check *c, const tni_contract_item *it) {
    for (uint32_t k = 0; k < count_views(c, it->param); k++) {
        where w;
        char shape[128];
        const tn_view *v = view_at(c, it->param, k, &w);
        if (!v) continue;
        const bool low = it->lo.tag && v->rank < it->lo.i, high = it->hi.tag && v->rank > it->hi.i;
        if (!low && !high) continue;
        const char *word = it->lo.tag && it->hi.tag ? "" : it->lo.tag ? "at least " : "at most ";
        return refuse(c, TN_ERR_SHAPE, w, "rank is %d (shape %s), but must be %s%d", (int)v->rank,
                      shape_text(v, shape, sizeof shape), word, (int)(low ? it->lo.i : it->hi.i));
    }
    return TN_OK;
}

static tn_status normalise(check *c, const tni_contract_item *it, int64_t rank, int64_t *dim) {
    const where w = {it->param, -1};
    const int64_t limit = rank + it->extra < 1 ? 1 : rank + it->extra;
    if (*dim < -limit || *dim >= limit)
        return refuse(c, TN_ERR_INDEX, w,
                      "is %lld, but must be in %lld..%lld, because %s has rank %lld",
                      (long long)*dim, (long long)-limit, (long long)limit - 1,
                      c->schema->params[it->of].name, (long long)rank);
    if (*dim < 0) *dim += limit;
    return TN_OK;
}

static tn_status normalise_list(check *c, const tni_contract_item *it, int64_t rank, tn_value *v) {
    const where w = {it->param, -1};
    uint32_t seen = 0;
    int64_t *out = c->ints;
    if (v->aux > TN_MAX_RANK)
        return refuse(c, TN_ERR_INVALID, w, "has %u dims, but %s has rank %lld", v->aux,
                      c->schema->params[it->of].name, (long long)rank);
    for (uint32_t i = 0; i < v->aux; i++) {
        out[i] = v->ints[i];
        const tn_status status = normalise(c, it, rank, &out[i]);
        if (status) return status;
        if (seen >> out[i] & 1)
            return refuse(c, TN_ERR_INVALID, w, "names dim %lld twice (entry %u is %lld)",
                          (long long)out[i], i, (long long)v->ints[i]);
        seen |= 1u << out[i];
    }
    c->ints += v->aux;
    v->ints = out;
    return TN_OK;
}

static tn_status check_dim(check *c, const tni_contract_item *it) {
    where w;
    if (it->param >= c->n_args || count_views(c, it->of) == 0) return TN_OK;
    const tn_view *of = view_at(c, it->of, 0, &w);
    tn_value *v = &c->args[it->param];
    if (!of) return TN_OK;
    if (v->tag == TN_TAG_INT) return normalise(c, it, of->rank, &v->i);
    if (v->tag == TN_TAG_INTS && v->aux > 0) return normalise_list(c, it, of->rank, v);
    return TN_OK;
}

static bool below(tn_value a, tn_value b) { /* false for NaN: callers ask for the negation too */
    const bool ints = a.tag != TN_TAG_FLOAT && b.tag != TN_TAG_FLOAT;
    const double x = a.tag == TN_TAG_FLOAT ? a.f : (double)a.i,
                 y = b.tag == TN_TAG_FLOAT ? b.f : (double)b.i;
    return ints ? a.i < b.i : x < y;
}

static void number_text(tn_value v, char *out, size_t capacity) {
    if (v.tag == TN_TAG_FLOAT)
        tn_text(out, capacity, "%.9g", v.f);
    else
        snprintf(out, capacity, "%lld", (long long)v.i);
}

static tn_status check_number(check *c, const tni_contract_item *it, tn_value v, int64_t entry) {
    const bool nan = v.tag == TN_TAG_FLOAT && v.f != v.f;
    const bool low = it->lo.tag && (nan || below(v, it->lo)),
               high = it->hi.tag && (nan || below(it->hi, v));
    if (!low && !high) return TN_OK;
    char is[40], lo[40], hi[40];
    const where w = {it->param, entry};
    number_text(v, is, sizeof is);
    number_text(it->lo, lo, sizeof lo);
    number_text(it->hi, hi, sizeof hi);
    if (it->lo.tag && it->hi.tag)
        return refuse(c, TN_ERR_INVALID, w, "is %s, but must be in %s..%s", is, lo, hi);
    return refuse(c, TN_ERR_INVALID, w, "is %s, but must be at %s %s", is,
                  it->lo.tag ? "least" : "most", it->lo.tag ? lo : hi);
}

static tn_status check_range(check *c, const tni_contract_item *it) {
    const tn_value v = *argument(c, it->param);
    tn_status status = TN_OK;
    if (v.tag == TN_TAG_INT || v.tag == TN_TAG_FLOAT || v.tag == TN_TAG_BOOL)
        return check_number(c, it, v, -1);
    for (uint32_t i = 0; v.tag == TN_TAG_INTS && i < v.aux && !status; i++)
        status = check_number(c, it, tn_int(v.ints[i]), i);
    for (uint32_t i = 0; v.tag == TN_TAG_FLOATS && i < v.aux && !status; i++)
        status = check_number(c, it, tn_float(v.floats[i]), i);
    return status;
}

tn_status tni_contract_check(const tni_contract *contract, const tni_schema *schema, tn_value *args,
                             uint32_t n_args, int64_t *ints_out, char *why, uint64_t capacity) {
    if (!contract) return TN_OK;
    check c;
    memset(&c, 0, offsetof(check, bounds));
    for (uint32_t i = 0; i < contract->n_names; i++) c.bounds[i].set = false;
    c.contract = contract, c.schema = schema, c.args = args, c.n_args = n_args;
    c.ints = ints_out, c.why = why, c.capacity = capacity;
    for (uint32_t i = 0; i < contract->n_items; i++) {
        const tni_contract_item *it = &contract->items[i];
        const tn_status status = it->kind == TNI_ITEM_SHAPE  ? check_shape(&c, it)
                                 : it->kind == TNI_ITEM_DIM  ? check_dim(&c, it)
                                 : it->kind == TNI_ITEM_RANK ? check_rank(&c, it)
                                 : it->kind == TNI_ITEM_HELD ? TN_OK /* held.c */
                                                             : check_range(&c, it);
        if (status) return status;
    }
    return TN_OK;
}
