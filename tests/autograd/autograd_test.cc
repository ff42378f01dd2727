// autograd_test.cc - the backward engine: numbers, accumulation, ownership, errors, higher
// derivatives. SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

class Autograd : public Tenon {};

tn_tensor *cube(tn_tensor *x) { return tn_mul(tn_mul(x, x), x); }

// ---- Numbers -----------------------------------------------------------------------------------

TEST_F(Autograd, DifferentiatesAProduct) {
    tn_tensor *a = param(from({1, 2, 3})), *b = param(from({4, 5, 6}));
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(a, b))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(a), (Numbers{4, 5, 6}));
    EXPECT_EQ(grad(b), (Numbers{1, 2, 3}));
}

TEST_F(Autograd, AddsUpOverEveryUseOfAValue) {
    tn_tensor *x = param(from({2}));
    tn_tensor *y = tn_mul(x, x);
    ASSERT_EQ(tn_backward(tn_sum(tn_add(tn_mul(y, x), y))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{3 * 4 + 2 * 2}));
}

TEST_F(Autograd, SumsBroadcastGradientsBackToTheInputShape) {
    for (auto op : {tn_add, tn_sub, tn_mul, tn_div}) {
        tn_tensor *a = full({3, 4}, 2), *b = param(full({4}, 2)), *c = param(full({3, 1}, 2));
        tn_tensor *d = param(full({}, 2));
        ASSERT_EQ(tn_backward(tn_sum(op(a, b))), TN_OK) << tn_error_message();
        ASSERT_EQ(tn_backward(tn_sum(op(a, c))), TN_OK) << tn_error_message();
        ASSERT_EQ(tn_backward(tn_sum(op(a, d))), TN_OK) << tn_error_message();
        EXPECT_EQ(shape(tn_grad_of(b)), (Shape{4}));
        EXPECT_EQ(shape(tn_grad_of(c)), (Shape{3, 1}));
        EXPECT_EQ(shape(tn_grad_of(d)), (Shape{}));
        EXPECT_EQ(grad(b)[0] * 4, grad(d)[0]);
    }
}

TEST_F(Autograd, CastsGradientsBackToTheInputDtype) {
    tn_tensor *narrow = param(full({2}, 3, TN_F32)), *wide = param(full({2}, 5, TN_F64));
    tn_tensor *y = tn_mul(narrow, wide);
    ASSERT_TRUE(tn_dtype_is(tn_dtype_of(y), TN_F64));
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_grad_of(narrow)), TN_F32));
    EXPECT_EQ(grad(narrow), (Numbers{5, 5}));
    EXPECT_EQ(grad(wide), (Numbers{3, 3}));
}

TEST_F(Autograd, GoesThroughMatmulAndExp) {
    tn_tensor *a = param(from({1, 2, 3, 4}, {2, 2})), *b = param(from({1, 0, 0, 1}, {2, 2}));
    ASSERT_EQ(tn_backward(tn_sum(tn_matmul(a, b))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(a), (Numbers{1, 1, 1, 1}));
    EXPECT_EQ(grad(b), (Numbers{4, 4, 6, 6}));
    tn_tensor *x = param(full({}, 0));
    ASSERT_EQ(tn_backward(tn_exp(x)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{1}));
}

TEST_F(Autograd, GoesThroughViewsListsAndSeveralResults) {
    tn_tensor *x = param(from({3, 1, 2, 4}, {2, 2}));
    std::vector<tn_tensor *> parts = {tn_select(x, 0, 0), tn_select(tn_transpose(x, 0, 1), 0, 1)};
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(tn_cat(tensors(parts), nullptr), from({1, 2, 3, 4})))),
              TN_OK)
        << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{1, 2 + 3, 0, 4}));
    tn_tensor *y = param(from({3, 1, 2}));
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(tn_sort(y, nullptr).values, from({10, 20, 30})))), TN_OK)
        << tn_error_message();
    EXPECT_EQ(grad(y), (Numbers{30, 10, 20}));
    const tn_tensors pieces = tn_split(y, 2, nullptr);
    ASSERT_EQ(pieces.n, 2);
    tn_zero_grad(y);
    ASSERT_EQ(tn_backward(tn_sum(pieces.ptr[0])), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(y), (Numbers{1, 1, 0}));
}

