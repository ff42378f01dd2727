/* sample.c - tn_op_sample: makes the tensors of a sample call.
 *
 * Owns the values samples are filled with. Invariants: the same (op, sample, dtype, seed) gives
 * the same bits on every machine; floats of one sample keep away from 0 (magnitude in [0.2,2],
 * or [0.5,2] where >0 is asked; unless a range is) and from each other (by 0.9/n for n elements
 * in all), so that no kink lies within a finite difference.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/check/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tenon/device.h>

#include "core/schema/sample.h"
#include "modules/math/math_ops.h"

_Static_assert((int)TNI_MAX_ARGS <= (int)TN_SAMPLE_ARGS,
               "callers have room for the arguments of any op");

typedef struct filler { /* gives each element of a sample its own slot in [0,1) */
    uint64_t seed;
    uint64_t slots; /* elements of all tensors of the sample, at least 1 */
    uint64_t step;  /* coprime to slots: i -> i * step + start visits each slot once */
    uint64_t start;
    uint64_t next; /* elements filled so far */
} filler;

static uint64_t mix(uint64_t x) { /* splitmix64 */
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t gcd(uint64_t a, uint64_t b) {
    while (b) {
        const uint64_t r = a % b;
        a = b, b = r;
    }
    return a;
}

static void filler_start(filler *f, uint64_t seed, uint64_t slots) {
    *f = (filler){.seed = mix(seed), .slots = slots ? slots : 1};
    f->start = mix(f->seed) % f->slots;
    f->step = mix(f->seed + 1) % f->slots;
    while (gcd(f->step, f->slots) != 1) f->step++;
}

/* Element number next: u in [0,1), no closer than 0.5/slots to that of another element; bits are
 * random. */
static double filler_next(filler *f, uint64_t *bits) {
    const uint64_t i = f->next++ % f->slots;
    const uint64_t slot = (uint64_t)(((__uint128_t)i * f->step + f->start) % f->slots);
    *bits = mix(f->seed ^ mix(i));
    const double jitter = 0.25 + 0.5 * ((double)(*bits >> 40) * 0x1p-24);
    return ((double)slot + jitter) / (double)f->slots;
}

static double float_value(filler *f, const tni_sample_tensor *t) {
    uint64_t bits;
    const double u = filler_next(f, &bits);
    if (t->fill == TNI_FILL_BELOW) return (double)(bits % (uint64_t)t->below);
    if (t->fill == TNI_FILL_BOOL) return (double)(bits & 1);
    if (t->fill == TNI_FILL_POSITIVE) return 0.5 + 1.5 * u;
    if (t->fill == TNI_FILL_RANGE) return t->low + (t->high - t->low) * u;
    return (0.2 + 1.8 * u) * (bits & 1 ? -1 : 1);
}

static int64_t int_value(filler *f, const tni_sample_tensor *t, bool has_sign) {
    uint64_t bits;
    filler_next(f, &bits);
    if (t->fill == TNI_FILL_BELOW) return (int64_t)(bits % (uint64_t)t->below);
    if (t->fill == TNI_FILL_BOOL) return (int64_t)(bits & 1);
    if (t->fill == TNI_FILL_RANGE) { /* the whole numbers inside; low if there is none */
        const int64_t low = (int64_t)ceil(t->low), high = (int64_t)floor(t->high);
        return high <= low ? low : low + (int64_t)(bits % (uint64_t)(high - low + 1));
    }
    const int64_t magnitude = 1 + (int64_t)((bits >> 1) % 9);
    return has_sign && t->fill == TNI_FILL_ANY && bits & 1 ? -magnitude : magnitude;
}

/* n numbers for a tensor of dtype: doubles, or 64-bit integers. pick_dtype made sure they fit. */
static void *numbers(filler *f, const tni_sample_tensor *t, tn_dtype dtype, int64_t n) {
    const bool floating = tn_dtype_in(dtype, TN_MASK_FLOAT);
    const bool has_sign = !tn_dtype_is(dtype, TN_U8) && !tn_dtype_is(dtype, TN_BOOL);
    void *x = tn_scope_alloc((uint64_t)n * sizeof(int64_t));
    int64_t *whole = x;
    double *real = x;
    for (int64_t i = 0; x && i < n; i++)
        if (floating)
            real[i] = float_value(f, t);
        else
            whole[i] = int_value(f, t, has_sign) & (tn_dtype_is(dtype, TN_BOOL) ? 1 : -1);
    return x;
}

/* ---- Dtypes ---------------------------------------------------------------------------------- */

static bool variable_takes(char variable, tn_dtype d) {
    if (variable == 'N' || variable == 'A') return tn_dtype_in(d, TN_MASK_ALL & ~TN_MASK(BOOL));
    if (variable == 'I') return tn_dtype_in(d, TN_MASK_INT);
    if (variable == 'B') return tn_dtype_in(d, TN_MASK_INT | TN_MASK(BOOL));
    return tn_dtype_in(d, TN_MASK_ALL); /* T; F: integers are promoted; none: any dtype as it is */
}

/* Smallest limit that does not fit the dtype exactly, for <n. */
static int64_t dtype_limit(tn_dtype d) {
    switch (tn_dtype_index(d)) {
    case TN_IX_BOOL:
        return 2;
    case TN_IX_I8:
        return 128;
    case TN_IX_U8:
    case TN_IX_BF16:
        return 256;
    case TN_IX_F16:
        return 2048;
    case TN_IX_I16:
        return 32768;
    case TN_IX_F32:
        return 1 << 24;
    case TN_IX_I32:
        return INT32_MAX;
    default:
        return INT64_C(1) << 53;
    }
}

static tn_status pick_dtype(const tni_schema *op, const tni_param *p, const tni_sample_tensor *t,
                            tn_dtype wanted, tn_dtype *out) {
    *out = p->fixed ? p->dtype : t->fill == TNI_FILL_BOOL ? TN_BOOL : t->whole ? TN_I64 : wanted;
    /* `wanted` speaks of the op's main variable; whole numbers beside that keep to theirs. */
    if (p->variable == 'I' && op->variable != 'I' && !variable_takes('I', *out)) *out = TN_I64;
    if (!variable_takes(p->variable, *out))
        return tn_raise(TN_ERR_DTYPE, "sample of %s: argument %s is Tensor<%c>, which cannot be %s",
                        op->name, p->name, p->variable ? p->variable : 'T', tn_dtype_name(*out));
    if (t->fill == TNI_FILL_BELOW && t->below > dtype_limit(*out))
        return tn_raise(TN_ERR_DTYPE,
                        "sample of %s: argument %s asks for numbers below %" PRId64
                        ", which do not all fit %s; ask with a wider dtype",
                        op->name, p->name, t->below, tn_dtype_name(*out));
    return TN_OK;
}

/* ---- One call -------------------------------------------------------------------------------- */

/* -1 if there is no such tensor. */
static int64_t elements(const tni_sample_tensor *t) {
    int64_t n = 1, bytes = sizeof(int64_t);
    for (uint32_t d = 0; d < t->rank; d++) {
        if (t->sizes[d] < 0 || __builtin_mul_overflow(bytes, t->sizes[d] ? t->sizes[d] : 1, &bytes))
            return -1;
        n *= t->sizes[d];
    }
    return n;
}

static tn_tensor *make_tensor(const tni_schema *op, const tni_param *p, const tni_sample_tensor *t,
                              tn_dtype wanted, filler *f) {
    tn_dtype dtype;
    const tn_ints sizes = {t->sizes, t->rank};
    const int64_t n = elements(t);
    if (pick_dtype(op, p, t, wanted, &dtype)) return NULL;
    if (n < 0) return tn_empty(sizes, dtype); /* says why not */
    const void *data = numbers(f, t, dtype, n);
    const tn_dtype given = tn_dtype_in(dtype, TN_MASK_FLOAT) ? TN_F64 : TN_I64;
    tn_tensor *x = data ? tn_from(data, sizes, given) : NULL;
    return x && !tn_dtype_is(dtype, given) ? tn_to(x, dtype) : x;
}

static tn_status make_tensors(const tni_schema *op, uint32_t index, const tni_sample *s,
                              tn_dtype wanted, filler *f, tn_value *out) {
    const tni_param *p = &op->params[index];
    const tni_sample_tensor *t = s->tensors + s->first[index];
    const uint32_t n = s->count[index];
    if (p->type == TNI_TENSOR) {
        *out = tn_value_tensor(make_tensor(op, p, t, wanted, f));
        return out->tensor ? TN_OK : tn_error();
    }
    tn_tensor **list = tn_scope_alloc((n + 1) * sizeof *list);
    if (!list) return tn_error();
    for (uint32_t i = 0; i < n; i++)
        if (!(list[i] = t[i].absent ? NULL : make_tensor(op, p, t + i, wanted, f)) && !t[i].absent)
            return tn_error();
    *out = tn_value_tensors((tn_tensors){list, n});
    return TN_OK;
}

/* A fixed position, so that the same sample draws the same numbers in every call. */
static tn_status make_generator(uint64_t seed, tn_value *out) {
    tn_rng *rng = tn_scope_alloc(sizeof *rng);
    if (!rng) return tn_error();
    *rng = (tn_rng){seed, 0};
    *out = tn_value_rng(rng);
    return TN_OK;
}

static tn_status make_values(const tni_schema *op, const tni_sample *s, tn_dtype wanted,
                             uint64_t seed, tn_value *values) {
    filler f;
    uint64_t slots = 0;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const int64_t n = elements(&s->tensors[i]);
        if (n > 0) slots += (uint64_t)n; /* too large: tn_empty says so */
    }
    filler_start(&f, seed, slots);
    for (uint32_t i = 0; i < op->n_params; i++) {
        tn_status status = TN_OK;
        values[i] = s->values[i];
        if (op->params[i].type == TNI_DEVICE) values[i] = tn_value_device(tn_current_device());
        if (s->is_tensor[i]) status = make_tensors(op, i, s, wanted, &f, &values[i]);
        if (op->params[i].type == TNI_GENERATOR)
            status = make_generator(seed ^ s->seeds[i], &values[i]);
        if (status) return status;
    }
    return TN_OK;
}

