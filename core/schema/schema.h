/* schema.h - the one parser of op schemas and contracts, shared by the core, opgen and bindgen.
 *
 *   add(Tensor<T> a, Tensor<T> b) -> Tensor y
 *   sort(Tensor<T> x, int dim=-1, bool descending=false) -> (Tensor values, Tensor<i64> indices)
 *   dropout(Tensor<F> x, float p, generator~ rng=None) -> Tensor y
 *   copy_(Tensor(a!) dst, Tensor src) -> Tensor(a) y
 *   acme::conv_bwd(Tensor<F> g, Tensor<F> x, Tensor<F> w, bool[2] wanted) -> (Tensor? dx, Tensor? dw)
 *   layer_norm(Tensor<F> x, Tensor<F>? w=None, Tensor<F>? b=None, float eps=1e-5) -> (Tensor y,
 * saved Tensor mean, saved Tensor rstd)
 *
 * In <>: a class letter (T any, N not bool, A no argument bool, F floating: integers are
 * promoted to f32, I integer, B bool or integer) is a type variable, promoted together over all
 * arguments that carry the same letter; a dtype name is required exactly; index is i64, or i32
 * that is widened; no <> on an argument takes any dtype as it is. Scalar<N> is a number that
 * takes part in the promotion, as it would beside the tensors. A result without <> has the dtype
 * of the first type variable (or of the first tensor, if there is none). Depends on libc only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_SCHEMA_SCHEMA_H
#define TENON_SCHEMA_SCHEMA_H

#include <tenon/abi.h>

enum { TNI_MAX_ARGS = 24, TNI_MAX_RESULTS = 8, TNI_NAME_BYTES = 48 };

typedef enum tni_type {
    TNI_TENSOR,
    TNI_TENSORS,
    TNI_INT,
    TNI_INTS,
    TNI_FLOAT,
    TNI_FLOATS,
    TNI_BOOL,
    TNI_BOOLS,
    TNI_STR,
    TNI_DTYPE,
    TNI_DEVICE,
    TNI_SCALAR,
    TNI_GENERATOR
} tni_type;

typedef struct tni_param {
    char name[TNI_NAME_BYTES];
    tni_type type;
    bool optional; /* '?': may be NONE (tensor: NULL) */
    bool runtime;  /* '~': not part of the signature */
    bool mutated;  /* '!' */
    bool has_default;
    char alias;    /* 'a' of (a) or (a!), or 0 */
    char variable; /* 'T' 'N' 'A' 'F' 'I' 'B', or 0 */
    bool fixed;    /* `dtype` is required */
    bool index;    /* <index>: i64, and i32 is widened to it */
    tn_dtype dtype;
    int32_t count; /* int[2]: 2; else -1 */
    tn_value def;  /* default; INTS and BOOLS point into def_*, STR into the schema text */
    int64_t def_ints[8];
    bool def_bools[TN_MAX_RANK];
} tni_param;

typedef enum tni_result_kind { TNI_VISIBLE, TNI_SAVED, TNI_RESERVE } tni_result_kind;

typedef struct tni_result {
    char name[TNI_NAME_BYTES];
    tni_result_kind kind;
    bool list;     /* Tensor[]: one of the results at most */
    bool optional; /* '?': may be absent */
    char alias;
    char variable;
    bool fixed;
    tn_dtype dtype;
} tni_result;

typedef struct tni_schema {
    /* "sum.dim" has overload "dim", and the C name tn_sum_dim; "acme::norm" has a namespace of its
     * own, and the C name acme_norm. */
    char name[TNI_NAME_BYTES];
    uint32_t n_params, n_results, n_visible;
    uint32_t n_required; /* leading params without default */
    char variable;       /* the main type variable, or 0 */
    bool mutates;        /* some param is mutated */
    tni_param params[TNI_MAX_ARGS];
    tni_result results[TNI_MAX_RESULTS];
} tni_schema;

/* Parses text (to its NUL). On failure returns FORMAT, and `why` names the column and what was
 * expected. */
tn_status tni_schema_parse(const char *text, tni_schema *out, char *why, uint64_t capacity);
/* As schemas spell it: "Tensor[]". */
const char *tni_type_name(tni_type);
int tni_schema_param(const tni_schema *, const char *name);  /* index, or -1 */
int tni_schema_result(const tni_schema *, const char *name); /* index, or -1 */

#endif
