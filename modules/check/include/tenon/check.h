/* tenon/check.h - are derivatives right? And sample calls of ops, from their rows.
 *
 * Equipment for tests, of programs and of plugins.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CHECK_H
#define TENON_CHECK_H

#include <tenon/hooks.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_gradcheck_opts { /* 0 = default */
    double eps;                    /* 1e-6: step of the differences */
    double atol;                   /* 1e-5 */
    double rtol;                   /* 1e-3 */
} tn_gradcheck_opts;

/* Compares derivatives of fn with central differences in f64, for inputs that require grad; the
 * second those of the derivatives. GRAD if they differ: the text names op, input, element, both
 * numbers. */
TN_API tn_status tn_gradcheck(tn_tensors_fn fn, void *user, tn_tensors inputs,
                              const tn_gradcheck_opts *);
TN_API tn_status tn_gradgradcheck(tn_tensors_fn fn, void *user, tn_tensors inputs,
                                  const tn_gradcheck_opts *);

/* The first or second check (order) for one op on sample i of its row, or on all if i < 0; every
 * visible floating result. NOTFOUND if there is no such sample, GRAD if none of the row has an
 * element to compare. */
TN_API tn_status tn_op_gradcheck(const char *op, int64_t i, int32_t order,
                                 const tn_gradcheck_opts *);

/* The arguments of sample call i of an op, with random numbers from seed, in `values` (room for
 * TN_SAMPLE_ARGS): tensors of `dtype` where the schema has a type variable. NOTFOUND past the
 * last. The scope owns all. */
enum { TN_SAMPLE_ARGS = 24 };
TN_API tn_status tn_op_sample(const char *op, int64_t i, tn_dtype dtype, uint64_t seed,
                              tn_value *values, uint32_t *n_values);

#ifdef __cplusplus
}
#endif
#endif