/* A pointwise twin writes its first argument, which must have the shape of the result: all
 * arguments, broadcast. (Samples are those of the base op, where it may be smaller.) */
static void widen_target(tni_sample *s) {
    tni_sample_tensor *target = &s->tensors[0];
    for (uint32_t i = 1; i < s->n_tensors; i++) {
        const tni_sample_tensor *t = &s->tensors[i];
        int64_t wide[TN_MAX_RANK];
        const uint32_t rank = t->rank > target->rank ? t->rank : target->rank;
        for (uint32_t d = 0; d < rank; d++) { /* dims from the end */
            const int64_t a = d < target->rank ? target->sizes[target->rank - 1 - d] : 1;
            const int64_t b = d < t->rank ? t->sizes[t->rank - 1 - d] : 1;
            wide[rank - 1 - d] = a == 1 ? b : a;
        }
        target->rank = rank;
        memcpy(target->sizes, wide, rank * sizeof *wide);
    }
}

tni_schema *check_schema(const char *op, tn_op_info *info) {
    char why[256];
    *info = (tn_op_info){.size = sizeof *info};
    if (tn_op_find(op, info)) return NULL;
    tni_schema *schema = tn_scope_alloc(sizeof *schema);
    if (!schema) return NULL;
    if (tni_schema_parse(info->schema, schema, why, sizeof why)) {
        tn_raise(TN_ERR_INTERNAL, "the schema of %s: %s", op, why);
        return NULL;
    }
    snprintf(schema->name, sizeof schema->name, "%s", info->name);
    if (info->base) schema->params[0].mutated = true; /* the row is the base's */
    return schema;
}

