// functional_test.cc - products with Jacobians, Jacobians and Hessians, against known ones.
// SPDX-License-Identifier: Apache-2.0
#include <tenon/functional.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>

#include <tenon/hooks.h>

namespace {

class Functional : public Tenon {};

// f(x, y) = x * x * y, elementwise.
tn_tensor *square_times(void *, tn_tensor *const *in, int64_t) {
    return tn_mul(tn_mul(in[0], in[0]), in[1]);
}

// g(x) = sum of x^3.
tn_tensor *sum_of_cubes(void *, tn_tensor *const *in, int64_t) {
    return tn_sum(tn_mul(in[0], tn_mul(in[0], in[0])));
}

// h(x, y) = sum of x * y.
tn_tensor *dot(void *, tn_tensor *const *in, int64_t) { return tn_sum(tn_mul(in[0], in[1])); }

tn_tensor *only_first(void *, tn_tensor *const *in, int64_t) { return tn_add(in[0], number(1)); }
tn_tensor *constant(void *, tn_tensor *const *, int64_t) { return full({2}, 3); }
tn_tensor *nothing(void *, tn_tensor *const *, int64_t) { return nullptr; }

// Uses a parameter of its own.
tn_tensor *scaled(void *w, tn_tensor *const *in, int64_t) {
    return tn_sum(tn_mul(in[0], static_cast<tn_tensor *>(w)));
}

const tn_functional_opts with_graph = {true, false}, strict = {false, true};

TEST_F(Functional, VjpGivesTheValueAndTheProductFromTheLeft) {
    tn_tensor *in[] = {from({1, 2}), from({3, 5})}, *v = from({1, 10}), *grads[2];
    tn_tensor *y = tn_vjp(square_times, nullptr, {in, 2}, v, nullptr, grads);
    EXPECT_EQ(numbers(y), (Numbers{3, 20}));
    EXPECT_EQ(numbers(grads[0]), (Numbers{6, 200})); // 2 x y v
    EXPECT_EQ(numbers(grads[1]), (Numbers{1, 40}));  // x^2 v
    EXPECT_FALSE(tn_requires_grad(y) || tn_requires_grad(grads[0]));
}

TEST_F(Functional, VjpOfALinearFunctionMayBeVItself) {
    tn_tensor *in[] = {from({1, 2})}, *v = from({5, 7}), *grads[1];
    ASSERT_TRUE(tn_vjp(only_first, nullptr, {in, 1}, v, nullptr, grads)) << tn_error_message();
    EXPECT_EQ(numbers(grads[0]), (Numbers{5, 7}));
}

TEST_F(Functional, JvpGivesTheProductFromTheRight) {
    tn_tensor *in[] = {from({1, 2}), from({3, 5})}, *t[] = {from({1, 10}), from({2, 3})}, *product;
    tn_tensor *y = tn_jvp(square_times, nullptr, {in, 2}, {t, 2}, nullptr, &product);
    EXPECT_EQ(numbers(y), (Numbers{3, 20}));
    EXPECT_EQ(numbers(product), (Numbers{8, 212})); // 2 x y t0 + x^2 t1
}

TEST_F(Functional, JvpOfALinearFunctionIsTheFunctionItself) {
    tn_tensor *in[] = {from({1, 2})}, *t[] = {from({5, 7})}, *product;
    ASSERT_TRUE(tn_jvp(only_first, nullptr, {in, 1}, {t, 1}, nullptr, &product));
    EXPECT_EQ(numbers(product), (Numbers{5, 7}));
}

TEST_F(Functional, JacobianHasTheShapeOfTheOutputThenOfTheInput) {
    tn_tensor *in[] = {from({1, 2, 3, 4, 5, 6}, {2, 3}), from({10, 20, 30}, {3})}, *j[2];
    ASSERT_EQ(tn_jacobian(square_times, nullptr, {in, 2}, nullptr, j), TN_OK) << tn_error_message();
    EXPECT_EQ(shape(j[0]), (Shape{2, 3, 2, 3}));
    EXPECT_EQ(shape(j[1]), (Shape{2, 3, 3}));
    const Numbers left = numbers(j[0]), right = numbers(j[1]);
    for (size_t o = 0; o < 6; o++) {
        const double x = static_cast<double>(o) + 1, y = 10.0 * static_cast<double>(o % 3 + 1);
        for (size_t i = 0; i < 6; i++) EXPECT_EQ(left[o * 6 + i], i == o ? 2 * x * y : 0);
        for (size_t i = 0; i < 3; i++) EXPECT_EQ(right[o * 3 + i], i == o % 3 ? x * x : 0);
    }
}

TEST_F(Functional, JacobianOfAnEmptyOutputIsEmpty) {
    tn_tensor *in[] = {full({0, 3}, 1), full({3}, 1)}, *j[2];
    ASSERT_EQ(tn_jacobian(square_times, nullptr, {in, 2}, nullptr, j), TN_OK) << tn_error_message();
    EXPECT_EQ(shape(j[1]), (Shape{0, 3, 3}));
}

TEST_F(Functional, HessianOfASumOfCubesIsDiagonal) {
    tn_tensor *in[] = {from({1, 2})}, *h[1];
    ASSERT_EQ(tn_hessian(sum_of_cubes, nullptr, {in, 1}, nullptr, h), TN_OK) << tn_error_message();
    EXPECT_EQ(shape(h[0]), (Shape{2, 2}));
    EXPECT_EQ(numbers(h[0]), (Numbers{6, 0, 0, 12}));
}

TEST_F(Functional, HessianOfADotProductIsTheIdentityAcrossInputs) {
    tn_tensor *in[] = {from({1, 2}), from({3, 4})}, *h[4];
    ASSERT_EQ(tn_hessian(dot, nullptr, {in, 2}, nullptr, h), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(h[0]), (Numbers{0, 0, 0, 0}));
    EXPECT_EQ(numbers(h[1]), (Numbers{1, 0, 0, 1}));
    EXPECT_EQ(numbers(h[2]), (Numbers{1, 0, 0, 1}));
}

TEST_F(Functional, HvpAgreesWithTheHessian) {
    tn_tensor *in[] = {from({1, 2})}, *v[] = {from({5, 7})}, *product[1];
    tn_tensor *y = tn_hvp(sum_of_cubes, nullptr, {in, 1}, {v, 1}, nullptr, product);
    EXPECT_EQ(numbers(y), (Numbers{9}));
    EXPECT_EQ(numbers(product[0]), (Numbers{30, 84}));
}

TEST_F(Functional, WithAGraphTheResultsDifferentiateAgain) {
    tn_tensor *x = param(from({1, 2})), *in[] = {x}, *j[1];
    ASSERT_EQ(tn_jacobian(sum_of_cubes, nullptr, {in, 1}, &with_graph, j), TN_OK)
        << tn_error_message();
    ASSERT_TRUE(tn_requires_grad(j[0])); // 3 x^2
    ASSERT_EQ(tn_backward(tn_sum(j[0])), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{6, 12}));
    tn_zero_grad(x);
}

