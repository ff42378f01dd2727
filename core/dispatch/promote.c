/* promote.c - which dtype a call computes in: PyTorch's lattice, numbers and 0-dim tensors
 * included.
 *
 * Tensors with dims decide; 0-dim tensors, then numbers, only raise the category (bool < integer <
 * float).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/promote.h"

enum { BOOLEAN, INTEGER, FLOATING };

static int category(tn_dtype d) { return d.code == 6 ? BOOLEAN : d.code <= 1 ? INTEGER : FLOATING; }

static tn_dtype integers(tn_dtype a, tn_dtype b) {
    if (a.code == b.code) return a.bits >= b.bits ? a : b;
    tn_dtype s =
        a.code == 0 ? a : b; /* the other is u8: the smallest signed type that holds both */
    return s.bits <= 8 ? TN_I16 : s;
}

static tn_dtype floats(tn_dtype a, tn_dtype b) {
    if (a.bits == b.bits && a.code != b.code) return TN_F32; /* f16 and bf16 */
    return a.bits >= b.bits ? a : b;
}

bool tni_promote_pair(tn_dtype a, tn_dtype b, tn_dtype *out) {
    if (tn_dtype_index(a) < 0 || tn_dtype_index(b) < 0) return false;
    int ca = category(a), cb = category(b);
    if (ca != cb)
        *out = ca > cb ? a : b;
    else
        *out = ca == FLOATING ? floats(a, b) : ca == INTEGER ? integers(a, b) : a;
    return true;
}

/* How strongly an operand speaks: 2 tensors with dims, 1 0-dim tensors, 0 numbers. */
static int tier_of(const tn_tensor *t) { return t->flags & TNI_WRAPPED ? 0 : t->rank > 0 ? 2 : 1; }

typedef struct tiers {
    tn_dtype dtype[3];
    bool seen[3];
} tiers;

static bool tiers_add(tiers *t, int k, tn_dtype d) {
    if (k == 0 && category(d) == FLOATING) d = TN_F32; /* a number means the default float */
    if (!t->seen[k]) {
        t->seen[k] = true;
        t->dtype[k] = d;
        return tn_dtype_index(d) >= 0;
    }
    return tni_promote_pair(t->dtype[k], d, &t->dtype[k]);
}

/* A plain argument that is promoted, as Scalar<N>; an absent one says nothing. */
static bool tiers_add_number(tiers *t, const tn_value *v) {
    if (v->tag == TN_TAG_NONE) return true;
    return tiers_add(t, 0,
                     v->tag == TN_TAG_BOOL  ? TN_BOOL
                     : v->tag == TN_TAG_INT ? TN_I64
                                            : TN_F64);
}

static tn_dtype tiers_result(const tiers *t) {
    tn_dtype out = {0, 0, 0};
    for (int k = 2; k >= 0; k--) {
        if (!t->seen[k]) continue;
        if (out.lanes == 0 || category(t->dtype[k]) > category(out)) out = t->dtype[k];
    }
    return out;
}

/* What the class letter allows; integers become the default float where floats are required. */
static bool admit(char variable, tn_dtype *d, const char **wanted) {
    int c = category(*d);
    if (variable == 'F' && c != FLOATING) *d = TN_F32;
    *wanted = variable == 'N' || variable == 'A' ? "integers and floats"
              : variable == 'B'                  ? "booleans and integers"
                                                 : "integers";
    return !(((variable == 'N' || variable == 'A') && c == BOOLEAN) ||
             (variable == 'I' && c != INTEGER) || (variable == 'B' && c == FLOATING));
}

/* An in-place op computes in its target's dtype, which must be able to hold the result. */
static bool keep_target(const tni_invocation *v, char variable, tn_dtype *d) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < v->op->schema.n_params; i++) {
        const tni_param *p = &v->op->schema.params[i];
        uint32_t n = p->type == TNI_TENSOR ? 1 : p->type == TNI_TENSORS ? v->args[i].aux : 0;
        if (p->mutated && p->variable == variable && n > 0 && v->operands[k]) {
            tn_dtype target = v->operands[k]->dtype;
            if (category(*d) > category(target)) {
                tn_raise(TN_ERR_DTYPE,
                         "%s: the result is %s, but it would be written into '%s', which is %s; "
                         "use the form without '_'",
                         v->op->schema.name, tn_dtype_name(*d), p->name, tn_dtype_name(target));
                return false;
            }
            *d = target;
            return true;
        }
        k += n;
    }
    return true;
}

/* One variable, over all arguments that carry it. *any: some tensor did. */
static bool promote_variable(const tni_invocation *v, char variable, tn_dtype *out, bool *any) {
    tiers t = {0};
    uint32_t k = 0;
    *any = false;
    for (uint32_t i = 0; i < v->op->schema.n_params; i++) {
        const tni_param *p = &v->op->schema.params[i];
        uint32_t n = p->type == TNI_TENSOR ? 1 : p->type == TNI_TENSORS ? v->args[i].aux : 0;
        for (uint32_t j = 0; j < n; j++, k++) {
            if (p->variable != variable || !v->operands[k]) continue;
            *any = true;
            if (variable == 'A' && category(v->operands[k]->dtype) == BOOLEAN) {
                tn_raise(TN_ERR_DTYPE,
                         "%s: '%s' is bool, and takes integers and floats; convert it",
                         v->op->schema.name, p->name);
                return false;
            }
            if (!tiers_add(&t, tier_of(v->operands[k]), v->operands[k]->dtype)) {
                tn_raise(TN_ERR_DTYPE, "%s: '%s' has a dtype that cannot be promoted",
                         v->op->schema.name, p->name);
                return false;
            }
        }
        if (p->type == TNI_SCALAR && p->variable == variable) tiers_add_number(&t, &v->args[i]);
    }
    *out = tiers_result(&t);
    const char *wanted = "";
    if (*any && !admit(variable, out, &wanted)) {
        tn_raise(TN_ERR_DTYPE, "%s: takes %s, not %s", v->op->schema.name, wanted,
                 tn_dtype_name(*out));
        return false;
    }
    return !*any || keep_target(v, variable, out);
}

bool tni_promote(const tni_invocation *v, tni_promotion *out) {
    out->n = 0;
    for (uint32_t i = 0; i < v->op->schema.n_params; i++) {
        char variable = v->op->schema.params[i].variable;
        if (variable == 0 || tni_promotion_of(out, variable).lanes != 0 || out->n == 4) continue;
        bool any;
        tn_dtype d;
        if (!promote_variable(v, variable, &d, &any)) return false;
        if (!any) continue;
        out->variable[out->n] = variable;
        out->dtype[out->n++] = d;
    }
    return true;
}

tn_dtype tni_promotion_of(const tni_promotion *p, char variable) {
    for (int i = 0; i < p->n; i++)
        if (p->variable[i] == variable) return p->dtype[i];
    return (tn_dtype){0, 0, 0};
}
