/* dtype.c - names and sizes of dtypes, and conversion of single elements.
 *
 * Invariant: every conversion rounds once, to nearest even; 16-bit floats are made from the bits of
 * a double, never by way of a float.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/dtype.h"

#include <math.h>
#include <string.h>

#include <tenon/tenon.h>

const char *tn_dtype_name(tn_dtype d) {
    static const char *const names[] = {
#define NAME_ROW(index, NAME, name, ctype, class_) [index] = name,
        TN_DTYPE_LIST(NAME_ROW)
#undef NAME_ROW
    };
    const int index = tn_dtype_index(d);
    return index < 0 ? "?" : names[index];
}

int64_t tn_dtype_bytes(tn_dtype d) { return tni_dtype_bytes(d); }

/* ---- 16-bit floats: 1 sign bit, `exponent` bits, the rest mantissa --------------------------- */

static double widen(uint16_t bits, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    double value;
    if (exponent == (1 << exponent_bits) - 1) {
        value = mantissa ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        value = ldexp(mantissa, 1 - bias - mantissa_bits);
    } else {
        value = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    }
    return bits & 0x8000 ? -value : value;
}

static uint16_t narrow(double value, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const uint16_t infinity = (uint16_t)(((1 << exponent_bits) - 1) << mantissa_bits);
    if (isnan(value)) return (uint16_t)(sign | infinity | 1 << (mantissa_bits - 1));
    if (isinf(value)) return sign | infinity;
    int exponent;
    frexp(value, &exponent); /* |value| in [2^(exponent-1), 2^exponent) */
    exponent--;
    if (value == 0 || exponent < 1 - bias) exponent = 1 - bias; /* subnormals share the lowest */
    /* In units of the last place the value is below 2^(mantissa_bits+1); rint rounds half to
     * even. */
    const double units = rint(ldexp(fabs(value), mantissa_bits - exponent));
    if (exponent > bias) return sign | infinity;
    /* A carry out of the mantissa, also from subnormal to normal, adds one to the exponent:
     * right. */
    const int all = ((exponent + bias - 1) << mantissa_bits) + (int)units;
    return all >= infinity ? sign | infinity : (uint16_t)(sign | all);
}

/* ---- Elements -------------------------------------------------------------------------------- */

/* The memory may have been declared as anything: copies keep the compiler's aliasing rules. */
#define LOAD(type)                                                                                 \
    type value;                                                                                    \
    memcpy(&value, p, sizeof value)

static double load_f32(const void *p) {
    LOAD(float);
    return (double)value;
}
static double load_f64(const void *p) {
    LOAD(double);
    return value;
}
static uint16_t load_u16(const void *p) {
    LOAD(uint16_t);
    return value;
}
static int32_t load_i32(const void *p) {
    LOAD(int32_t);
    return value;
}
static int64_t load_i64(const void *p) {
    LOAD(int64_t);
    return value;
}

int64_t tni_element_int(const void *p, tn_dtype d) {
    switch (tn_dtype_index(d)) {
    case TN_IX_BOOL:
        return *(const uint8_t *)p != 0;
    case TN_IX_U8:
        return *(const uint8_t *)p;
    case TN_IX_I8:
        return *(const int8_t *)p;
    case TN_IX_I16:
        return (int16_t)load_u16(p);
    case TN_IX_I32:
        return load_i32(p);
    case TN_IX_I64:
        return load_i64(p);
    default:
        return 0;
    }
}

double tni_element_float(const void *p, tn_dtype d) {
    switch (tn_dtype_index(d)) {
    case TN_IX_F16:
        return widen(load_u16(p), 5);
    case TN_IX_BF16:
        return widen(load_u16(p), 8);
    case TN_IX_F32:
        return load_f32(p);
    case TN_IX_F64:
        return load_f64(p);
    default:
        return (double)tni_element_int(p, d);
    }
}

#define STORE(type, number)                                                                        \
    do {                                                                                           \
        const type value = (type)(number);                                                         \
        memcpy(out, &value, sizeof value);                                                         \
    } while (0)

/* An integer of `bits` bits; in u8 the negative ones of its magnitudes wrap, as in PyTorch. */
static bool fits(int64_t i, tn_dtype d) {
    if (d.code == 1) return i >= -UINT8_MAX && i <= UINT8_MAX;
    return d.bits == 64 || (i >= -(INT64_C(1) << (d.bits - 1)) && i < INT64_C(1) << (d.bits - 1));
}

static tn_status put_int(int64_t i, tn_dtype d, void *out) {
    switch (d.bits) {
    case 8:
        STORE(uint8_t, i);
        break;
    case 16:
        STORE(int16_t, i);
        break;
    case 32:
        STORE(int32_t, i);
        break;
    default:
        STORE(int64_t, i);
        break;
    }
    return TN_OK;
}

static tn_status put_float(tn_value v, tn_dtype d, void *out) {
    const double f = v.tag == TN_TAG_FLOAT ? v.f : (double)v.i;
    switch (tn_dtype_index(d)) {
    case TN_IX_F16:
        STORE(uint16_t, narrow(f, 5));
        break;
    case TN_IX_BF16:
        STORE(uint16_t, narrow(f, 8));
        break;
    case TN_IX_F32:
        STORE(float, v.tag == TN_TAG_FLOAT ? (float)v.f : (float)v.i);
        break;
    default:
        STORE(double, f);
        break;
    }
    return TN_OK;
}

/* The least magnitude that rounds to infinity. */
static double beyond(tn_dtype d) {
    switch (tn_dtype_index(d)) {
    case TN_IX_F16:
        return 65520;
    case TN_IX_BF16:
        return 0x1.ffp127;
    case TN_IX_F32:
        return 0x1.ffffffp127;
    default:
        return INFINITY;
    }
}

bool tni_dtype_holds(tn_dtype d, tn_value v) {
    const bool is_float = v.tag == TN_TAG_FLOAT;
    if (d.code == 6) return true;
    if (d.code == 2 || d.code == 4) {
        const double x = is_float ? v.f : (double)v.i;
        return !isfinite(x) || fabs(x) < beyond(d);
    }
    if (!is_float) return fits(v.i, d);
    if (!(v.f >= -0x1p63 && v.f < 0x1p63)) return false; /* also NaN */
    return fits((int64_t)v.f, d) && (d.code == 0 || v.f > -1);
}

tn_status tni_element_from(tn_value v, tn_dtype d, void *out) {
    const bool is_float = v.tag == TN_TAG_FLOAT;
    if (!is_float && v.tag != TN_TAG_INT && v.tag != TN_TAG_BOOL) return TN_ERR_DTYPE;
    switch (d.code) {
    case 6:
        *(uint8_t *)out = is_float ? v.f != 0 : v.i != 0;
        return TN_OK;
    case 2:
    case 4:
        return put_float(v, d, out);
    default:
        break;
    }
    if (!tni_dtype_holds(d, v)) return TN_ERR_OVERFLOW;
    return put_int(is_float ? (int64_t)v.f : v.i, d, out);
}
