/* invocation.c - arguments as the caller gave them, checked and flattened.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/invocation.h"

#include <stdio.h>
#include <string.h>

#include "core/autograd/tape.h"
#include "core/base/dtype.h"
#include "core/tensor/format.h"

static bool wrong_type(const tni_op *op, const tni_param *p, const char *wanted) {
    tn_raise(TN_ERR_INVALID, "%s: argument '%s' must be %s%s", op->schema.name, p->name, wanted,
             p->optional ? " or absent" : "");
    return false;
}

static bool take_list(const tni_op *op, const tni_param *p, const tn_value *v) {
    if (v->aux == UINT32_MAX || (v->aux > 0 && !v->ints))
        return wrong_type(op, p, "a list {pointer, count}");
    if (p->count >= 0 && v->aux != (uint32_t)p->count) {
        tn_raise(TN_ERR_INVALID, "%s: argument '%s' must have %d entries, not %u", op->schema.name,
                 p->name, p->count, v->aux);
        return false;
    }
    return true;
}

/* Everything but tensors. May change a value into the schema's type (an int given for a float). */
static bool take_plain(const tni_op *op, const tni_param *p, tn_value *v) {
    if (v->tag == TN_TAG_NONE && v->aux == 0 && (p->optional || p->type == TNI_GENERATOR))
        return true;
    switch (p->type) {
    case TNI_INT:
        return v->tag == TN_TAG_INT || wrong_type(op, p, "an int");
    case TNI_BOOL:
        return v->tag == TN_TAG_BOOL || wrong_type(op, p, "a bool");
    case TNI_DTYPE:
        return (v->tag == TN_TAG_DTYPE && tn_dtype_index(v->dtype) >= 0) ||
               wrong_type(op, p, "a dtype");
    case TNI_DEVICE:
        return v->tag == TN_TAG_DEVICE || wrong_type(op, p, "a device");
    case TNI_STR:
        return (v->tag == TN_TAG_STR && v->str) || wrong_type(op, p, "a string");
    case TNI_INTS:
        return v->tag == TN_TAG_INTS ? take_list(op, p, v) : wrong_type(op, p, "a list of ints");
    case TNI_FLOATS:
        return v->tag == TN_TAG_FLOATS ? take_list(op, p, v)
                                       : wrong_type(op, p, "a list of floats");
    case TNI_BOOLS:
        return v->tag == TN_TAG_BOOLS ? take_list(op, p, v) : wrong_type(op, p, "a list of bools");
    case TNI_SCALAR:
        return (v->aux == 0 && /* {5, true} is no tn_value, but C++ takes it for one */
                (v->tag == TN_TAG_INT || v->tag == TN_TAG_FLOAT || v->tag == TN_TAG_BOOL)) ||
               wrong_type(op, p, "a number: tn_int(..) or tn_float(..)");
    case TNI_GENERATOR:
        return v->tag == TN_TAG_GENERATOR || v->tag == TN_TAG_RNG ||
               wrong_type(op, p, "a generator");
    case TNI_FLOAT:
        if (v->tag == TN_TAG_INT) *v = tn_float((double)v->i);
        return v->tag == TN_TAG_FLOAT || wrong_type(op, p, "a float");
    case TNI_TENSOR:
    case TNI_TENSORS:
        break;
    }
    return false;
}

/* What the tensors decide together, gathered while each is at hand. */
typedef struct gathered {
    uint32_t flags; /* of any */
    bool views;     /* some is one */
    bool placed;    /* the invocation's place is known */
    bool apart;     /* not all are on it */
} gathered;

/* Tensors live where the first that is not a mere number lives; all others must be there too. */
static inline void gather(gathered *g, tni_invocation *v, const tn_tensor *t) {
    g->flags |= t->flags;
    g->views |= t->base != NULL;
    if (t->flags & TNI_WRAPPED) return;
    tni_place *p = t->storage->place;
    if (!g->placed) v->place = p;
    g->placed = true;
    g->apart |= p != v->place && !tni_same_device(p, v->place);
}