/* Past the last sample: NOTFOUND, and no error is raised, because that is how a loop over samples
 * ends. Values point into the sample. */
static tn_status read_sample(const char *op, int64_t i, const tni_schema *schema,
                             const tn_op_info *info, tni_sample *sample) {
    char why[256];
    tn_op_info base = *info;
    if (info->base && tn_op_find(info->base, &base)) return tn_error();
    const tn_status status = tni_sample_parse(base.samples, i, schema, sample, why, sizeof why);
    if (status && status != TN_ERR_NOTFOUND)
        return tn_raise(status, "sample %" PRId64 " of op %s from %s: %s; fix its samples column",
                        i, op, info->plugin, why);
    if (!status && info->base && strcmp(info->form, "pointwise") == 0) widen_target(sample);
    return status;
}

tn_status tn_op_sample(const char *op, int64_t i, tn_dtype dtype, uint64_t seed, tn_value *values,
                       uint32_t *n_values) {
    if (tn_error()) return tn_error();
    if (!op || !values || !n_values)
        return tn_raise(TN_ERR_INVALID, "tn_op_sample: op, values and n_values must not be NULL");
    if (tn_dtype_index(dtype) < 0)
        return tn_raise(TN_ERR_DTYPE,
                        "tn_op_sample: dtype {%d,%d,%d} is unknown; use one of TN_BOOL ... TN_F64",
                        dtype.code, dtype.bits, dtype.lanes);
    *n_values = 0;
    tn_op_info info;
    const tni_schema *schema = check_schema(op, &info);
    tni_sample *sample = schema ? tn_scope_alloc(sizeof *sample) : NULL;
    if (!sample) return tn_error();
    tn_status status = read_sample(op, i, schema, &info, sample);
    if (status) return status;
    status = make_values(schema, sample, dtype, seed, values);
    if (status == TN_OK) *n_values = schema->n_params;
    return status;
}
