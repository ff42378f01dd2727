/* load.h - runs of elements of any dtype, read and written as double or as int64.
 *
 * Invariant: every conversion is defined for every value and rounds at most once, to nearest even.
 * Floating to integer truncates and saturates, NaN gives 0; integer to a narrower integer wraps;
 * anything to bool is "nonzero" (NaN is true).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_LOAD_H
#define TENON_CPU_REF_LOAD_H

#include <math.h>
#include <string.h>
#include <tenon/abi.h>

static inline bool tni_is_float(int ix) { return (TN_MASK_FLOAT >> ix & 1) != 0; }

static inline int64_t tni_item_bytes(const tn_view *v) { return v->dtype.bits / 8; }

/* Address of the element `offset` elements after the first. */
static inline void *tni_view_at(const tn_view *v, int64_t offset) {
    return (char *)v->data + v->byte_offset + offset * tni_item_bytes(v);
}

/* ---- Bits ------------------------------------------------------------------------------------ */

static inline uint64_t tni_f64_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double tni_bits_f64(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A 16-bit float with `mantissa` stored bits and exponent bias `bias`. `unit` is 1 / (its smallest
 * subnormal): below the smallest normal number values are multiples of that, above they are the
 * double's own bits with a rebased exponent. A carry out of the mantissa lands in the exponent. */
static inline uint16_t tni_f64_to_small(double x, int mantissa, uint64_t bias, double unit) {
    const uint64_t bits = tni_f64_bits(x), magnitude = bits & ~(UINT64_C(1) << 63);
    const uint64_t sign = bits >> 63 << 15, infinity = (2 * bias + 1) << mantissa;
    const int drop = 52 - mantissa;

    if (x != x) {
        const uint64_t payload = magnitude >> drop & ((UINT64_C(1) << mantissa) - 1);
        return (uint16_t)(sign | infinity | UINT64_C(1) << (mantissa - 1) | payload);
    }
    if (magnitude >> 52 <= 1023 - bias)
        return (uint16_t)(sign | (uint64_t)rint(tni_bits_f64(magnitude) * unit));
    const uint64_t rebased = magnitude - ((1023 - bias) << 52);
    const uint64_t half = (UINT64_C(1) << (drop - 1)) - 1 + (rebased >> drop & 1);
    const uint64_t rounded = (rebased + half) >> drop;
    return (uint16_t)(sign | (rounded < infinity ? rounded : infinity));
}

static inline uint16_t tni_f64_to_f16(double x) { return tni_f64_to_small(x, 10, 15, 0x1p24); }
static inline uint16_t tni_f64_to_bf16(double x) { return tni_f64_to_small(x, 7, 127, 0x1p133); }

static inline double tni_f16_to_f64(uint16_t h) {
    const uint64_t sign = (uint64_t)(h >> 15) << 63, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 0) return h >> 15 ? -(double)mantissa * 0x1p-24 : (double)mantissa * 0x1p-24;
    const uint64_t wide = exponent == 31 ? 2047 : exponent + (1023 - 15);
    return tni_bits_f64(sign | wide << 52 | mantissa << 42);
}