TEST_F(Autograd, TakesAStartGradientForANonScalar) {
    tn_tensor *x = param(from({1, 2}));
    tn_backward_opts opts = {};
    opts.grad = from({10, 100});
    ASSERT_EQ(tn_backward_with(tn_mul(x, x), &opts), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{20, 400}));
    EXPECT_EQ(numbers(opts.grad), (Numbers{10, 100})) << "the caller's start value was changed";
}

TEST_F(Autograd, RepeatsARandomOpAtItsPosition) {
    tn_tensor *x = param(full({1000}, 1));
    tn_tensor *y = tn_dropout(x, 0.5, nullptr);
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), numbers(y));
}

// ---- Leaves ------------------------------------------------------------------------------------

TEST_F(Autograd, AccumulatesIntoLeavesUntilZeroed) {
    tn_tensor *x = param(from({1, 2}));
    for (int i = 1; i <= 3; i++) {
        ASSERT_EQ(tn_backward(tn_sum(tn_mul(x, x))), TN_OK) << tn_error_message();
        EXPECT_EQ(grad(x), (Numbers{2.0 * i, 4.0 * i}));
    }
    EXPECT_EQ(tn_zero_grad(x), TN_OK);
    EXPECT_EQ(tn_grad_of(x), nullptr);
    EXPECT_EQ(tn_error(), TN_OK);
}

TEST_F(Autograd, GivesEachLeafMemoryOfItsOwn) {
    tn_tensor *a = param(from({1, 2})), *b = param(from({3, 4})), *c = param(from({5, 6}));
    tn_backward_opts opts = {};
    opts.grad = from({1, 1});
    ASSERT_EQ(tn_backward_with(tn_add(tn_add(a, b), c), &opts), TN_OK) << tn_error_message();
    tn_mul_(tn_grad_of(a), number(10));
    EXPECT_EQ(grad(b), (Numbers{1, 1}));
    EXPECT_EQ(grad(c), (Numbers{1, 1}));
    EXPECT_EQ(numbers(opts.grad), (Numbers{1, 1}));
}

TEST_F(Autograd, WritesIntoNoGradientThatOthersHold) {
    tn_tensor *x = param(from({1, 2})), *h = tn_mul(x, number(1)), *grads[2];
    tn_backward_opts opts = {};
    opts.grad = from({1, 10});
    opts.retain_graph = true;
    tn_tensor *y = tn_add(tn_add(h, h), h);
    ASSERT_EQ(tn_backward_with(y, &opts), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{3, 30}));
    EXPECT_EQ(numbers(opts.grad), (Numbers{1, 10}));
    tn_tensor *start = from({1, 1});
    ASSERT_EQ(
        tn_backward_wrt(tensors({tn_add(y, h)}), tensors({y, h}), tensors({start}), nullptr, grads),
        TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(grads[0]), (Numbers{1, 1}));
    EXPECT_EQ(numbers(grads[1]), (Numbers{4, 4}));
    EXPECT_EQ(numbers(start), (Numbers{1, 1}));
}

TEST_F(Autograd, StoresContiguousGradients) {
    tn_tensor *x = param(full({2, 3}, 1)), *y = param(full({3}, 1));
    ASSERT_EQ(tn_backward(tn_sum(tn_transpose(x, 0, 1))), TN_OK) << tn_error_message();
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_TRUE(tn_is_contiguous(tn_grad_of(x)));
    EXPECT_TRUE(tn_is_contiguous(tn_grad_of(y)));
    EXPECT_EQ(tn_strides(tn_grad_of(y))[0], 1);
}

TEST_F(Autograd, BackwardOfALeafIsItsOwnGradient) {
    tn_tensor *x = param(full({}, 3));
    ASSERT_EQ(tn_backward(x), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{1}));
}

TEST_F(Autograd, KnowsLeavesAndWhatRequiresGrad) {
    tn_tensor *x = param(from({1, 2})), *plain = from({1, 2});
    tn_tensor *y = tn_mul(x, plain), *bools = tn_gt(x, plain);
    EXPECT_TRUE(tn_is_leaf(x) && tn_requires_grad(x));
    EXPECT_TRUE(!tn_is_leaf(y) && tn_requires_grad(y));
    EXPECT_TRUE(tn_is_leaf(plain) && !tn_requires_grad(plain));
    EXPECT_FALSE(tn_requires_grad(bools));
    EXPECT_FALSE(tn_requires_grad(tn_detach(y)));
    EXPECT_EQ(tn_data(tn_detach(y)), tn_data(y));
    EXPECT_EQ(tn_set_requires_grad(y, false), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"mul", "detach"}));
    EXPECT_EQ(tn_set_requires_grad(tn_ones(ints({2}), TN_I64), true), TN_ERR_DTYPE);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"i64"}));
}

