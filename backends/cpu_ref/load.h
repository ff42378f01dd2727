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
#include <tenon/kit.h>

static inline bool ref_is_float(int ix) { return (TN_MASK_FLOAT >> ix & 1) != 0; }

/* ---- Numbers --------------------------------------------------------------------------------- */

/* x truncated towards zero into [low, high]; NaN gives 0. */
static inline int64_t ref_f64_to_int(double x, int64_t low, int64_t high) {
    if (x != x) return 0;
    if (x <= (double)low) return low;
    if (x >= (double)high) return high;
    return (int64_t)x;
}

/* v with 53 significant bits, the last one "sticky": rounding the result to a type of at most 51
 * bits gives what rounding v itself would give. */
static inline double ref_int_to_f64_sticky(int64_t v) {
    const uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (magnitude < UINT64_C(1) << 53) return (double)v;
    const double x = (double)(magnitude >> 11 | ((magnitude & 2047) != 0)) * 0x1p11;
    return v < 0 ? -x : x;
}

/* The conversion table: REF_<to>_OF_<from>. Only the rows and columns of F64 and I64 are needed. */
#define REF_F64_OF_BOOL(v) ((double)((v) != 0))
#define REF_F64_OF_U8(v)   ((double)(v))
#define REF_F64_OF_I8(v)   ((double)(v))
#define REF_F64_OF_I16(v)  ((double)(v))
#define REF_F64_OF_I32(v)  ((double)(v))
#define REF_F64_OF_I64(v)  ((double)(v))
#define REF_F64_OF_F16(v)  tnk_f16_to_f64(v)
#define REF_F64_OF_BF16(v) tnk_bf16_to_f64(v)
#define REF_F64_OF_F32(v)  ((double)(v))
#define REF_F64_OF_F64(v)  (v)

#define REF_BOOL_OF_F64(v) ((v) != 0)
#define REF_U8_OF_F64(v)   ((uint8_t)ref_f64_to_int(v, 0, UINT8_MAX))
#define REF_I8_OF_F64(v)   ((int8_t)ref_f64_to_int(v, INT8_MIN, INT8_MAX))
#define REF_I16_OF_F64(v)  ((int16_t)ref_f64_to_int(v, INT16_MIN, INT16_MAX))
#define REF_I32_OF_F64(v)  ((int32_t)ref_f64_to_int(v, INT32_MIN, INT32_MAX))
#define REF_I64_OF_F64(v)  ref_f64_to_int(v, INT64_MIN, INT64_MAX)
#define REF_F16_OF_F64(v)  tnk_f64_to_f16(v)
#define REF_BF16_OF_F64(v) tnk_f64_to_bf16(v)
#define REF_F32_OF_F64(v)  ((float)(v))

#define REF_I64_OF_BOOL(v) ((int64_t)((v) != 0))
#define REF_I64_OF_U8(v)   ((int64_t)(v))
#define REF_I64_OF_I8(v)   ((int64_t)(v))
#define REF_I64_OF_I16(v)  ((int64_t)(v))
#define REF_I64_OF_I32(v)  ((int64_t)(v))
#define REF_I64_OF_I64(v)  (v)
#define REF_I64_OF_F16(v)  REF_I64_OF_F64(tnk_f16_to_f64(v))
#define REF_I64_OF_BF16(v) REF_I64_OF_F64(tnk_bf16_to_f64(v))
#define REF_I64_OF_F32(v)  REF_I64_OF_F64((double)(v))

#define REF_BOOL_OF_I64(v) ((v) != 0)
#define REF_U8_OF_I64(v)   ((uint8_t)(v))
#define REF_I8_OF_I64(v)   ((int8_t)(v))
#define REF_I16_OF_I64(v)  ((int16_t)(v))
#define REF_I32_OF_I64(v)  ((int32_t)(v))
#define REF_F16_OF_I64(v)  tnk_f64_to_f16(ref_int_to_f64_sticky(v))
#define REF_BF16_OF_I64(v) tnk_f64_to_bf16(ref_int_to_f64_sticky(v))
#define REF_F32_OF_I64(v)  ((float)(v))

/* ---- Runs: n elements of dtype index ix at `at`, `stride` elements apart --------------------- */

#define REF_LOAD(index, NAME, name, ctype, class_)                                                 \
    case index:                                                                                    \
        for (int64_t i = 0; i < n; i++) out[i] = REF_TO(NAME)(((const ctype *)at)[i * stride]);    \
        return;
#define REF_STORE(index, NAME, name, ctype, class_)                                                \
    case index:                                                                                    \
        for (int64_t i = 0; i < n; i++) ((ctype *)at)[i * stride] = REF_FROM(NAME)(in[i]);         \
        return;

#define REF_TO(NAME)   REF_F64_OF_##NAME
#define REF_FROM(NAME) REF_##NAME##_OF_F64

static inline void ref_load_f64(int ix, const void *at, int64_t stride, int64_t n, double *out) {
    switch (ix) { TN_DTYPE_LIST(REF_LOAD) }
}

static inline void ref_store_f64(int ix, void *at, int64_t stride, int64_t n, const double *in) {
    switch (ix) { TN_DTYPE_LIST(REF_STORE) }
}

#undef REF_TO
#undef REF_FROM
#define REF_TO(NAME)   REF_I64_OF_##NAME
#define REF_FROM(NAME) REF_##NAME##_OF_I64

static inline void ref_load_i64(int ix, const void *at, int64_t stride, int64_t n, int64_t *out) {
    switch (ix) { TN_DTYPE_LIST(REF_LOAD) }
}

static inline void ref_store_i64(int ix, void *at, int64_t stride, int64_t n, const int64_t *in) {
    switch (ix) { TN_DTYPE_LIST(REF_STORE) }
}

#undef REF_TO
#undef REF_FROM
#undef REF_LOAD
#undef REF_STORE

#endif
