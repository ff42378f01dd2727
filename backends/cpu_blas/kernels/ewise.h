/* ewise.h - the elementwise ops with vector code, and what one instruction set has of it.
 *
 * A formula stands once per kind of lanes, in ewise_*.inc; this list says which there are. Dtypes
 * narrower than a lane are widened to i32 or f32 block by block, computed, and cut or rounded:
 * what wraps at 32 bits and is cut equals what wraps at 8.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_EWISE_H
#define TENON_CPU_BLAS_EWISE_H

#include "backends/cpu_blas/kernels/sets.h"

/* ALL(op, kind, attributes), NUMBER (not bool), FLOAT, INT: for which dtypes. A kind is V and the
 * number of operands, or B and that number if the result is bool; Z is a V whose integers may not be
 * divided by zero, N one whose integers have no negative power. Attributes are the plain arguments
 * that follow the operands, a letter each: # a number, < and > one that may be absent, which is -inf
 * or inf; t is 1 for "tanh". */
/* clang-format off */
#define BLAS_EWISE_LIST(ALL, NUMBER, FLOAT, INT)                                                   \
    ALL(neg, V1, "") ALL(abs, V1, "") ALL(sign, V1, "") ALL(relu, V1, "") ALL(relu6, V1, "")       \
    NUMBER(square, V1, "") ALL(floor, V1, "") ALL(ceil, V1, "") ALL(round, V1, "")                 \
    ALL(trunc, V1, "") FLOAT(frac, V1, "") ALL(clamp, V1, "<>") ALL(hardtanh, V1, "<>")            \
    ALL(threshold, V1, "##")                                                                       \
    FLOAT(sqrt, V1, "") FLOAT(rsqrt, V1, "") FLOAT(reciprocal, V1, "") FLOAT(exp, V1, "")          \
    FLOAT(log, V1, "") FLOAT(tanh, V1, "") FLOAT(sigmoid, V1, "")                                  \
    BLAS_LIBM_LIST(FLOAT)                                                                          \
    FLOAT(silu, V1, "") FLOAT(mish, V1, "") FLOAT(selu, V1, "") FLOAT(gelu, V1, "t")               \
    FLOAT(elu, V1, "#") FLOAT(celu, V1, "#") FLOAT(leaky_relu, V1, "#") FLOAT(softplus, V1, "##")  \
    FLOAT(softsign, V1, "") FLOAT(tanhshrink, V1, "") FLOAT(logsigmoid, V1, "")                    \
    FLOAT(hardsigmoid, V1, "") FLOAT(hardswish, V1, "") FLOAT(hardshrink, V1, "#")                 \
    FLOAT(softshrink, V1, "#")                                                                     \
    ALL(logical_not, B1, "") ALL(isnan, B1, "") ALL(isinf, B1, "") ALL(isfinite, B1, "")           \
    ALL(add, V2, "") ALL(sub, V2, "") ALL(mul, V2, "") FLOAT(div, V2, "") ALL(maximum, V2, "")     \
    ALL(minimum, V2, "") FLOAT(atan2, V2, "") ALL(pow, N2, "") ALL(fmod, Z2, "")                   \
    ALL(remainder, Z2, "") ALL(floor_divide, Z2, "") FLOAT(lerp, V3, "") ALL(addcmul, V3, "#")     \
    FLOAT(addcdiv, V3, "#")                                                                        \
    INT(bitwise_not, V1, "") INT(bitwise_and, V2, "") INT(bitwise_or, V2, "")                      \
    INT(bitwise_xor, V2, "") INT(bitwise_left_shift, V2, "") INT(bitwise_right_shift, V2, "")      \
    ALL(eq, B2, "") ALL(ne, B2, "") ALL(lt, B2, "") ALL(le, B2, "") ALL(gt, B2, "")                \
    ALL(ge, B2, "") ALL(logical_and, B2, "") ALL(logical_or, B2, "") ALL(logical_xor, B2, "")      \
    ALL(where, WHERE, "")                                                                          \
    FLOAT(sigmoid_bwd, V2, "") FLOAT(tanh_bwd, V2, "") FLOAT(silu_bwd, V2, "")                     \
    FLOAT(mish_bwd, V2, "") FLOAT(gelu_bwd, V2, "t") FLOAT(elu_bwd, V2, "#")                       \
    FLOAT(leaky_relu_bwd, V2, "#") FLOAT(hardswish_bwd, V2, "") FLOAT(threshold_bwd, V2, "#")      \
    FLOAT(hardtanh_bwd, V2, "##") FLOAT(softplus_bwd, V2, "##")