TEST_F(Autograd, RecordsNothingWhileGradModeIsOff) {
    tn_tensor *x = param(from({1, 2}));
    const uint64_t nodes = memory_now().nodes;
    EXPECT_TRUE(tn_set_grad_enabled(false));
    tn_tensor *y = tn_mul(x, x);
    EXPECT_FALSE(tn_set_grad_enabled(true));
    EXPECT_FALSE(tn_requires_grad(y));
    EXPECT_EQ(memory_now().nodes, nodes);
}

// ---- What is kept, and for how long ------------------------------------------------------------

TEST_F(Autograd, RefusesASecondBackwardUnlessRetained) {
    tn_tensor *x = param(from({1, 2}));
    tn_tensor *loss = tn_sum(tn_mul(x, x));
    tn_backward_opts keep = {};
    keep.retain_graph = true;
    ASSERT_EQ(tn_backward_with(loss, &keep), TN_OK) << tn_error_message();
    ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{4, 8}));
    EXPECT_EQ(tn_backward(loss), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"mul", "second time", "retain_graph"}));
    EXPECT_EQ(grad(x), (Numbers{4, 8}));
}

TEST_F(Autograd, FreesKeptValuesWhenTheirNodeHasRun) {
    tn_tensor *x = param(full({1000}, 1)), *loss = nullptr;
    const tn_scope scope = tn_scope_push();
    const uint64_t before = memory_now().storages;
    loss = tn_sum(tn_exp(tn_exp(x)));
    ASSERT_EQ(tn_scope_pop_with(scope, &loss, 1), TN_OK);
    EXPECT_EQ(memory_now().storages, before + 3); // loss and two kept results
    ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
    EXPECT_EQ(memory_now().storages, before + 2); // loss and the gradient
}

TEST_F(Autograd, CatAndStackKeepNoneOfTheirInputs) {
    tn_tensor *x = param(full({1000}, 1));
    for (const bool stack : {false, true}) {
        const tn_scope scope = tn_scope_push();
        const uint64_t before = memory_now().storages;
        const std::vector<tn_tensor *> parts = {tn_neg(x), tn_neg(x), x};
        tn_tensor *y = stack ? tn_stack(tensors(parts), nullptr) : tn_cat(tensors(parts), nullptr);
        tn_tensor *loss = tn_sum(y);
        ASSERT_EQ(tn_scope_pop_with(scope, &loss, 1), TN_OK);
        EXPECT_EQ(memory_now().storages, before + 1) << "only the loss is left";
        ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
        EXPECT_EQ(grad(x), Numbers(1000, -1));
        tn_zero_grad(x);
    }
}

TEST_F(Autograd, KeepsAFactorOnlyIfTheOtherGetsAGradient) {
    tn_tensor *x = param(full({4}, 3)), *w = full({4}, 2), *m = full({4, 4}, 2);
    const std::vector<std::function<tn_tensor *(tn_tensor *)>> products = {
        [&](tn_tensor *t) { return tn_mul(t, w); }, [&](tn_tensor *t) { return tn_div(t, w); },
        [&](tn_tensor *t) { return tn_mul_(t, w); }, [&](tn_tensor *t) { return tn_matmul(t, m); },
        [&](tn_tensor *t) { return tn_linear(t, m, nullptr); }};
    for (const auto &product : products) {
        const tn_scope scope = tn_scope_push();
        const uint64_t before = memory_now().storages;
        tn_tensor *loss = tn_sum(product(tn_neg(x)));
        ASSERT_EQ(tn_scope_pop_with(scope, &loss, 1), TN_OK) << tn_error_message();
        EXPECT_EQ(memory_now().storages, before + 1) << "only the loss is left";
        ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
    }
    tn_tensor *y = tn_neg(x), *loss = tn_sum(tn_mul(y, param(full({4}, 2))));
    tn_add_(y, number(1));
    EXPECT_EQ(tn_backward(loss), TN_ERR_MODIFIED) << "y is read for the gradient of the other";
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED, {"mul", "'a'"}));
}

