/* ops.h - what generated op headers share: optional numbers, numbers in the place of tensors, and
 * the call itself.
 *
 * Every NAME_ops.h includes it. In a program, <tenon/tenon.h> comes first and brings the call;
 * without it we are in a plugin, and call through the host's table.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPS_H
#define TENON_OPS_H

#include <tenon/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TN_CALL /* no <tenon/tenon.h> before: we are in a plugin */
#define TN_CALL(op, args, n_args, outs, n_outs) tn_plugin_ops->call(op, args, n_args, outs, n_outs)
#define TN_NUMBER(value)                        tn_plugin_ops->scalar(value)
#endif

/* ---- Options --------------------------------------------------------------------------------- */

/* Optional numbers of option structs, where 0 is a value of its own:
 * tn_slice(x, &(tn_slice_opts){.end = TN_SET(0)}). A Scalar is a tn_value, which says itself
 * whether it is an integer: tn_clamp(x, &(tn_clamp_opts){.min = tn_int(0)}). */
typedef struct tn_maybe_int {
    int64_t value;
    bool set;
} tn_maybe_int;
typedef struct tn_maybe_float {
    double value;
    bool set;
} tn_maybe_float;
typedef struct tn_maybe_bool {
    bool value;
    bool set;
} tn_maybe_bool;
#ifdef __cplusplus
#define TN_SET(v)                                                                                  \
    { (v), true }
#else /* by name: it fits nothing else */
#define TN_SET(v)                                                                                  \
    { .value = (v), .set = true }
#endif

static inline tn_value tn_ops_str(const char *s) {
    const uint64_t n = s ? tn_strlen(s) : 0;
    return s ? tn_value_str(s, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n) : tn_value_none();
}
static inline tn_value tn_ops_ints(const int64_t *p, uint32_t n) {
    tn_ints list;
    list.ptr = p, list.n = n;
    return tn_value_ints(list);
}
static inline tn_value tn_ops_bools(const bool *p, uint32_t n) {
    tn_bools list;
    list.ptr = p, list.n = n;
    return tn_value_bools(list);
}
static inline tn_value tn_ops_empty(int32_t tag) {
    tn_value v = tn_value_none();
    v.tag = tag;
    return v;
}
static inline tn_value tn_ops_cpu(void) {
    tn_device d;
    d.kind = TN_CPU, d.index = 0;
    return tn_value_device(d);
}

/* ---- Numbers in the place of tensors --------------------------------------------------------- */

/* Where an op takes several tensors together, a number may stand for one: tn_mul(x, 3),
 * tn_sub(1, x). It gives way in promotion. For that, wrappers are macros as well; their names
 * without parentheses behind them are the functions. */
static inline tn_tensor *tn_ops_tensor(tn_tensor *t) { return t; }
static inline tn_tensor *tn_ops_bool(bool b) { return TN_NUMBER(tn_bool(b)); }
static inline tn_tensor *tn_ops_int(long long i) { return TN_NUMBER(tn_int(i)); }
static inline tn_tensor *tn_ops_uint(unsigned long long u) {
    return TN_NUMBER(u > INT64_MAX ? tn_float((double)u) : tn_int((int64_t)u));
}
static inline tn_tensor *tn_ops_float(double f) { return TN_NUMBER(tn_float(f)); }
#ifdef __cplusplus
extern "C++" {
inline tn_tensor *tn_operand(tn_tensor *t) { return t; }
inline tn_tensor *tn_operand(decltype(nullptr)) { return nullptr; }
inline tn_tensor *tn_operand(bool b) { return tn_ops_bool(b); }
inline tn_tensor *tn_operand(int i) { return tn_ops_int(i); }
inline tn_tensor *tn_operand(long i) { return tn_ops_int(i); }
inline tn_tensor *tn_operand(long long i) { return tn_ops_int(i); }
inline tn_tensor *tn_operand(unsigned u) { return tn_ops_uint(u); }
inline tn_tensor *tn_operand(unsigned long u) { return tn_ops_uint(u); }
inline tn_tensor *tn_operand(unsigned long long u) { return tn_ops_uint(u); }
inline tn_tensor *tn_operand(double f) { return tn_ops_float(f); }
tn_tensor *tn_operand(const void *) = delete; /* else it would be a bool */
}
#define TN_OPERAND(x) tn_operand(x)
#else
#define TN_OPERAND(x)                                                                              \
    _Generic((x), tn_tensor *: tn_ops_tensor, void *: tn_ops_tensor, _Bool: tn_ops_bool, \
             char: tn_ops_int, signed char: tn_ops_int, short: tn_ops_int, int: tn_ops_int, \
             long: tn_ops_int, long long: tn_ops_int, unsigned char: tn_ops_uint, \
             unsigned short: tn_ops_uint, unsigned: tn_ops_uint, unsigned long: tn_ops_uint, \
             unsigned long long: tn_ops_uint, float: tn_ops_float, double: tn_ops_float)(x)
#endif

#ifdef __cplusplus
}
#endif
#endif