/* Ops that are a function of libm: f64 calls it, f32 has short_NAME in vector/math_f32.inc. */
#define BLAS_LIBM_LIST(FLOAT)                                                                      \
    FLOAT(exp2, V1, "") FLOAT(expm1, V1, "") FLOAT(log2, V1, "") FLOAT(log10, V1, "")              \
    FLOAT(log1p, V1, "") FLOAT(sin, V1, "") FLOAT(cos, V1, "") FLOAT(tan, V1, "")                  \
    FLOAT(asin, V1, "") FLOAT(acos, V1, "") FLOAT(atan, V1, "") FLOAT(sinh, V1, "")                \
    FLOAT(cosh, V1, "") FLOAT(asinh, V1, "") FLOAT(acosh, V1, "") FLOAT(atanh, V1, "")             \
    FLOAT(erf, V1, "") FLOAT(erfc, V1, "")
/* clang-format on */

#define BLAS_EWISE_ENUM(op, kind, attributes) BLAS_EW_##op,
enum {
    BLAS_EWISE_LIST(BLAS_EWISE_ENUM, BLAS_EWISE_ENUM, BLAS_EWISE_ENUM, BLAS_EWISE_ENUM)
        BLAS_EWISE_COUNT
};
#undef BLAS_EWISE_ENUM

enum { BLAS_MOST_IN = 3, BLAS_MOST_ATTRS = 4 };

enum { BLAS_FINE, BLAS_NO_ZERO, BLAS_NO_NEGATIVE };

typedef struct blas_ewise_op { /* tn_kernel.user of elementwise rows */
    uint8_t index;             /* BLAS_EW_* */
    uint8_t n_in;              /* tensors */
    uint8_t first;             /* the operand whose dtype counts: where's condition is bytes */
    uint8_t out_byte;          /* the result is bool */
    uint8_t check;             /* what integers of the last operand may not be */
    const char *attrs;
    const char *name;
} blas_ewise_op;

extern const blas_ewise_op blas_ewise_ops[BLAS_EWISE_COUNT];

/* A call's plain arguments; i: truncated, and limited to what the operands' dtype holds. */
typedef struct blas_attrs {
    double f[BLAS_MOST_ATTRS];
    int64_t i[BLAS_MOST_ATTRS];
} blas_attrs;

extern const blas_attrs blas_no_attrs;

/* n >= 1 elements: y[i] = op(in[0][i], ...). Bit k of splat: operand k is one element for all i.
 * y may be one of the operands. */
typedef void (*blas_ewise_fn)(int64_t n, void *y, const void *const *in, uint32_t splat,
                              const blas_attrs *);
typedef void (*blas_convert_fn)(int64_t n, void *to, const void *from);

typedef struct blas_ewise_code {
    blas_ewise_fn fn[BLAS_EWISE_COUNT][BLAS_LANE_TYPES]; /* NULL: not for this type */
    blas_convert_fn widen[TN_DTYPE_COUNT];               /* to lanes; NULL: items are lanes */
    blas_convert_fn narrow[TN_DTYPE_COUNT];              /* rounded to nearest even, or cut */
} blas_ewise_code;
BLAS_CODE(ewise)

#endif