TEST_F(Autograd, NamesASavedValueThatWasModified) {
    tn_tensor *x = param(from({1, 2})), *w = from({3, 4});
    tn_tensor *loss = tn_sum(tn_mul(x, w));
    tn_add_(w, number(1));
    EXPECT_EQ(tn_backward(loss), TN_ERR_MODIFIED);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED, {"mul", "'b'", "expected", "clone"}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
    tn_tensor *y = tn_exp(x);
    tn_tensor *sum = tn_sum(y);
    tn_detach(y); // sharing memory alone does no harm
    tn_tensor *same = tn_detach(y);
    tn_fill_(same, tn_float(0));
    EXPECT_EQ(tn_backward(sum), TN_ERR_MODIFIED);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED, {"exp", "'y'"}));
}

TEST_F(Autograd, CountsWritesFromOutsideAsModifications) {
    tn_tensor *x = param(from({1, 2})), *w = from({3, 4});
    tn_tensor *loss = tn_sum(tn_mul(x, w));
    const double zeros[2] = {0, 0};
    ASSERT_EQ(tn_write(w, zeros, sizeof zeros), TN_OK);
    EXPECT_EQ(tn_backward(loss), TN_ERR_MODIFIED);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED, {"'b'"}));
}

TEST_F(Autograd, WorksAfterTheScopeOfTheForwardIsPopped) {
    tn_tensor *x = param(from({1, 2})), *loss = nullptr, *popped = nullptr;
    const tn_scope scope = tn_scope_push();
    popped = tn_mul(x, x);
    loss = tn_sum(tn_mul(popped, x));
    ASSERT_EQ(tn_scope_pop_with(scope, &loss, 1), TN_OK);
    ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{3, 12}));
    EXPECT_EQ(tn_backward(popped), TN_ERR_STALE);
    EXPECT_TRUE(error_is(TN_ERR_STALE));
    EXPECT_EQ(tn_grad_of(popped), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_STALE));
}

TEST_F(Autograd, KeepsALeafAliveForItsNodes) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *loss = tn_sum(tn_mul(param(from({1, 2})), from({3, 4})));
    ASSERT_EQ(tn_scope_pop_with(scope, &loss, 1), TN_OK);
    EXPECT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
}

// ---- Errors ------------------------------------------------------------------------------------

TEST_F(Autograd, NamesTheShapeOfANonScalarOutput) {
    tn_tensor *x = param(full({2, 3}, 1));
    EXPECT_EQ(tn_backward(tn_mul(x, x)), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"f64[2,3]"}));
}

TEST_F(Autograd, RefusesAnOutputWithoutHistory) {
    EXPECT_EQ(tn_backward(full({}, 1)), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"no history"}));
    EXPECT_EQ(tn_backward(nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID));
}

TEST_F(Autograd, RefusesAStartGradientThatDoesNotFit) {
    tn_tensor *x = param(full({2}, 1));
    tn_tensor *y = tn_mul(x, x);
    tn_backward_opts opts = {};
    opts.grad = full({3}, 1);
    EXPECT_EQ(tn_backward_with(y, &opts), TN_ERR_SHAPE);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"f64[3]", "f64[2]"}));
    opts.grad = full({2}, 1, TN_F32);
    EXPECT_EQ(tn_backward_with(y, &opts), TN_ERR_DTYPE);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"f32[2]"}));
    opts.grad = nullptr;
    EXPECT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
}

TEST_F(Autograd, DoesNothingWhileAnErrorIsPending) {
    tn_tensor *x = param(full({}, 1));
    tn_tensor *y = tn_mul(x, x);
    tn_raise(TN_ERR_IO, "an earlier error");
    EXPECT_EQ(tn_backward(y), TN_ERR_IO);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"an earlier error"}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
}

// ---- With respect to ---------------------------------------------------------------------------