static inline bool take_tensor(tni_invocation *v, gathered *g, uint32_t i, tn_tensor *t) {
    const tni_param *p = &v->op->schema.params[i];
    v->operands[v->n_operands++] = t;
    if (!t && p->optional) return true;
    if (!tni_tensor_check(t, v->op->schema.name, p->name)) return false;
    gather(g, v, t);
    return true;
}

static bool take_tensors(tni_invocation *v, gathered *g, uint32_t i) {
    const tni_param *p = &v->op->schema.params[i];
    tn_value *a = &v->args[i];
    if (a->tag == TN_TAG_NONE && p->optional) *a = tn_value_tensors((tn_tensors){NULL, 0});
    if (a->tag != TN_TAG_TENSORS) return wrong_type(v->op, p, "a list of tensors");
    if (!take_list(v->op, p, a)) return false;
    for (uint32_t j = 0; j < a->aux; j++)
        if (!take_tensor(v, g, i, a->tensors[j])) return false;
    return true;
}

static inline bool take_arg(tni_invocation *v, gathered *g, uint32_t i) {
    tn_value *a = &v->args[i];
    if (v->op->types[i] == TNI_TENSOR) {
        if (a->tag == TN_TAG_NONE) *a = tn_value_tensor(NULL);
        if (a->tag == TN_TAG_TENSOR) return take_tensor(v, g, i, a->tensor);
        return wrong_type(v->op, &v->op->schema.params[i], "a tensor");
    }
    if (v->op->types[i] == TNI_TENSORS) return take_tensors(v, g, i);
    return take_plain(v->op, &v->op->schema.params[i], a);
}

/* Room for every tensor; long lists live in the scope. */
static bool make_room(tni_invocation *v) {
    uint64_t n = 0;
    v->operands = v->few;
    if (!v->op->lists) return true;
    for (uint32_t i = 0; i < v->op->n_args; i++) {
        const tn_value *a = &v->args[i];
        n += a->tag == TN_TAG_TENSORS && a->aux != UINT32_MAX ? a->aux : 1;
    }
    if (n > TNI_FLAT_OPERANDS) v->operands = tn_scope_alloc(n * sizeof(tn_tensor *));
    return v->operands != NULL;
}

static bool has_numbers(const tni_invocation *v) {
    for (uint32_t k = 0; k < v->n_operands; k++)
        if (v->operands[k]) return true;
    return false;
}

/* Where those are that do not go along with others; NULL if that is not one device. */
static tni_place *common_place(const tni_invocation *v) {
    tni_place *p = NULL;
    for (uint32_t k = 0; k < v->n_operands; k++) {
        const tn_tensor *t = v->operands[k];
        if (!t || (tni_is_number(t) && !tni_operand_param(v, k)->mutated)) continue;
        if (p && !tni_same_device(p, t->storage->place)) return NULL;
        p = t->storage->place;
    }
    return p;
}

__attribute__((noinline, cold)) static bool refuse_apart(const tni_invocation *v) {
    char text[600];
    tni_invocation_text(v, text, sizeof text);
    tn_raise(TN_ERR_DEVICE, "%s: tensors are on different devices %s; move them first",
             v->op->schema.name, text);
    return false;
}

/* False + DEVICE if the tensors are apart, save for numbers. Without tensors: an argument says where, or the
 * thread; numbers alone are on the cpu. */
__attribute__((noinline)) static bool find_place(tni_invocation *v, const gathered *g) {
    if (g->apart) return (v->place = common_place(v)) || refuse_apart(v);
    v->place = has_numbers(v) ? &tni_host : tni_place_here();
    for (uint32_t i = 0; v->place && i < v->op->n_args; i++)
        if (v->args[i].tag == TN_TAG_DEVICE)
            v->place = tni_place_known(v->args[i].device, v->op->schema.name);
    return v->place != NULL;
}