static inline double tni_bf16_to_f64(uint16_t h) {
    const uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* x truncated towards zero into [low, high]; NaN gives 0. */
static inline int64_t tni_f64_to_int(double x, int64_t low, int64_t high) {
    if (x != x) return 0;
    if (x <= (double)low) return low;
    if (x >= (double)high) return high;
    return (int64_t)x;
}

/* v with 53 significant bits, the last one "sticky": rounding the result to a type of at most 51
 * bits gives what rounding v itself would give. */
static inline double tni_int_to_f64_sticky(int64_t v) {
    const uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (magnitude < UINT64_C(1) << 53) return (double)v;
    const double x = (double)(magnitude >> 11 | ((magnitude & 2047) != 0)) * 0x1p11;
    return v < 0 ? -x : x;
}

/* The conversion table: TNI_<to>_OF_<from>. Only the rows and columns of F64 and I64 are needed. */
#define TNI_F64_OF_BOOL(v) ((double)((v) != 0))
#define TNI_F64_OF_U8(v)   ((double)(v))
#define TNI_F64_OF_I8(v)   ((double)(v))
#define TNI_F64_OF_I16(v)  ((double)(v))
#define TNI_F64_OF_I32(v)  ((double)(v))
#define TNI_F64_OF_I64(v)  ((double)(v))
#define TNI_F64_OF_F16(v)  tni_f16_to_f64(v)
#define TNI_F64_OF_BF16(v) tni_bf16_to_f64(v)
#define TNI_F64_OF_F32(v)  ((double)(v))
#define TNI_F64_OF_F64(v)  (v)

#define TNI_BOOL_OF_F64(v) ((v) != 0)
#define TNI_U8_OF_F64(v)   ((uint8_t)tni_f64_to_int(v, 0, UINT8_MAX))
#define TNI_I8_OF_F64(v)   ((int8_t)tni_f64_to_int(v, INT8_MIN, INT8_MAX))
#define TNI_I16_OF_F64(v)  ((int16_t)tni_f64_to_int(v, INT16_MIN, INT16_MAX))
#define TNI_I32_OF_F64(v)  ((int32_t)tni_f64_to_int(v, INT32_MIN, INT32_MAX))
#define TNI_I64_OF_F64(v)  tni_f64_to_int(v, INT64_MIN, INT64_MAX)
#define TNI_F16_OF_F64(v)  tni_f64_to_f16(v)
#define TNI_BF16_OF_F64(v) tni_f64_to_bf16(v)
#define TNI_F32_OF_F64(v)  ((float)(v))

#define TNI_I64_OF_BOOL(v) ((int64_t)((v) != 0))
#define TNI_I64_OF_U8(v)   ((int64_t)(v))
#define TNI_I64_OF_I8(v)   ((int64_t)(v))
#define TNI_I64_OF_I16(v)  ((int64_t)(v))
#define TNI_I64_OF_I32(v)  ((int64_t)(v))
#define TNI_I64_OF_I64(v)  (v)
#define TNI_I64_OF_F16(v)  TNI_I64_OF_F64(tni_f16_to_f64(v))
#define TNI_I64_OF_BF16(v) TNI_I64_OF_F64(tni_bf16_to_f64(v))
#define TNI_I64_OF_F32(v)  TNI_I64_OF_F64((double)(v))

#define TNI_BOOL_OF_I64(v) ((v) != 0)
#define TNI_U8_OF_I64(v)   ((uint8_t)(v))
#define TNI_I8_OF_I64(v)   ((int8_t)(v))
#define TNI_I16_OF_I64(v)  ((int16_t)(v))
#define TNI_I32_OF_I64(v)  ((int32_t)(v))
#define TNI_F16_OF_I64(v)  tni_f64_to_f16(tni_int_to_f64_sticky(v))
#define TNI_BF16_OF_I64(v) tni_f64_to_bf16(tni_int_to_f64_sticky(v))
#define TNI_F32_OF_I64(v)  ((float)(v))

/* ---- Runs: n elements of dtype index ix at `at`, `stride` elements apart --------------------- */

#define TNI_LOAD(index, NAME, name, ctype, class_)                                                 \
    case index:                                                                                    \
        for (int64_t i = 0; i < n; i++) out[i] = TNI_TO(NAME)(((const ctype *)at)[i * stride]);    \
        return;
#define TNI_STORE(index, NAME, name, ctype, class_)                                                \
    case index:                                                                                    \
        for (int64_t i = 0; i < n; i++) ((ctype *)at)[i * stride] = TNI_FROM(NAME)(in[i]);         \
        return;

#define TNI_TO(NAME)   TNI_F64_OF_##NAME
#define TNI_FROM(NAME) TNI_##NAME##_OF_F64

static inline void tni_load_f64(int ix, const void *at, int64_t stride, int64_t n, double *out) {
    switch (ix) { TN_DTYPE_LIST(TNI_LOAD) }
}

static inline void tni_store_f64(int ix, void *at, int64_t stride, int64_t n, const double *in) {
    switch (ix) { TN_DTYPE_LIST(TNI_STORE) }
}

#undef TNI_TO
#undef TNI_FROM
#define TNI_TO(NAME)   TNI_I64_OF_##NAME
#define TNI_FROM(NAME) TNI_##NAME##_OF_I64

static inline void tni_load_i64(int ix, const void *at, int64_t stride, int64_t n, int64_t *out) {
    switch (ix) { TN_DTYPE_LIST(TNI_LOAD) }
}

static inline void tni_store_i64(int ix, void *at, int64_t stride, int64_t n, const int64_t *in) {
    switch (ix) { TN_DTYPE_LIST(TNI_STORE) }
}

#undef TNI_TO
#undef TNI_FROM
#undef TNI_LOAD
#undef TNI_STORE

#endif