TEST_F(Autograd, FindsGradientsOfInputsWithoutTouchingLeaves) {
    tn_tensor *x = param(from({2})), *w = param(from({3})), *other = param(from({1}));
    tn_tensor *h = tn_mul(x, w), *y = tn_mul(h, h), *grads[4];
    tn_backward_opts keep = {};
    keep.retain_graph = true;
    ASSERT_EQ(tn_backward_wrt(tensors({y}), tensors({h, x, other, h}), {}, &keep, grads), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(grads[0]), (Numbers{12}));
    EXPECT_EQ(numbers(grads[1]), (Numbers{36}));
    EXPECT_EQ(grads[2], nullptr);
    EXPECT_EQ(numbers(grads[3]), (Numbers{12}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
    EXPECT_EQ(tn_grad_of(w), nullptr);
    tn_tensor *start = from({10});
    ASSERT_EQ(
        tn_backward_wrt(tensors({y, h}), tensors({h}), tensors({start, start}), nullptr, grads),
        TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(grads[0]), (Numbers{130}));
}

TEST_F(Autograd, RunsOnlyWhatLeadsToTheInputs) {
    tn_tensor *x = param(from({2})), *w = param(from({3})), *side = from({1}), *grads[1];
    tn_tensor *bad = tn_mul(w, side);
    tn_tensor *y = tn_add(tn_mul(x, x), bad);
    tn_fill_(side, tn_float(5)); // the derivative of `bad` would fail
    ASSERT_EQ(tn_backward_wrt(tensors({y}), tensors({x}), {}, nullptr, grads), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(grads[0]), (Numbers{4}));
    tn_tensor *h = tn_mul(x, side);
    tn_fill_(side, tn_float(6)); // nor is what made an input of interest
    tn_tensor *inputs[] = {h, h, x};
    tn_tensor *z = tn_mul(h, h), *both[3];
    ASSERT_EQ(tn_backward_wrt(tensors({z}), {inputs, 2}, {}, nullptr, both), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(both[1]), (Numbers{20}));
    h = tn_mul(x, w);
    ASSERT_EQ(tn_backward_wrt(tensors({tn_mul(h, h)}), tensors({h}), {}, nullptr, both), TN_OK)
        << tn_error_message();
    ASSERT_EQ(tn_backward(h), TN_OK) << tn_error_message(); // it has not run yet
    ASSERT_EQ(tn_backward_wrt(tensors({tn_mul(x, x)}), tensors({x, x}), {}, nullptr, both), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(both[0]), (Numbers{4}));
    EXPECT_EQ(numbers(both[1]), (Numbers{4}));
}

TEST_F(Autograd, RefusesInputsThatNeedNoGradient) {
    tn_tensor *x = param(from({2})), *plain = from({1}), *grads[2] = {plain, plain};
    EXPECT_EQ(tn_backward_wrt(tensors({tn_mul(x, x)}), tensors({x, plain}), {}, nullptr, grads),
              TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"input 1"}));
    EXPECT_EQ(grads[0], nullptr);
}

// ---- Higher derivatives ------------------------------------------------------------------------

TEST_F(Autograd, DifferentiatesTwiceAndThrice) {
    tn_tensor *x = param(from({2})), *g[1], *gg[1], *ggg[1];
    tn_backward_opts record = {};
    record.create_graph = true;
    ASSERT_EQ(tn_backward_wrt(tensors({cube(x)}), tensors({x}), {}, &record, g), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(g[0]), (Numbers{12}));
    ASSERT_EQ(tn_backward_wrt(tensors({g[0]}), tensors({x}), {}, &record, gg), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(gg[0]), (Numbers{12}));
    ASSERT_EQ(tn_backward_wrt(tensors({gg[0]}), tensors({x}), {}, nullptr, ggg), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(ggg[0]), (Numbers{6}));
}

TEST_F(Autograd, GivesKeptResultsTheirHistoryBack) {
    tn_tensor *x = param(from({0.5})), *g[1], *gg[1];
    tn_backward_opts record = {};
    record.create_graph = true;
    tn_tensor *y = tn_tanh(x);
    const double t = numbers(y)[0];
    ASSERT_EQ(tn_backward_wrt(tensors({y}), tensors({x}), {}, &record, g), TN_OK)
        << tn_error_message();
    ASSERT_EQ(tn_backward_wrt(tensors({g[0]}), tensors({x}), {}, nullptr, gg), TN_OK)
        << tn_error_message();
    EXPECT_NEAR(numbers(gg[0])[0], -2 * t * (1 - t * t), 1e-12);
}

TEST_F(Autograd, RecordsTheBackwardIntoLeafGradients) {
    tn_tensor *x = param(from({3}));
    tn_backward_opts record = {};
    record.create_graph = true;
    ASSERT_EQ(tn_backward_with(cube(x), &record), TN_OK) << tn_error_message();
    tn_tensor *g = tn_grad_of(x);
    EXPECT_TRUE(tn_requires_grad(g));
    tn_tensor *penalty = tn_mul(g, g);
    ASSERT_EQ(tn_zero_grad(x), TN_OK);
    ASSERT_EQ(tn_backward(penalty), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{2 * 27 * 18}));
}

} // namespace