/* Views know only by looking whether they depend on something that wants a gradient. */
static inline bool wants_record(const tni_invocation *v, const gathered *g) {
    if (!tni_state_get()->grad_enabled) return false;
    return (g->flags & TNI_REQUIRES_GRAD) || (g->views && tni_tape_wanted(v->args, v->op->n_args));
}

/* "takes 2 arguments, not 3", "takes 1 to 2 arguments, not 3", "takes 1 argument, not 2
 * arguments" */
static bool wrong_count(const tni_schema *s, uint32_t n_args) {
    const bool one = s->n_params == 1;
    char least[24] = "";
    if (s->n_required < s->n_params) snprintf(least, sizeof least, "%u to ", s->n_required);
    tn_raise(TN_ERR_INVALID, "%s: takes %s%u argument%s, not %u%s", s->name, least, s->n_params,
             one ? "" : "s", n_args, one ? " arguments" : "");
    return false;
}

bool tni_invocation_fill(tni_invocation *v, const tni_op *op, const tn_value *args,
                         uint32_t n_args) {
    const tni_schema *s = &op->schema;
    v->op = op;
    v->n_operands = 0;
    if (n_args > s->n_params || n_args < s->n_required) return wrong_count(s, n_args);
    if (!args && n_args > 0) {
        tn_raise(TN_ERR_INVALID, "%s: its %u arguments are at NULL", s->name, n_args);
        return false;
    }
    for (uint32_t i = 0; i < n_args; i++) v->args[i] = args[i];
    for (uint32_t i = n_args; i < s->n_params; i++) v->args[i] = s->params[i].def;
    if (!make_room(v)) return false;
    gathered g = {0};
    for (uint32_t i = 0; i < s->n_params; i++)
        if (!take_arg(v, &g, i)) return false;
    v->recording = wants_record(v, &g);
    if (!__builtin_expect(g.placed && !g.apart, 1) && !find_place(v, &g)) return false;
    if (__builtin_expect(v->place != &tni_host, 0)) v->place = tni_place_current(v->place);
    return true;
}

const tni_param *tni_operand_param(const tni_invocation *v, uint32_t k) {
    uint32_t i = 0;
    for (uint32_t end = 0; i < v->op->n_args; i++) {
        end += tni_arg_tensors(v->op, v->args, i);
        if (k < end) break;
    }
    return &v->op->schema.params[i];
}

bool tni_arg_is_default(const tni_invocation *v, uint32_t i) {
    const tn_value *a = &v->args[i], *def = &v->op->schema.params[i].def;
    if (a->tag == TN_TAG_TENSOR) return !a->tensor;
    if (a->tag != def->tag || a->aux != def->aux)
        return a->tag == TN_TAG_RNG && def->tag == TN_TAG_NONE;
    const uint64_t bytes = a->aux * tni_entry_bytes(a);
    if (tni_entry_bytes(a)) return bytes == 0 || memcmp(a->ints, def->ints, bytes) == 0;
    return a->i == def->i;
}

uint64_t tni_invocation_text(const tni_invocation *v, char *out, uint64_t capacity) {
    uint64_t n = 0;
    uint32_t k = 0;
    for (uint32_t i = 0; i < v->op->schema.n_params; i++) {
        uint32_t count = tni_arg_tensors(v->op, v->args, i);
        for (uint32_t j = 0; j < count && k < v->n_operands; j++, k++) {
            if (!v->operands[k] || n + 96 > capacity) continue;
            tn_meta m;
            tni_tensor_meta(v->operands[k], &m);
            n += (uint64_t)snprintf(out + n, capacity - n, "%s%s ", n ? ", " : "(",
                                    v->op->schema.params[i].name);
            n += tni_shape_text(&m, out + n, capacity - n);
        }
    }
    if (n + 2 <= capacity) n += (uint64_t)snprintf(out + n, capacity - n, n ? ")" : "()");
    return n;
}
