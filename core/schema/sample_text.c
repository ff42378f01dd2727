/* sample_text.c - parses one sample call. Invariant: an accepted sample has a value, tensors or a
 * default for every argument of the schema; allocates nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/schema/lex.h"
#include "core/schema/sample.h"
#include "core/schema/schema.h"

/* Moves past the next '|', which no string hides. False at the end. */
static bool skip_sample(tni_lex *l) {
    for (bool quoted = false; *l->p; l->p++) {
        if (*l->p == '"') quoted = !quoted;
        if (*l->p == '|' && !quoted) return l->p++, true;
    }
    return false;
}

/* ---- Tensors --------------------------------------------------------------------------------- */

/* The next one, zeroed; it counts once n_tensors does. NULL: there is no room. */
static tni_sample_tensor *next_tensor(tni_lex *l, tni_sample *out) {
    tni_sample_tensor *t = &out->tensors[out->n_tensors];
    if (out->n_tensors < TNI_SAMPLE_TENSORS) return memset(t, 0, sizeof *t);
    tni_lex_failf(l, l->p, "expected at most %d tensors, found more", TNI_SAMPLE_TENSORS);
    return NULL;
}

static bool add_absent(tni_lex *l, tni_sample *out) {
    tni_sample_tensor *t = next_tensor(l, out);
    if (!t) return false;
    t->absent = true;
    out->n_tensors++;
    return true;
}

static bool parse_sizes(tni_lex *l, tni_sample *out) {
    tni_sample_tensor *t = next_tensor(l, out);
    const char *at = l->p;
    if (!t) return false;
    if (!tni_lex_ints(l, t->sizes, TN_MAX_RANK, &t->rank)) return false;
    for (uint32_t i = 0; i < t->rank; i++)
        if (t->sizes[i] < 0 || t->sizes[i] > INT32_MAX)
            return tni_lex_failf(l, at, "expected sizes of at least 0, found %lld",
                                 (long long)t->sizes[i]);
    out->n_tensors++;
    return true;
}

static bool parse_list(tni_lex *l, bool optional, tni_sample *out) {
    if (!tni_lex_need(l, "[")) return false;
    if (tni_lex_take(l, "]")) return true;
    do {
        tni_lex_skip(l);
        const bool absent = optional && tni_lex_word(l, "None");
        if (absent ? !add_absent(l, out) : !parse_sizes(l, out)) return false;
    } while (tni_lex_take(l, ","));
    return tni_lex_take(l, "]") || tni_lex_fail(l, l->p, "',' or ']'");
}

static bool parse_bound(tni_lex *l, double *out) {
    tn_value number;
    if (!tni_lex_number(l, &number)) return false;
    *out = number.tag == TN_TAG_INT ? (double)number.i : number.f;
    return true;
}

static bool parse_range(tni_lex *l, tni_sample_tensor *t) {
    const char *at = l->p;
    if (!parse_bound(l, &t->low) || !tni_lex_need(l, "..") || !parse_bound(l, &t->high))
        return false;
    if (t->low >= -1e6 && t->low < t->high && t->high <= 1e6) return true;
    return tni_lex_fail(l, at, "a range low..high within -1e6..1e6");
}

/* Into t: how it is filled. */
static bool parse_fill(tni_lex *l, const tni_param *p, tni_sample_tensor *t) {
    const char *at = l->p;
    switch (*l->p) {
    case '>':
        t->fill = TNI_FILL_POSITIVE;
        return tni_lex_need(l, ">") && (tni_lex_word(l, "0") || tni_lex_fail(l, l->p, "0"));
    case '<':
        l->p++;
        t->fill = TNI_FILL_BELOW;
        if (!tni_lex_int(l, &t->below, "a whole number")) return false;
        if (t->below < 1) return tni_lex_fail(l, at + 1, "a limit of at least 1");
        t->whole = *l->p == ':';
        return !t->whole || (l->p++, tni_lex_word(l, "i64")) || tni_lex_fail(l, l->p, "i64");
    case ':':
        l->p++;
        t->fill = TNI_FILL_RANGE;
        return parse_range(l, t);
    case '?':
        break;
    default:
        return true;
    }
    l->p++;
    t->fill = TNI_FILL_BOOL;
    if (!p->fixed || tn_dtype_is(p->dtype, TN_BOOL)) return true;
    return tni_lex_failf(l, at, "expected numbers, because %s is not Tensor<bool>, found '?'",
                         p->name);
}