TEST_F(Functional, LeavesGradientsOfInputsAndOtherTensorsAlone) {
    tn_tensor *x = param(from({1, 2})), *w = param(from({3, 4})), *in[] = {x}, *grads[1];
    ASSERT_TRUE(tn_vjp(scaled, w, {in, 1}, nullptr, nullptr, grads));
    EXPECT_EQ(numbers(grads[0]), (Numbers{3, 4}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
    EXPECT_EQ(tn_grad_of(w), nullptr);
}

TEST_F(Functional, WorksWhileGradModeIsOffAndPutsItBack) {
    tn_set_grad_enabled(false);
    tn_tensor *in[] = {from({1, 2})}, *h[1];
    EXPECT_EQ(tn_hessian(sum_of_cubes, nullptr, {in, 1}, nullptr, h), TN_OK) << tn_error_message();
    EXPECT_FALSE(tn_grad_enabled());
    tn_set_grad_enabled(true);
}

tn_tensor *untidy(void *scope, tn_tensor *const *in, int64_t) {
    static const tn_saved_hooks left = {[](void *, tn_tensor *) -> void * { return nullptr; },
                                        [](void *, void *) -> tn_tensor * { return nullptr; },
                                        nullptr, nullptr};
    tn_tensor *y = tn_sum(tn_mul(in[0], tn_mul(in[0], in[0])));
    tn_scope_push();
    tn_set_grad_enabled(false);
    tn_saved_hooks_push(&left);
    if (scope) tn_scope_pop(*static_cast<tn_scope *>(scope));
    return y;
}

TEST_F(Functional, EndsWhatTheFunctionBeganAndNothingElse) {
    tn_scope scope = tn_scope_push();
    tn_tensor *x = from({1, 2}), *v = from({1, 1}), *out = nullptr;
    const tn_tensors in = {&x, 1}, along = {&v, 1};
    tn_vjp(untidy, nullptr, in, nullptr, nullptr, &out);
    EXPECT_EQ(numbers(out), (Numbers{3, 12}));
    tn_jvp(untidy, nullptr, in, along, nullptr, &out);
    EXPECT_EQ(numbers(out), (Numbers{15}));
    tn_jacobian(untidy, nullptr, in, nullptr, &out);
    EXPECT_EQ(numbers(out), (Numbers{3, 12}));
    tn_hessian(untidy, nullptr, in, nullptr, &out);
    EXPECT_EQ(numbers(out), (Numbers{6, 0, 0, 12}));
    tn_hvp(untidy, nullptr, in, along, nullptr, &out);
    EXPECT_EQ(numbers(out), (Numbers{6, 12}));
    EXPECT_EQ(tn_saved_hooks_pop(), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"none were pushed"}));
    EXPECT_EQ(tn_vjp(untidy, &scope, in, nullptr, nullptr, &out), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SCOPE, {"outside of the function"}));
    EXPECT_EQ(tn_scope_pop(scope), TN_OK) << tn_error_message();
}

