/* functional.h - derivatives of functions: products with the Jacobian, the Jacobian, the
 * Hessian.
 *
 * A function takes n tensors of a floating dtype and returns one. It is called on fresh leaves
 * with the inputs' values, so gradients of the inputs themselves, and of whatever else the
 * function uses, stay as they are. An input that the function does not use has a derivative of
 * zeros. Results belong to the current scope. NULL or a status, with the error pending, on
 * failure: INVALID for lists that do not fit, GRAD where `strict` refuses, else what the
 * function or an op said. All are [any-thread].
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_FUNCTIONAL_H
#define TENON_FUNCTIONAL_H

#include <tenon/hooks.h>
#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tn_tensor *f(void *user, tn_tensor *const *inputs, int64_t n) */
typedef tn_tensors_fn tn_function;

typedef struct tn_functional_opts { /* NULL = all false */
    bool create_graph; /* results are differentiable: in the inputs that require grad, in v and in
                          whatever else the function uses */
    bool strict;       /* an output that depends on none of the inputs, or an input it does not
                          depend on, is an error instead of zeros */
} tn_functional_opts;

/* y = f(inputs), and grads[i] = v J_i in the shape of input i. v: of y's shape; NULL = ones, for a
 * scalar y. Returns y. One backward pass. */
TN_API tn_tensor *tn_vjp(tn_function f, void *user, tn_tensors inputs, tn_tensor *v,
                         const tn_functional_opts *opts, tn_tensor **grads);

/* y = f(inputs), and *product = sum of J_i tangents[i], in the shape of y. Returns y. Two backward
 * passes, the second through the first, which is linear in its start value (Townsend, "A new trick
 * for calculating Jacobian vector products", 2017). */
TN_API tn_tensor *tn_jvp(tn_function f, void *user, tn_tensors inputs, tn_tensors tangents,
                         const tn_functional_opts *opts, tn_tensor **product);

/* jacobians[i] = d f / d inputs[i], of f's shape followed by the input's. One backward pass per
 * element of f. */
TN_API tn_status tn_jacobian(tn_function f, void *user, tn_tensors inputs,
                             const tn_functional_opts *opts, tn_tensor **jacobians);

/* Of a function with one element: hessians[i * n + j] = d2 f / (d inputs[i] d inputs[j]), of input
 * i's shape followed by input j's. One backward pass per element of the inputs. */
TN_API tn_status tn_hessian(tn_function f, void *user, tn_tensors inputs,
                            const tn_functional_opts *opts, tn_tensor **hessians);

/* y = f(inputs), of one element, and products[i] = sum over j of hessian[i, j] v[j], in the
 * shape of input i. Returns y. Two backward passes. */
TN_API tn_tensor *tn_hvp(tn_function f, void *user, tn_tensors inputs, tn_tensors v,
                         const tn_functional_opts *opts, tn_tensor **products);

#ifdef __cplusplus
}
#endif
#endif