static bool parse_tensors(tni_lex *l, const tni_param *p, uint32_t index, tni_sample *out) {
    tni_sample_tensor like = {.fill = TNI_FILL_ANY};
    const uint32_t first = out->n_tensors;
    if (!(p->type == TNI_TENSORS ? parse_list(l, p->optional, out) : parse_sizes(l, out)))
        return false;
    if (!parse_fill(l, p, &like)) return false;
    for (uint32_t i = first; i < out->n_tensors; i++) {
        tni_sample_tensor *t = &out->tensors[i];
        t->fill = like.fill, t->below = like.below, t->low = like.low, t->high = like.high;
        t->whole = like.whole;
    }
    out->is_tensor[index] = true;
    out->first[index] = first;
    out->count[index] = out->n_tensors - first;
    return true;
}

/* ---- Plain values ---------------------------------------------------------------------------- */

static bool parse_ints(tni_lex *l, tni_sample *out, tn_value *v) {
    uint32_t n = 0;
    int64_t *ints = out->ints + out->n_ints;
    if (!tni_lex_ints(l, ints, TNI_SAMPLE_INTS - out->n_ints, &n)) return false;
    out->n_ints += n;
    *v = tn_value_ints((tn_ints){ints, n});
    return true;
}

static bool parse_floats(tni_lex *l, tni_sample *out, tn_value *v) {
    double *floats = out->floats + out->n_floats;
    uint32_t n = 0;
    if (!tni_lex_need(l, "[")) return false;
    while (!tni_lex_take(l, "]")) {
        tn_value number;
        if (n && !tni_lex_need(l, ",")) return false;
        if (out->n_floats == TNI_SAMPLE_INTS) return tni_lex_fail(l, l->p, "fewer numbers");
        if (!tni_lex_number(l, &number)) return false;
        floats[n++] = number.tag == TN_TAG_INT ? (double)number.i : number.f;
        out->n_floats++;
    }
    *v = tn_value_floats((tn_floats){floats, n});
    return true;
}

static bool parse_bools(tni_lex *l, tni_sample *out, tn_value *v) {
    uint32_t n = 0;
    bool *bools = out->bools + out->n_bools;
    if (!tni_lex_bools(l, bools, TNI_SAMPLE_INTS - out->n_bools, &n)) return false;
    out->n_bools += n;
    *v = tn_value_bools((tn_bools){bools, n});
    return true;
}

static bool parse_bool(tni_lex *l, tn_value *v) {
    const bool yes = tni_lex_word(l, "true");
    if (!yes && !tni_lex_word(l, "false")) return tni_lex_fail(l, l->p, "true or false");
    *v = tn_bool(yes);
    return true;
}

static bool parse_dtype(tni_lex *l, tn_value *v) {
    char name[TNI_NAME_BYTES];
    tn_dtype dtype;
    const char *at = l->p;
    if (!tni_lex_name(l, name, sizeof name, true, "a dtype")) return false;
    if (!tni_dtype_by_name(name, &dtype)) return tni_lex_fail(l, at, "a dtype (such as f32)");
    *v = tn_value_dtype(dtype);
    return true;
}

static bool parse_seed(tni_lex *l, uint64_t *seed) {
    int64_t i = 0;
    if (!tni_lex_int(l, &i, "a seed")) return false;
    *seed = (uint64_t)i;
    return true;
}

static bool parse_number(tni_lex *l, const tni_param *p, tn_value *v) {
    if (p->type == TNI_SCALAR && !tni_lex_at_number(l)) return parse_bool(l, v);
    if (!tni_lex_number(l, v)) return false;
    if (p->type == TNI_FLOAT && v->tag == TN_TAG_INT) *v = tn_float((double)v->i);
    return true;
}