TEST_F(Functional, AnUnusedInputHasADerivativeOfZerosUnlessStrict) {
    tn_tensor *in[] = {from({1, 2}), from({3, 4})}, *j[2], *v = full({2}, 1), *grads[2];
    ASSERT_EQ(tn_jacobian(only_first, nullptr, {in, 2}, nullptr, j), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(j[1]), (Numbers{0, 0, 0, 0}));
    ASSERT_TRUE(tn_vjp(constant, nullptr, {in, 2}, v, nullptr, grads));
    EXPECT_EQ(numbers(grads[0]), (Numbers{0, 0}));
    EXPECT_EQ(tn_jacobian(only_first, nullptr, {in, 2}, &strict, j), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"tn_jacobian", "input 1", "strict"}));
}

TEST_F(Functional, RefusesListsThatDoNotFitAndFunctionsThatGiveNothing) {
    tn_tensor *in[] = {from({1, 2}), nullptr}, *out[4];
    EXPECT_EQ(tn_vjp(nothing, nullptr, {in, 1}, nullptr, nullptr, out), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_vjp", "gave no tensor"}));
    EXPECT_EQ(tn_vjp(dot, nullptr, {in, 2}, nullptr, nullptr, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_vjp", "no room"}));
    EXPECT_EQ(tn_jvp(dot, nullptr, {in, 2}, {in, 2}, nullptr, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_jvp", "no room"}));
    EXPECT_EQ(tn_hvp(dot, nullptr, {in, 2}, {in, 2}, nullptr, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_hvp", "no room"}));
    EXPECT_EQ(tn_jacobian(dot, nullptr, {in, 2}, nullptr, nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_jacobian", "no room"}));
    EXPECT_EQ(tn_hessian(dot, nullptr, {in, 2}, nullptr, nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_hessian", "no room"}));
    EXPECT_EQ(tn_jacobian(dot, nullptr, {nullptr, 0}, nullptr, out), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_jacobian", "inputs"}));
    EXPECT_EQ(tn_hessian(dot, nullptr, {nullptr, 0}, nullptr, out), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_hessian", "inputs"}));
    EXPECT_EQ(tn_jvp(sum_of_cubes, nullptr, {in, 1}, {in, 2}, nullptr, out), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_jvp", "tangents"}));
    EXPECT_EQ(tn_hvp(sum_of_cubes, nullptr, {in, 1}, {nullptr, 1}, nullptr, out), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_hvp", "'v'"}));
    EXPECT_EQ(tn_jacobian(dot, nullptr, {in, 2}, nullptr, out), TN_ERR_INVALID);
    tn_clear_error();
    EXPECT_EQ(tn_vjp(square_times, nullptr, {in, 1}, nullptr, nullptr, out), nullptr);
    tn_clear_error();
}

} // namespace
