/* ctype.c - one row per type of the schema language: its C types, and the ways to a tn_value and
 * back.
 *
 * Invariant: what a taker makes of a value, the maker of the same argument makes that value of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/opgen/ctype.h"

typedef struct type_row {
    const char *type, *maybe; /* maybe: NULL = zero says "absent" by itself */
    const char *make;         /* wraps a C value into a tn_value */
    const char *set;          /* suffix that is true when the value is there; NULL: always there */
    const char *take, *take_maybe; /* in full; take_maybe NULL: as take */
    const char *make_maybe;        /* in full, if it may be absent; NULL: as make */
} type_row;

static const type_row types[] = {
    [TNI_TENSOR] = {"tn_tensor *", NULL, "tn_value_tensor", NULL, "tnk_as_tensor", NULL, NULL},
    [TNI_TENSORS] = {"tn_tensors ", NULL, "tn_value_tensors", ".ptr", "tnk_as_tensors", NULL,
                     "tnk_of_maybe_tensors"},
    [TNI_INT] = {"int64_t ", "tn_maybe_int ", "tn_int", NULL, "tnk_as_int", "tnk_as_maybe_int",
                 "tnk_of_maybe_int"},
    [TNI_INTS] = {"tn_ints ", NULL, "tn_value_ints", ".ptr", "tnk_as_ints", NULL,
                  "tnk_of_maybe_ints"},
    [TNI_FLOAT] = {"double ", "tn_maybe_float ", "tn_float", NULL, "tnk_as_float",
                   "tnk_as_maybe_float", "tnk_of_maybe_float"},
    [TNI_FLOATS] = {"tn_floats ", NULL, "tn_value_floats", ".ptr", "tnk_as_floats", NULL,
                    "tnk_of_maybe_floats"},
    [TNI_BOOL] = {"bool ", "tn_maybe_bool ", "tn_bool", NULL, "tnk_as_bool", "tnk_as_maybe_bool",
                  "tnk_of_maybe_bool"},
    [TNI_BOOLS] = {"tn_bools ", NULL, "tn_value_bools", ".ptr", "tnk_as_bools", NULL,
                   "tnk_of_maybe_bools"},
    [TNI_STR] = {"const char *", NULL, "tn_ops_str", "", "tnk_as_text", NULL, NULL},
    [TNI_DTYPE] = {"tn_dtype ", NULL, "tn_value_dtype", ".lanes", "tnk_as_dtype", NULL,
                   "tnk_of_maybe_dtype"},
    [TNI_DEVICE] = {"tn_device ", NULL, "tn_value_device", ".kind", "tnk_as_device", NULL,
                    "tnk_of_maybe_device"},
    [TNI_SCALAR] = {"tn_value ", NULL, "", ".tag", "", NULL, NULL},
    [TNI_GENERATOR] = {"tn_generator *", NULL, "tn_value_generator", NULL, NULL, NULL, NULL},
};

static bool is_list(const tni_param *p) {
    return p->type == TNI_TENSORS || p->type == TNI_INTS || p->type == TNI_FLOATS ||
           p->type == TNI_BOOLS;
}

bool opgen_option_is_maybe(const tni_param *p) {
    if (!types[p->type].maybe) return false;
    if (p->optional) return true;
    if (!p->has_default) return false;
    return p->def.tag == TN_TAG_FLOAT ? p->def.f != 0 : p->def.i != 0; /* NaN != 0 */
}

const char *opgen_option_type(const tni_param *p) {
    return opgen_option_is_maybe(p) ? types[p->type].maybe : types[p->type].type;
}

const char *opgen_option_set(const tni_param *p) {
    if (opgen_option_is_maybe(p)) return ".set";
    if (is_list(p) && p->has_default && p->def.tag != TN_TAG_NONE) return p->def.aux ? ".n" : NULL;
    if (!p->has_default && !p->optional) return NULL;
    if (p->type == TNI_SCALAR && p->def.tag == TN_TAG_NONE) return NULL; /* a zeroed one is none */
    return types[p->type].set;
}

const char *opgen_value_maker(const tni_param *p) { return types[p->type].make; }

/* ---- In full --------------------------------------------------------------------------------- */

bool opgen_is_wide(const tni_schema *s) { return s->n_params > TNI_MAX_POSITIONAL; }

/* A text has a length: nobody promises a library the 0 behind it. A generator may come as the
 * position in its stream that a call was given, so it stays a value. */
const char *opgen_full_type(const tni_param *p) {
    if (p->type == TNI_STR) return "tnk_text ";
    if (p->type == TNI_GENERATOR) return "tn_value ";
    return p->optional && types[p->type].maybe ? types[p->type].maybe : types[p->type].type;
}

const char *opgen_full_taker(const tni_param *p) {
    const type_row *t = &types[p->type];
    if (p->type == TNI_GENERATOR) return "";
    return p->optional && t->take_maybe ? t->take_maybe : t->take;
}

const char *opgen_full_maker(const tni_param *p) {
    const type_row *t = &types[p->type];
    if (p->type == TNI_STR) return "tnk_of_text";
    if (p->type == TNI_GENERATOR) return "";
    return p->optional && t->make_maybe ? t->make_maybe : t->make;
}

bool opgen_same_full(const tni_schema *a, const tni_schema *b) {
    /* structs, of several results and of many arguments, are named after the op */
    if (a->n_results > 1 || opgen_is_wide(a)) return false;
    if (a->n_params != b->n_params || a->n_results != b->n_results) return false;
    if (a->n_results && a->results[0].list != b->results[0].list) return false;
    for (uint32_t i = 0; i < a->n_params; i++)
        if (a->params[i].type != b->params[i].type ||
            a->params[i].optional != b->params[i].optional)
            return false;
    return true;
}