static bool parse_plain(tni_lex *l, const tni_param *p, uint32_t index, tni_sample *out) {
    tn_value *v = &out->values[index];
    tni_lex_skip(l);
    if (p->optional && tni_lex_word(l, "None")) return *v = tn_value_none(), true;
    switch (p->type) {
    case TNI_INT:
        *v = tn_int(0);
        return tni_lex_int(l, &v->i, "a whole number");
    case TNI_INTS:
        return parse_ints(l, out, v);
    case TNI_FLOATS:
        return parse_floats(l, out, v);
    case TNI_FLOAT:
    case TNI_SCALAR:
        return parse_number(l, p, v);
    case TNI_BOOL:
        return parse_bool(l, v);
    case TNI_BOOLS:
        return parse_bools(l, out, v);
    case TNI_STR:
        return tni_lex_string(l, v);
    case TNI_DTYPE:
        return parse_dtype(l, v);
    case TNI_GENERATOR:
        return parse_seed(l, &out->seeds[index]);
    case TNI_DEVICE:
        *v = tn_value_device((tn_device){TN_CPU, 0});
        return tni_lex_word(l, "cpu") || tni_lex_fail(l, l->p, "cpu");
    case TNI_TENSOR:
    case TNI_TENSORS:
        break;
    }
    return tni_lex_failf(l, l->p, "expected sizes of tensor %s, found '='", p->name);
}

/* ---- One sample ------------------------------------------------------------------------------ */

static bool parse_argument(tni_lex *l, const tni_schema *s, tni_sample *out, bool *given) {
    char name[TNI_NAME_BYTES];
    tni_lex_skip(l);
    const char *at = l->p;
    if (!tni_lex_name(l, name, sizeof name, true, "an argument name")) return false;
    const int i = tni_schema_param(s, name);
    if (i < 0) return tni_lex_failf(l, at, "expected an argument of %s, found '%s'", s->name, name);
    if (given[i]) return tni_lex_failf(l, at, "expected another argument, found '%s' again", name);
    given[i] = true;
    const tni_param *p = &s->params[i];
    if (tni_lex_take(l, "=")) return parse_plain(l, p, (uint32_t)i, out);
    if (*l->p != '[') return tni_lex_fail(l, l->p, "'=' or '['");
    if (p->type == TNI_TENSOR || p->type == TNI_TENSORS)
        return parse_tensors(l, p, (uint32_t)i, out);
    return tni_lex_failf(l, l->p, "expected '=', because %s is no tensor, found '['", name);
}

static bool parse_sample(tni_lex *l, const tni_schema *s, tni_sample *out) {
    bool given[TNI_MAX_ARGS] = {false};
    for (uint32_t i = 0; i < s->n_params; i++) out->values[i] = s->params[i].def;
    while (!tni_lex_end(l) && *l->p != '|')
        if (!parse_argument(l, s, out, given)) return false;
    for (uint32_t i = 0; i < s->n_params; i++) {
        const tni_param *p = &s->params[i];
        if (given[i] || p->has_default || p->optional || p->type == TNI_GENERATOR) continue;
        return tni_lex_failf(l, l->p, "expected a value for %s, which has no default, found none",
                             p->name);
    }
    return true;
}

tn_status tni_sample_parse(const char *text, int64_t i, const tni_schema *s, tni_sample *out,
                           char *why, uint64_t capacity) {
    if (why && capacity) why[0] = 0;
    memset(out, 0, sizeof *out);
    tni_lex l = {.text = text ? text : "", .p = text ? text : "", .why = why, .capacity = capacity};
    if (i < 0 || tni_lex_end(&l)) return TN_ERR_NOTFOUND;
    for (int64_t k = 0; k < i; k++)
        if (!skip_sample(&l)) return TN_ERR_NOTFOUND;
    return parse_sample(&l, s, out) ? TN_OK : TN_ERR_FORMAT;
}
